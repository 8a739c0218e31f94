"""Limits of memory, processors and tasks for the whole tree of a project, by what this machine offers.

Does not belong here: what is wanted (`core.spec`), and what a service uses without a limit (`processes.usage`).
"""
