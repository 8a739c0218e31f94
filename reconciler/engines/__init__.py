"""Where projects run. `base` is the protocol that every engine keeps; each engine is a package with one line here.

Nothing above an engine knows its processes, paths or ports. This module imports nothing: each keeper loads it.
"""

ENGINES = {"local": "reconciler.engines.local"}
"""By the name a spec gives: the package, with `engine.create`, `access.create` and `prepare.prepare`."""
DEFAULT = "local"
