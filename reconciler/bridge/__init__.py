"""The MCP bridge of one project: a program of its own, run as `python -P -m reconciler.bridge`.

Belongs here: everything between an MCP client and one OpenCode server: the door (`guard`), the tools (`tools_*`), the
client of OpenCode's HTTP API (`opencode`), and what keeps a caller inside the clone (`clone`) and secrets inside the
machine (`redact`).
Does not belong here: anything about projects, specs, processes or other bridges. Nothing outside this package is
imported, and its whole configuration comes by environment (`config`).

Which way data goes:

    __main__ -> serve -> guard -> loader ....> server -> binding -> tools_* -> talk, opencode, clone
                                   (loaded by the first MCP request)

Everything left of the dots is small and starts in a tenth of a second; the MCP library, which costs half a second and
40 MB, is loaded only when somebody really connects. The tools take the project they work on as an argument (`agent`),
so that another program can offer them for many projects at one address (`binding.register`).
"""
