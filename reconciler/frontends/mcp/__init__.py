"""The controller's MCP endpoint: the six tools, the agents' tools for all projects, HTTP and stdio.

A project's own endpoint is in `bridge`.
"""
