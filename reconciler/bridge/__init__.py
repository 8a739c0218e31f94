"""The MCP bridge of one project: a program of its own, run as `python -P -m reconciler.bridge`.

It knows no project but its own and no kind of agent: its configuration comes by environment (`config`), its tools from
the driver's toolset. What stands before the MCP library starts in a tenth of a second; the library, which costs half a
second and 40 MB, is loaded by the first MCP request:

    __main__ -> serve -> guard -> lazy_app ....> server -> binding -> the driver's toolset
"""
