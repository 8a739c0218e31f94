"""Helpers for MCP servers over HTTP that know no agent: checks of requests, late loading, arguments, binding of tools.

What the tools do is in `agents` and `frontends`.
"""
