"""Show a project's world to who asks without a controller, and lead a program into it."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import settings as settings_module
from reconciler.core import spec as specs
from reconciler.core.plain_text import plain
from reconciler.engines.base import Given, GivenFile, GivenVariable, ProjectCommand
from reconciler.engines.local import launch
from reconciler.engines.local.confinement import confine
from reconciler.engines.local.observe import Observer
from reconciler.engines.local.toolchain import Toolchains
from reconciler.engines.local.world import shell_path, world
from reconciler.mcpkit import redact
from reconciler.settings import UserError
from reconciler.state import published
from reconciler.state.ledger import Ledgers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.engines.local.launch import LaunchContext
    from reconciler.settings import Settings


def given(settings: Settings, name: str) -> Given:
    """Return what a project's agent would be given by a start now. Raises UserError."""
    found = world.build(_project(settings, name, "show the world of"))
    return Given(
        variables=tuple(
            GivenVariable(
                name=one.name,
                value="" if one.secret else redact.text(one.value),  # a proxy or a configuration can hold a password
                origin=one.origin,
                secret=one.secret,
            )
            for one in sorted(found.variables, key=lambda one: one.name)
        ),
        files=tuple(GivenFile(source=str(one.source), place=str(one.place), how=one.how) for one in found.files),
        left_out=tuple((one.what, one.why) for one in found.left_out),
    )


def command(settings: Settings, name: str, argv: Sequence[str]) -> ProjectCommand:
    """Return how a program runs where a project's agent does. Raises UserError."""
    project = _project(settings, name, "run anything in")
    if not project.sandbox.repo.is_dir():
        raise UserError(f"cannot run anything in {name}: it has no clone yet; see: opencode-manager status {name}")
    line, env, cwd = launch.command(project, argv)
    if "/" not in line[0] and shutil.which(line[0], path=env["PATH"]) is None:
        raise UserError(
            f"cannot run {plain(line[0])} in {name}: it is not on the agent's PATH; see: opencode-manager env {name}, "
            "or add its folder with agent.path in the spec"
        )
    inside = confine.ConfinedCommand(given=world.build(project), ends_with_us=True, at_terminal=True)
    return ProjectCommand(argv=(*asyncio.run(confine.wrap(project, inside)), *line), env=env, cwd=cwd)


def _as_the_controller(settings: Settings) -> Settings:
    """Return the settings with the environment of the controller that runs: agents get theirs from it."""
    index = published.read(settings.home)
    if not index.running or index.controller is None:
        return settings
    try:
        data = Path(f"/proc/{index.controller.pid}/environ").read_bytes()
    except OSError:
        return settings
    found = dict(part.split("=", 1) for part in data.decode(errors="surrogateescape").split("\0") if "=" in part)
    environment = settings_module.load(environment=found, needed=()).environment
    return replace(settings, environment=environment, specs=Path(index.controller.specs))


def _project(settings: Settings, name: str, what: str) -> LaunchContext:
    """Return what a start of the project would be made from. Raises UserError."""
    settings = _as_the_controller(settings)
    ledger = Ledgers(settings.home, dry=True).get(name)
    if ledger is None or not ledger.spec:
        raise UserError(f"cannot {what} {name}: no controller has taken it up yet; run: opencode-manager start {name}")
    try:
        spec = specs.parse(specs.known_keys(ledger.spec))
    except specs.SpecError as error:
        raise UserError(f"cannot {what} {name}: {error}") from None
    if shell_path.known(settings) is None:
        asyncio.run(shell_path.refresh(settings))
    project = Observer(settings, Toolchains(settings), None).project(name, spec, ledger)
    if project.env.problems:
        raise UserError("; ".join(project.env.problems))
    return project
