"""The engine that runs projects as processes of this machine.

Nothing outside of this package knows pids, keepers, ports to bind, or paths below a sandbox.
"""
