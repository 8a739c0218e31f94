"""The local engine: projects as processes, files and git clones of this machine.

Belongs here: everything that knows about local processes, behind the one door `engine.Engine`; nothing outside this
package but the command that puts the program together imports it. One module for each outside thing: `processes` (and
its program `keeper`), `repo`, `credentials`, `toolchain`, `health`, `ports`; `observe` asks them, `act` uses them.
"""
