"""The commands, one small function each: read arguments, call, print, return the exit code.

A module is imported only when one of its commands is called, so that `status` does not pay for `run`.
"""
