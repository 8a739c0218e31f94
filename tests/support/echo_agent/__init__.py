"""The smallest kind of agent: it repeats what it is told, over an API of its own; it proves the seam."""
