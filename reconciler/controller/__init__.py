"""When and how often: the intake of specs, the queue of names, passes, publishing, the dry run.

What is decided is in `core`; how anything is observed or done is in `engines`.
"""
