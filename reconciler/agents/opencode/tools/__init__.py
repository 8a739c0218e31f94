"""The MCP tools by which a client works with OpenCode, one module for each concern.

How a function becomes a tool is in `mcpkit.binding`.
"""
