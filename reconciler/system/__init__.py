"""Helpers that know nothing of ours: files, locks, threads, the log, watches, failpoints.

anything that names a project, a service or a spec.
"""
