"""Change a spec, then wait for the status that follows: the one way of every frontend that asks for something."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import watchfiles

from reconciler.api import drafts, reader, results
from reconciler.api.results import START_CONTROLLER, ProjectResult
from reconciler.core.reasons import Reason
from reconciler.specs import spec_folder, tombstones, writer
from reconciler.state import published

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from reconciler.api.drafts import Draft
    from reconciler.core.history import Author
    from reconciler.settings import Settings
    from reconciler.state.published import Index

    Progress = Callable[[float, ProjectResult], Awaitable[None]]
    """Called while waiting with the seconds waited and how it stands."""

HEARTBEAT: Final = 5.0
"""Seconds between two reports of progress: clients give up on a call that is silent for 60."""
_LOOK: Final = 1000
"""Milliseconds after which the index is read again, should its watch have missed something."""


@dataclass(frozen=True, kw_only=True)
class SpecChange:
    """A request, and how to recognise that it was acted on."""

    name: str
    version: str
    """Of the spec file as written."""
    folder: Path
    """The specs folder."""
    gone: bool = False
    """A destroy: it is done when nothing is left."""


def write(settings: Settings, draft: Draft, author: Author | None = None) -> SpecChange:
    """Write a change of a spec, and who asked for it, for the history. Raises UserError."""
    if draft.text is None:
        written = writer.edit(draft.folder, settings.home, draft.name, draft.changes, author)
    elif draft.replaces is None:
        written = writer.create(draft.folder, settings.home, draft.name, draft.text, author)
    else:
        written = writer.rewrite(draft.folder, settings.home, draft.name, draft.replaces, draft.text, author)
    return SpecChange(name=draft.name, version=written.token.text, folder=draft.folder, gone=draft.gone)


def start(
    settings: Settings,
    name: str,
    git_url: str | None = None,
    ssh_key: str | None = None,
    *,
    author: Author | None = None,
) -> SpecChange:
    """Ask for a project to run, as `drafts.start` says. Raises UserError."""
    return write(settings, drafts.start(settings, name, git_url, ssh_key), author)


def stop(settings: Settings, name: str, *, author: Author | None = None) -> SpecChange:
    """Ask for a project to stop; everything is kept. Raises UserError."""
    return write(settings, drafts.stop(settings, name), author)


def restart(settings: Settings, name: str, *, author: Author | None = None) -> SpecChange:
    """Ask for one restart of both services of a project. Raises UserError."""
    return write(settings, drafts.restart(settings, name), author)


def destroy(
    settings: Settings, name: str, *, confirm: str, discard_unpushed: bool = False, author: Author | None = None
) -> SpecChange:
    """Ask for a project to be destroyed, as `drafts.destroy` says. Raises UserError."""
    draft = drafts.destroy(settings, name, confirm=confirm, discard_unpushed=discard_unpushed)
    return write(settings, draft, author)


def confirm_missing(settings: Settings, names: list[str], *, dry_run: bool = False) -> list[str]:
    """Say that spec files are missing on purpose; the projects it was said for.

    Args:
        settings: where.
        names: which; all that are held back when empty.
        dry_run: only return them.
    """
    projects = published.read(settings.home).projects
    held = [name for name, status in projects.items() if status["stalled"]["reason"] == Reason.SPEC_MISSING]
    chosen = [name for name in names or held if name in held]
    for name in () if dry_run else chosen:
        tombstones.confirm_missing(settings.home, name)
    return chosen


async def wait(
    settings: Settings,
    change: SpecChange,
    seconds: float,
    progress: Progress | None = None,
    stopping: asyncio.Event | None = None,
) -> ProjectResult:
    """Wait until the controller has acted on a request, at most so long; return its result by then.

    One that takes longer is no error: the result says how far it is.

    Args:
        settings: where.
        change: which.
        seconds: at most so long.
        progress: called when the reason changes, and at least every `HEARTBEAT` seconds.
        stopping: ends the wait early; never set here.
    """
    began = reported = time.monotonic()
    result, _ = look(settings, change)
    if seconds <= 0:
        return result
    said = (result.reason, result.message)
    settings.home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    watch = watchfiles.awatch(
        settings.home.root,
        recursive=False,
        debounce=50,
        step=10,
        rust_timeout=_LOOK,
        yield_on_timeout=True,
        stop_event=_Stop(stopping),
    )
    async with contextlib.aclosing(watch) as hints:
        async for _ in hints:
            result, dealt = look(settings, change)
            now = time.monotonic()
            if dealt or now - began >= seconds:
                return result
            news = (result.reason, result.message) != said
            if progress is not None and (news or now - reported >= min(HEARTBEAT, seconds / 4)):
                reported, said = now, (result.reason, result.message)
                await progress(now - began, result)
    return look(settings, change)[0]


class _Stop(asyncio.Event):
    """What a watch asks whether to end. A cancelled watch sets it: that must not reach the shared one."""

    def __init__(self, shared: asyncio.Event | None) -> None:
        super().__init__()
        self._shared = shared

    def is_set(self) -> bool:
        """Tell whether this watch, or everything, is to end."""
        return super().is_set() or (self._shared is not None and self._shared.is_set())


def look(settings: Settings, change: SpecChange) -> tuple[ProjectResult, bool]:
    """Return the result of a request by now, and whether it was acted on or no controller is there to do it."""
    index = published.read(settings.home)
    status = index.projects.get(change.name)
    warning = "; ".join(reader.warnings(index))
    if status is None:
        gone = change.gone and not spec_folder.spec_path(change.folder, change.name).exists()
        return _unseen(change, warning, _written(index), gone=gone), gone or not index.running
    result = results.of_status(status)
    if warning:
        result = replace(result, warning="; ".join(filter(None, (result.warning, warning))))
    if status["spec_version"] not in {change.version, _version(change)}:
        waiting = replace(result, status="in_progress", converged=False)
        if index.running:
            return waiting, False
        return replace(waiting, reason=Reason.WRITTEN, message=_written(index)), True
    return result, results.settled(status)


def _version(change: SpecChange) -> str:
    """Return the version of the spec file now: a later writer took our change along."""
    try:
        return spec_folder.token_of(spec_folder.spec_path(change.folder, change.name).stat()).text
    except OSError:
        return change.version


def _written(index: Index) -> str:
    """Say what becomes of a request that was not acted on yet."""
    later = "" if index.running else f"; it is acted on when a controller runs: {START_CONTROLLER}"
    return f"its spec is written{later}"


def _unseen(change: SpecChange, warning: str, message: str, *, gone: bool) -> ProjectResult:
    if gone:
        return ProjectResult(
            project=change.name, status="success", message="nothing of it is left", warning=warning, converged=True
        )
    return ProjectResult(
        project=change.name, status="in_progress", reason=Reason.WRITTEN, message=message, warning=warning
    )
