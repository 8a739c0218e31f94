"""What browsers see: each agent's own web page behind the controller, on a host name of its own.

Does not belong here: an agent's paths and headers, which its package in `agents` knows, or any acting on projects.
"""
