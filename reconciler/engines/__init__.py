"""Where projects run. `base` is the protocol that every engine keeps; each engine is a package.

Nothing above an engine knows its processes, paths or ports.
"""
