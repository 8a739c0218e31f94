"""Whether a service is ready and alive: the proof, the probes, and the HTTP request they are made with.

What follows from an answer is decided in `core.plan`.
"""
