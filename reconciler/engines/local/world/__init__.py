"""The agent's world on this machine: the variables and files it is handed, and what of the user's is left out.

Belongs here: what an agent, and every git that runs for its project, sees. Does not belong here: how a process is
started (`launch`) and what it is kept from (`confinement`).
"""
