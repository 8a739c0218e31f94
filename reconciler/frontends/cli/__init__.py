"""The command line: its grammar, commands, and what a terminal shows.

What a command does is in `api`, `specs` and `app`.
"""
