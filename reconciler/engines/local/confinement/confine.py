"""Run a program of a project within what its agent may access."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler import settings_file
from reconciler.engines.local.confinement import bubblewrap, policy, walls
from reconciler.engines.local.confinement.bubblewrap import Check
from reconciler.engines.local.confinement.walls import PathAccess, Walls
from reconciler.engines.local.facts import ConfinementFacts
from reconciler.engines.local.world import world
from reconciler.settings import UserError

if TYPE_CHECKING:
    from reconciler.core.spec import Spec
    from reconciler.engines.local.git.git_world import GitWorld
    from reconciler.engines.local.launch import LaunchContext
    from reconciler.engines.local.world.world import World
    from reconciler.settings import Settings


_TYPING: Final = Path("/proc/sys/dev/tty/legacy_tiocsti")


class Method(StrEnum):
    """How an agent is confined."""

    NONE = "none"
    BUBBLEWRAP = "bubblewrap"


async def choose(spec: Spec, settings: Settings) -> tuple[Method, Check]:
    """Return how the next start is confined, and what is known of bubblewrap.

    Raises:
        UserError: bubblewrap is asked for and does not work, or the settings file cannot be used.
    """
    wanted = _wanted(spec, settings)
    if wanted == Method.NONE:
        return Method.NONE, Check()
    found = await bubblewrap.check(settings.environment)
    if not found.why_not:
        return Method.BUBBLEWRAP, found
    if wanted == Method.BUBBLEWRAP:
        raise UserError(
            f"cannot confine the agent: {found.why_not}; or set confinement: none in the spec, and the agent can read "
            "and write whatever this user can"
        )
    return Method.NONE, found


def _wanted(spec: Spec, settings: Settings) -> str:
    if spec.confinement != "auto":
        return spec.confinement
    return settings_file.load(settings.home.root).confinement.default


async def facts(spec: Spec, settings: Settings, running: str) -> ConfinementFacts:
    """Return what a person should know of it.

    Args:
        spec: of the project.
        settings: of this controller.
        running: how the agent that runs is confined; empty when none does.
    """
    try:
        method, found = await choose(spec, settings)
    except UserError as error:
        return ConfinementFacts(running=running, problem=str(error))
    warning = ""
    if method is Method.BUBBLEWRAP and running == Method.NONE:
        warning = "the agent runs without confinement, as it was started; its next start confines it"
    elif found.why_not and spec.state == "running":
        warning = f"the agent is not confined, and can read and write whatever this user can: {found.why_not}"
    return ConfinementFacts(running=running, warning=warning)


@dataclass(frozen=True, kw_only=True)
class ConfinedCommand:
    """A program of a project that is to be confined as its agent is."""

    given: World
    """What of the user's is handed over to the agent."""
    program: str = ""
    """Its path, if it may lie where the agent could not see it."""
    anywhere: bool = False
    """Whether it starts in the folder in which it is run; else in the clone."""
    write: tuple[Path, ...] = ()
    """Folders that it may write besides the agent's own."""
    ends_with_us: bool = False
    """Whether it dies with this process."""
    at_terminal: bool = False
    """Whether it is run at a person's terminal, which is outside of what confines it."""


async def wrap(project: LaunchContext, command: ConfinedCommand) -> tuple[str, ...]:
    """Return what to put before the program and its arguments; nothing where the agent is not confined.

    Raises:
        UserError: it must be confined and cannot be.
    """
    method, found = await choose(project.spec, project.settings)
    if method is Method.NONE:
        return ()
    return await asyncio.to_thread(_words, project, command, found)


def _words(project: LaunchContext, command: ConfinedCommand, found: Check) -> tuple[str, ...]:
    places = policy.places(project, command.given, command.program)
    own = project.sandbox
    if own.path in command.write:  # what makes the clone needs neither secrets nor the records of runs
        places |= {str(path.resolve()): PathAccess.HIDDEN for path in (own.env_file, own.run) if path.exists()}
    places |= {str(path.resolve()): PathAccess.WRITE for path in command.write}
    hidden = (path for path, access in places.items() if access is PathAccess.HIDDEN)
    return walls.command(
        Walls(
            bubblewrap=found.program,
            unshare=found.unshare,
            folder="" if command.anywhere else str(project.sandbox.repo),
            places=places,
            files=frozenset(path for path in hidden if not Path(path).is_dir()),
            ends_with_us=command.ends_with_us,
            own_session=command.at_terminal and can_be_typed_into(),
        )
    )


def can_be_typed_into() -> bool:
    """Tell whether this kernel lets a program type into its terminal (TIOCSTI): Linux did always until 6.2."""
    try:
        return _TYPING.read_text().strip() != "0"
    except OSError:
        return True


async def git_world(project: LaunchContext, *, cloning: bool = False) -> GitWorld:
    """Return what the manager's git for a project runs in, confined as the project's agent is.

    Args:
        project: whose git it is.
        cloning: whether there is no clone yet; it is made beside its later place.

    Raises:
        UserError: it must be confined and cannot be.
    """
    sandbox = project.sandbox
    write = (sandbox.path, sandbox.known_hosts) if cloning else (sandbox.known_hosts,)  # it pins keys of new hosts
    there = tuple(path for path in write if path.exists())
    command = ConfinedCommand(given=world.build(project), anywhere=True, write=there)
    return replace(project.git_world, wrapper=await wrap(project, command))
