"""Putting the controller together and running it: the one place where every part meets.

Belongs here: the controller's lock, its log, signals, the HTTP server beside the loop, the dry run.
Does not belong here: parsing arguments (`cli`) or anything that the parts do.
"""

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
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from reconciler import __version__
from reconciler.api import reader
from reconciler.controller.controller import Loop
from reconciler.controller.reconciler import Project, Reconciler
from reconciler.core import spec
from reconciler.core.plan import Hold
from reconciler.core.reasons import Reason
from reconciler.core.spec import State
from reconciler.engines.base import Events
from reconciler.engines.local.engine import LocalEngine
from reconciler.frontends.cli.console import Console
from reconciler.settings import HOME_VARIABLE, PORT_VARIABLE, UserError, absolute, default_specs
from reconciler.specs import spec_folder, tombstones
from reconciler.specs.tombstones import Tombstones
from reconciler.state import published
from reconciler.state.leadership import Leadership
from reconciler.state.ledger import Ledgers
from reconciler.system import files, log, orphans
from reconciler.system.aio import failure, first_leaf, summary
from reconciler.system.files import LockHeld

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.core.plan import Plan
    from reconciler.core.spec import Spec
    from reconciler.settings import Settings
    from reconciler.specs.scan import FirstLook

NOT_SO: Final = 2
"""Exit code when it ended at rest, and not every project is as wanted."""
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
        once: end as soon as every project had its pass: as wanted, or waiting for a person or for the next try.
        quiet: print nothing (a detached controller).
        first: an earlier look at the spec files.

    Returns:
        The exit code: with `once`, 0 only if every project is as wanted.

    Raises:
        UserError: another controller runs, or a folder cannot be used.
    """
    home = settings.home
    for folder in (home.root, home.controller, home.sandboxes, home.keys, home.logs, home.toolchains, home.trash):
        _make_folder(folder)
    if not settings.specs.is_dir():
        _make_folder(settings.specs)
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
    """One of several errors that can be told in a sentence, else all of them."""
    told, others = group.split(lambda error: isinstance(error, UserError) or bool(getattr(error, "strerror", "")))
    if told is None or others is not None:
        return group
    found: BaseException = told
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
    """Until a signal, or with `once` until every project had its pass; whether every project is as wanted then."""
    stop, calm, started, port, trouble = asyncio.Event(), asyncio.Event(), time.time(), 0, ""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def identity(warnings: tuple[str, ...]) -> published.Controller:
        return published.Controller(
            pid=os.getpid(),
            specs=str(settings.specs),
            http_port=port,
            started=started,
            development=settings.development,
            version=__version__,
            warnings=(*warnings, trouble) if trouble else warnings,
            notes=loop.notes,
            ports=settings.ports,
        )

    def listening(found: int, problem: str) -> None:
        nonlocal port, trouble
        if (found, problem) == (port, trouble):
            return
        if console and problem and problem != trouble:
            console.say(problem)
        port, trouble = found, problem
        loop.dirty()

    ledgers = Ledgers(settings.home)
    folder = spec_folder.SpecFolder(settings, known=ledgers.names(), first=first)
    loop = Loop(settings, folder, ledgers, lambda events: LocalEngine(settings, ledgers, events), identity, lead.keep)

    def rested() -> None:
        calm.set()
        if console:
            console.at_rest(loop.projects)

    def passed() -> None:
        if once:
            rested()
            stop.set()

    loop.on_rest, loop.on_passed = rested, passed
    loop.on_notes = functools.partial(_say_notes, console)
    if console:
        _greet(settings, console)
        loop.on_change = console.step
    where = {"specs": str(settings.specs), "home": str(settings.home.root)}
    logger.info("controller started", pid=os.getpid(), **where, notes=list(settings.notes))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_http(settings, calm, stop, listening))
        await loop.run(stop)
    logger.info("controller ended")
    if console:
        _farewell(settings, console, loop)
    return calm.is_set() and all(_is_ready(project) for project in loop.projects.values())


def _say_notes(console: Console | None, notes: tuple[str, ...]) -> None:
    logger.info("entries of the specs folder that are not used", notes=notes)
    if console:
        console.notes(notes)


def _is_ready(project: Project) -> bool:
    return bool(project.published) and bool(project.published["ready"]["status"])


async def _http(
    settings: Settings, calm: asyncio.Event, stop: asyncio.Event, listening: Callable[[int, str], None]
) -> None:
    """The MCP endpoint; where it cannot be served, everything else goes on, and it is tried again.

    Whatever the reason is: what fails here is a frontend, and no agent depends on it.
    """
    # To load it takes a tenth of a second, which those who wait for their agents need not wait for too.
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


def _farewell(settings: Settings, console: Console, loop: Loop) -> None:
    alive = [name for name, project in loop.projects.items() if project.facts.agent.alive]
    console.say("\nThe controller has ended.")
    if alive and not orphans.ends_with_us():
        console.say(f"Still running: {', '.join(sorted(alive))}.")
        program = sys.argv[0] if sys.argv[0].endswith("opencode-manager") else "opencode-manager"
        if settings.specs != absolute(default_specs(settings.home, settings.environment)):
            program += f" --specs {shlex.quote(str(settings.specs))}"
        console.say(f"To stop one: {program} stop NAME, which the next {program} run (or run --once) carries out.")


def dry_run(settings: Settings, names: list[str]) -> dict[str, Plan | str]:
    """What a controller would do now, project by project; a string where a spec is broken.

    Args:
        settings: of that controller.
        names: which projects; all when empty, also those whose spec file is gone.

    Raises:
        UserError: the specs folder cannot be read, or there is no such project.
    """
    return asyncio.run(_dry_run(settings, names))


async def _dry_run(settings: Settings, names: list[str]) -> dict[str, Plan | str]:
    scan = spec_folder.scan(settings.specs)
    if not scan.readable:
        raise UserError(f"{scan.problem}; name another with --specs")
    ledgers = Ledgers(settings.home, dry=True)
    index = published.read(settings.home)
    gone = _gone(settings, ledgers, scan, index)
    there = scan.files.keys() | scan.unusable.keys()
    for name in names:
        if name not in there | gone.keys():
            raise UserError(reader.unknown(index, settings, name, "plan"))
    engine = LocalEngine(settings, ledgers, Events(), dry=True)
    reconciler = Reconciler(engine, ledgers, Tombstones(settings), lambda _project, _news: None, settings)
    plans: dict[str, Plan | str] = {}
    try:
        for name in names or sorted(there | gone.keys()):
            if name in gone:
                wanted, hold = gone[name]
                planned = await reconciler.dry_run(Project(name=name, spec=wanted), wanted)
                plans[name] = replace(planned, hold=hold or planned.hold)
                continue
            match spec_folder.read_now(settings.specs, name):
                case spec_folder.Accepted(spec=found):
                    plans[name] = await reconciler.dry_run(Project(name=name, spec=found), found)
                case spec_folder.Rejected(foreign=True) if not names and ledgers.get(name) is None:
                    continue  # another tool's file
                case spec_folder.Rejected(message=message):
                    plans[name] = message
    finally:
        await engine.close()
    return plans


def _gone(
    settings: Settings, ledgers: Ledgers, scan: spec_folder.Scan, index: published.Index
) -> dict[str, tuple[Spec, Hold | None]]:
    """What is wanted of each project whose spec file is gone: stopped, or as it was where a person has to confirm."""
    there = scan.files.keys() | scan.unusable.keys()
    last: dict[str, Spec] = {}
    new = []
    for name in sorted(ledgers.names() - there):
        ledger = ledgers.get(name)
        with contextlib.suppress(spec.SpecError):
            if ledger is not None and ledger.spec:
                last[name] = spec.parse(dict(ledger.spec))
                new += [] if ledger.vanished else [name]
    unconfirmed = [name for name in new if not tombstones.missing_confirmed(settings.home, name)]
    reasons = {name: status["stalled"]["reason"] for name, status in index.projects.items() if index.running}
    before = {name for name, reason in reasons.items() if reason == Reason.SPEC_MISSING}
    held_back = spec_folder.held_back(len(there) + len(new), unconfirmed, before)
    message = "cannot find its spec file, nor most others, so it is not stopped; put {}.yaml back, or confirm with: {}"
    how = "opencode-manager confirm-missing"
    held = {name: Hold(reason=Reason.SPEC_MISSING, message=message.format(name, how)) for name in held_back}
    stopped = {"state": State.STOPPED.value}
    return {
        name: (found if name in held else found.model_copy(update=stopped), held.get(name))
        for name, found in last.items()
    }
