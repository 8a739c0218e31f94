"""How people and programs reach the manager: the command line and MCP.

A frontend writes specs and reads status through `api`; it never acts.
"""
