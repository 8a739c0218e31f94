"""OpenCode Manager: a declarative reconciler for coding agents.

Specs say what is wanted; the loop observes the machine, plans the difference and acts on it.
Read the modules in this order: `spec`, `facts`, `actions`, `plan` (pure), then `reconcile` and `loop`, then the local
engine in `local/`, then the doors: `client`, `tools`, `cli`.
"""

__version__ = "0.1.0"
