"""What knows one kind of agent; each kind is a package.

Where an agent runs is the business of `engines`.
"""
