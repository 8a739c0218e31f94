"""What `doctor` checks of the machine: a row in `checks.CHECKS` each, a short function over a `Machine`.

Does not belong here: a change of anything.
"""
