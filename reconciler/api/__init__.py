"""What every frontend calls: write a spec and wait, read status, and the results of both.

No frontend acts by another way; nothing here prints or speaks a protocol.
"""
