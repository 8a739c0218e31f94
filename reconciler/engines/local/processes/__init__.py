"""The controller's side of processes: starting and observing runs, exits, listeners, processor time.

What a keeper does is in `engines.local.keeper`; whether a service is well is in `health`.
"""
