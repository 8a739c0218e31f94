"""A project's secrets: its `.env` and its deploy key.

Values stay here and in the child that needs them; everything else gets keys, lines and paths.
"""
