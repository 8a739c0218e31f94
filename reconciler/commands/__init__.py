"""The commands of the command line, one small function each.

Belongs here: reading arguments, calling the function that does it, printing, and the exit code. A module is imported
only when one of its commands is called, so that `status` does not pay for `run`.
"""
