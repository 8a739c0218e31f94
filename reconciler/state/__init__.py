"""What the controller keeps: ledgers, the published index of status, leadership, whose home it is.

It is remembered or derived, never the truth about a process; nothing here decides.
"""
