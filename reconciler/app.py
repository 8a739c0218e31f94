"""The composition root: builds the engine, the controller and the MCP endpoint, and runs them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import importlib
import os
import shlex
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

import structlog

from reconciler import __version__
from reconciler.api import reader
from reconciler.controller import dry_run
from reconciler.controller.controller import Controller
from reconciler.controller.dry_run import UnknownProjectError
from reconciler.controller.events import AllPassed, AtRest, FolderNoted, StatusChanged
from reconciler.controller.historian import Historian
from reconciler.controller.intake import Intake
from reconciler.controller.notifying import Notifying
from reconciler.controller.publisher import Publisher
from reconciler.engines import registry
from reconciler.engines.base import Events, ProjectGone
from reconciler.frontends.cli.console import Console
from reconciler.frontends.web.proxy.sessions import BrowserSessions
from reconciler.settings import HOME_VARIABLE, PORT_VARIABLE, UserError, absolute, default_specs
from reconciler.specs import spec_folder
from reconciler.state import published
from reconciler.state.history import History
from reconciler.state.leadership import Leadership
from reconciler.state.ledger import Ledgers
from reconciler.system import files, log, orphans
from reconciler.system.aio import failure, first_leaf, summary
from reconciler.system.files import LockHeld

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.core.plan import Plan
    from reconciler.engines.base import Engine
    from reconciler.settings import Settings
    from reconciler.specs.scan import FirstLook

NOT_SO: Final = 2
"""Exit code when it ended at rest and not every project is as desired."""
HTTP_PATIENCE: Final = 1.0
"""Seconds that the MCP endpoint waits for the first rest."""
HTTP_AGAIN: Final = 5.0
"""Seconds between two tries to serve it, where something is in the way."""

logger = structlog.stdlib.get_logger(__name__)


def run(
    settings: Settings,
    *,
    standby: bool = False,
    once: bool = False,
    quiet: bool = False,
    first: FirstLook | None = None,
) -> int:
    """Run the controller until a signal ends it.

    Args:
        settings: of this controller.
        standby: wait for another controller to end instead of giving up.
        once: end as soon as every project had its pass: as desired, or waiting for a person or for the next try.
        quiet: print nothing (a detached controller).
        first: an earlier scan of the spec files.

    Returns:
        The exit code: with `once`, 0 only if every project is as desired.

    Raises:
        UserError: another controller runs, or a folder cannot be used.
    """
    home = settings.home
    for folder in (home.root, home.controller, home.sandboxes, home.keys, home.logs, home.toolchains, home.trash):
        _make_folder(folder)
    if not settings.specs.is_dir():
        _make_folder(settings.specs)
    registry.load()
    lead = _lead(settings, standby=standby, quiet=quiet)
    try:
        log.configure(home.controller / "controller.log")
        well = asyncio.run(_serve(settings, lead, None if quiet else Console(), once=once, first=first))
    except BaseExceptionGroup as group:
        logger.exception("controller failed")
        if (cause := _cause(group)) is group:
            raise
        raise cause from None
    finally:
        lead.close()
    return 0 if well or not once else NOT_SO


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return one of several errors if each makes a sentence for a user, else all of them."""
    plain, others = group.split(lambda error: isinstance(error, UserError) or bool(getattr(error, "strerror", "")))
    if plain is None or others is not None:
        return group
    found: BaseException = plain
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _make_folder(folder: Path) -> None:
    try:
        files.private_folder(folder)
    except OSError as error:
        how = f"let this user use it, or set {HOME_VARIABLE} to another folder"
        raise UserError(f"cannot make the folder {folder}: {(error.strerror or str(error)).lower()}; {how}") from None


def _lead(settings: Settings, *, standby: bool, quiet: bool) -> Leadership:
    if standby and not quiet and files.lock_held(settings.home.controller / "lock"):
        print("Another controller leads; waiting for its end to take over.", flush=True)
    try:
        return Leadership(settings.home.controller, wait=standby)
    except LockHeld:
        index = published.read(settings.home)
        who = f"pid {index.controller.pid} on {index.controller.specs}" if index.controller else "another one"
        raise UserError(
            f"cannot start a second controller for {settings.home.root}: {who} is running; "
            "see opencode-manager status, or wait for its end with: opencode-manager run --standby"
        ) from None


async def _serve(
    settings: Settings, lead: Leadership, console: Console | None, *, once: bool, first: FirstLook | None
) -> bool:
    """Reconcile until a signal, or with `once` until every project had its pass; return whether all are ready then."""
    stop, calm, events = asyncio.Event(), asyncio.Event(), Events()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ledgers = Ledgers(settings.home)
    folder = spec_folder.SpecFolder(settings, known=ledgers.names(), first=first, wall_clock=time.time)
    intake = Intake(settings, folder, ledgers, events)
    identity = _Identity(settings, intake)
    publisher = Publisher(settings, intake, identity, events)
    engine = registry.create(settings, ledgers, events)
    controller = Controller(settings, ledgers, engine, events, intake, publisher)
    historian = _historian(settings, events)
    notifying = Notifying(settings, events, publisher.statuses, console.say if console else None)

    def listening(port: int, trouble: str) -> None:
        if (port, trouble) != (identity.port, identity.trouble):
            if console and trouble and trouble != identity.trouble:
                console.say(trouble)
            identity.port, identity.trouble = port, trouble
            publisher.request()

    _close_pages(BrowserSessions(settings.home), events)
    events.subscribe(AtRest, lambda _rest: calm.set())
    if console:
        _greet(settings, console)
        _show(console, events, once=once)
    if once:
        events.subscribe(AllPassed, lambda _passed: calm.set())
        events.subscribe(AllPassed, lambda _passed: stop.set())
    where = {"specs": str(settings.specs), "home": str(settings.home.root)}
    logger.info("controller started", pid=os.getpid(), **where, notes=list(settings.notes))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_http(settings, calm, stop, listening))
        telling = tasks.create_task(notifying.run())
        leading = tasks.create_task(_keep(lead, settings.poll))
        await controller.run(stop)
        leading.cancel()
        telling.cancel()
    logger.info("controller ended")
    historian.controller_stopped()
    if console:
        alive = [name for name, project in intake.projects.items() if project.attempt.facts.agent.alive]
        _farewell(settings, console, alive)
    return calm.is_set() and publisher.all_ready()


def _historian(settings: Settings, events: Events) -> Historian:
    """Begin to write the history of a controller that begins."""
    try:
        index = published.read(settings.home)
    except UserError:  # by a newer version
        index = published.Index()
    historian = Historian(History(settings.home), events, index.projects)
    before = index.controller.version if index.controller else ""
    historian.controller_started(__version__, before, str(settings.specs))
    return historian


class _Identity:
    """What the index says of this controller."""

    def __init__(self, settings: Settings, intake: Intake) -> None:
        self._settings = settings
        self._intake = intake
        self._started = time.time()
        self.port = 0
        """Of the MCP endpoint; 0: none."""
        self.trouble = ""
        """Why there is no endpoint."""

    def __call__(self) -> published.ControllerInfo:
        return published.ControllerInfo(
            pid=os.getpid(),
            specs=str(self._settings.specs),
            http_port=self.port,
            started=self._started,
            development=self._settings.development,
            version=__version__,
            warnings=(*self._intake.warnings, self.trouble) if self.trouble else self._intake.warnings,
            notes=self._intake.notes,
            ports=self._settings.ports,
        )


def _show(console: Console, events: Events, *, once: bool) -> None:
    """Print what happens as it is published."""

    def rested(event: AtRest | AllPassed) -> None:
        console.at_rest([status.to_dict() for status in event.statuses])

    events.subscribe(StatusChanged, lambda event: console.step(event.status.to_dict()))
    events.subscribe(FolderNoted, lambda event: console.notes(event.notes))
    events.subscribe(ProjectGone, lambda event: console.forget(event.name))
    events.subscribe(AtRest, rested)
    if once:
        events.subscribe(AllPassed, rested)


def _close_pages(sessions: BrowserSessions, events: Events) -> None:
    """Let no browser in any more, once a project is not to run or is gone."""

    def close(name: str, end: Callable[[str], None]) -> None:
        try:
            end(name)
        except OSError as error:
            logger.warning("browsers may still be let in", project=name, error=summary(error))

    def changed(event: StatusChanged) -> None:
        if event.status.desired in {"stopped", "absent"}:
            close(event.status.name, sessions.stop)

    events.subscribe(StatusChanged, changed)
    events.subscribe(ProjectGone, lambda event: close(event.name, sessions.forget))


async def _keep(lead: Leadership, seconds: float) -> None:
    """Keep the lead, checking it every so many seconds."""
    while True:
        lead.keep()
        await asyncio.sleep(seconds)


async def _http(
    settings: Settings, calm: asyncio.Event, stop: asyncio.Event, listening: Callable[[int, str], None]
) -> None:
    """Serve the MCP endpoint until `stop` is set; whatever fails, everything else goes on, and it is tried again.

    It is a frontend: no agent depends on it.
    """
    # Loading it takes a tenth of a second, which would delay the start of agents.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HTTP_PATIENCE):
            await calm.wait()
    shown = ""
    while not stop.is_set():
        error = await failure(_serve_http(settings, stop, listening))
        if error is None:
            return
        problem = _no_http(settings, first_leaf(error))
        if problem != shown:
            foreseen = isinstance(first_leaf(error), OSError | UserError)
            logger.warning("no MCP endpoint", error=problem, exc_info=None if foreseen else error)
        shown = problem
        listening(0, problem)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HTTP_AGAIN):
                await stop.wait()


async def _serve_http(settings: Settings, stop: asyncio.Event, listening: Callable[[int, str], None]) -> None:
    server = await asyncio.to_thread(importlib.import_module, "reconciler.frontends.mcp.server")
    await server.serve(settings, stop, listening)


def _no_http(settings: Settings, error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in {errno.EADDRINUSE, errno.EACCES} and not error.filename:
        return f"cannot serve MCP on port {settings.http_port}: {error}; set {PORT_VARIABLE} to another port"
    return f"cannot serve MCP: {summary(error)}; it is tried again every {HTTP_AGAIN:.0f} s"


def _greet(settings: Settings, console: Console) -> None:
    mode = "development mode: secrets are made for you" if settings.development else "production mode"
    console.say(f"opencode-manager {__version__}: specs in {settings.specs}, home {settings.home.root} ({mode})")
    for note in settings.notes:
        console.say(f"note: {note}")
    rest = "its end ends this container, and the agents in it" if orphans.ends_with_us() else "the agents go on"
    console.say(f"Ctrl-C ends the controller; {rest}.\n")
    if not spec_folder.scan(settings.specs).files:
        console.say("There are no specs yet. Write one, or in another terminal: opencode-manager start NAME GIT_URL")


def _farewell(settings: Settings, console: Console, alive: list[str]) -> None:
    console.say("\nThe controller has ended.")
    if alive and not orphans.ends_with_us():
        console.say(f"Still running: {', '.join(sorted(alive))}.")
        program = sys.argv[0] if sys.argv[0].endswith("opencode-manager") else "opencode-manager"
        if settings.specs != absolute(default_specs(settings.home, settings.environment)):
            program += f" --specs {shlex.quote(str(settings.specs))}"
        console.say(f"To stop one: {program} stop NAME, which the next {program} run (or run --once) carries out.")


def plan_projects(settings: Settings, names: list[str]) -> dict[str, Plan | str]:
    """Plan what a controller would do now, project by project; a string where a spec is broken.

    Args:
        settings: of that controller.
        names: which projects; all when empty, also those whose spec file is missing.

    Raises:
        UserError: the specs folder cannot be read, or there is no such project.
    """
    try:
        return asyncio.run(dry_run.compute_plans(settings, names, functools.partial(_dry_engine, settings)))
    except UnknownProjectError as error:
        raise UserError(reader.unknown(published.read(settings.home), settings, error.name, "plan")) from None


def _dry_engine(settings: Settings, ledgers: Ledgers, events: Events) -> Engine:
    return registry.create(settings, ledgers, events, dry=True)
