"""Desired state on disk: reading a folder of YAML files, believing one, and changing one in place.

What a spec means for a project is decided in `core`; when to read is decided in `controller`.
"""
