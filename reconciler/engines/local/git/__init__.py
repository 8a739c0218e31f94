"""The clone of a project: reaching remotes, transfers, submodules, refs, unpushed work, and why git failed.

Which url and ref are acceptable is decided in `core.git_url`.
"""
