"""A project's secrets: its `.env` and its deploy key.

Values stay here and in the child that needs them; everything else is told keys, lines and paths.
"""
