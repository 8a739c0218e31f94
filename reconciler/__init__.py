"""OpenCode Manager: a declarative reconciler for coding agents.

A spec says what is desired; the controller observes each project, plans the difference and acts on it. Read `core`
(pure) first, then `controller`, the engines and the agents, then `api` and the frontends.
"""

__version__ = "0.1.0"
