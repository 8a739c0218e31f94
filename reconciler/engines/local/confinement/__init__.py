"""What an agent can reach of this machine: what is hidden from it, what it may read, what it may write.

Belongs here: deciding that, and running a program within it (bubblewrap). Does not belong here: what an agent is given
(`world`), and how its processes are supervised (`keeper`).
"""
