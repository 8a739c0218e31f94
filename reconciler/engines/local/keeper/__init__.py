"""The keeper: the small program that supervises one service and outlives the controller. Standard library only.

What the controller asks of keepers is in `engines.local.processes`.
"""
