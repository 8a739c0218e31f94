"""Everything about OpenCode: its command line, HTTP API, sessions, files and messages.

Processes, ports and secrets belong to `engines`; MCP and HTTP plumbing to `mcpkit`.
"""
