"""Pure values and decisions: what is desired, what was observed, what to do next, and how it is reported.

No clock, no dice, no file, no process: those are handed in (`engines`, `controller`).
"""
