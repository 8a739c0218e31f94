"""The proxy to agents' own web pages. Loaded by the first request for one: an idle controller does without it.

Does not belong here: screens of ours.
"""
