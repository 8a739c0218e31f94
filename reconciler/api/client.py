"""Change a spec, then wait for the status that follows: the one way of every frontend that asks for something."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import watchfiles

from reconciler.api import reader, results
from reconciler.api.results import START_CONTROLLER, ProjectResult
from reconciler.core import spec
from reconciler.core.names import refused_name, valid_name
from reconciler.core.reasons import Reason
from reconciler.core.spec import SpecError
from reconciler.settings import UserError
from reconciler.specs import spec_folder, tombstones, writer
from reconciler.specs.spec_folder import Accepted, Rejected
from reconciler.state import published

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from reconciler.settings import Settings
    from reconciler.specs.patch import Scalar
    from reconciler.specs.writer import WrittenSpec
    from reconciler.state.published import Index

    Progress = Callable[[float, ProjectResult], Awaitable[None]]
    """Called while waiting with the seconds waited and how it stands."""

HEARTBEAT: Final = 5.0
"""Seconds between two reports of progress: clients give up on a call that is silent for 60."""
LONGEST: Final = 4096
"""Characters of a git url, and of a path as the kernel takes it."""
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


def start(settings: Settings, name: str, git_url: str | None = None, ssh_key: str | None = None) -> SpecChange:
    """Ask for a project to run. A new one needs its git url; of a known one the url must be the same.

    Asking again for what is desired already makes the controller observe now.

    Args:
        settings: where.
        name: which.
        git_url: its repository; None only of a known project.
        ssh_key: path of a private key; None or empty: not given.

    Raises:
        UserError: the name, the url or the key cannot be used, or the project is another repository's.
    """
    folder = _folder(settings)
    git_url = git_url.strip() if git_url is not None else None
    if not valid_name(name):
        raise UserError(refused_name(name))
    ssh_key = ssh_key or None
    url = _checked_url(git_url, ssh_key)
    if not spec_folder.spec_path(folder, name).exists():
        if git_url is None:
            index = published.read(settings.home)
            raise UserError(f"{reader.unknown(index, settings, name, 'start')}; to make it, give its git url")
        written = writer.create(folder, settings.home, name, writer.new_text(url, ssh_key))
        return _spec_change(name, folder, written)
    found = _read(settings, folder, name, "start")
    if git_url is not None and url != found.spec.git.url:
        raise UserError(
            f"cannot start {name} with this git url: its spec says {found.spec.git.url}; "
            "use another name, or destroy it first"
        )
    changes: dict[tuple[str, ...], Scalar] = {}
    if found.spec.state != "running":
        changes["state",] = "running"
    if ssh_key is not None and ssh_key != found.spec.git.ssh_key:
        changes["git", "ssh_key"] = ssh_key
    return _edit(settings, folder, name, changes)


def _checked_url(git_url: str | None, ssh_key: str | None) -> str:
    """Return the url as a spec has it. Reject what no spec may contain: a message must not name a missing file."""
    for what, value in (("git url", git_url), ("path of a key", ssh_key)):
        if value is not None and len(value) > LONGEST:
            raise UserError(f"cannot use a {what} of {len(value)} characters: give one of at most {LONGEST}")
    given = {"url": "." if git_url is None else git_url} | ({} if ssh_key is None else {"ssh_key": ssh_key})
    try:
        return spec.parse({"git": given}).git.url
    except SpecError as error:
        raise UserError("; ".join(f"{one.message} ({'.'.join(one.where)})" for one in error.problems)) from None


def stop(settings: Settings, name: str) -> SpecChange:
    """Ask for a project to stop; everything is kept. Raises UserError."""
    folder = _folder(settings)
    _read(settings, folder, name, "stop")
    return _edit(settings, folder, name, {("state",): "stopped"})


def restart(settings: Settings, name: str) -> SpecChange:
    """Ask for one restart of both services of a project. Raises UserError."""
    folder = _folder(settings)
    found = _read(settings, folder, name, "restart")
    changes: dict[tuple[str, ...], Scalar] = {("restarted_at",): datetime.now(UTC).isoformat(timespec="milliseconds")}
    if found.spec.state != "running":
        changes["state",] = "running"
    return _edit(settings, folder, name, changes)


def destroy(settings: Settings, name: str, *, confirm: str, discard_unpushed: bool = False) -> SpecChange:
    """Ask for a project to be destroyed.

    Args:
        settings: where.
        name: which.
        confirm: the name once more.
        discard_unpushed: even if work would be lost.

    Raises:
        UserError: it was not confirmed, or there is no such project.
    """
    if not valid_name(name):
        raise UserError(reader.unknown(published.read(settings.home), settings, name, "destroy"))
    if confirm != name:
        raise UserError(f"cannot destroy {name} without being sure: give its name once more in confirm")
    folder = _folder(settings)
    if not spec_folder.spec_path(folder, name).exists():
        _bring_back(settings, folder, name)
    found = _read(settings, folder, name, "destroy")
    changes: dict[tuple[str, ...], Scalar] = {("state",): "absent"}
    if discard_unpushed != found.spec.discard_unpushed:
        changes["discard_unpushed",] = discard_unpushed
    return replace(_edit(settings, folder, name, changes), gone=True)


def confirm_missing(settings: Settings, names: list[str]) -> list[str]:
    """Say that spec files are missing on purpose; the projects it was said for.

    Args:
        settings: where.
        names: which; all that are held back when empty.
    """
    projects = published.read(settings.home).projects
    held = [name for name, status in projects.items() if status["stalled"]["reason"] == Reason.SPEC_MISSING]
    chosen = [name for name in names or held if name in held]
    for name in chosen:
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


def _folder(settings: Settings) -> Path:
    return reader.specs_folder(published.read(settings.home), settings)


def _read(settings: Settings, folder: Path, name: str, verb: str) -> Accepted:
    """Return the spec as it is now."""
    if not valid_name(name) or not spec_folder.spec_path(folder, name).exists():
        raise UserError(reader.unknown(published.read(settings.home), settings, name, verb))
    found = spec_folder.read_now(folder, name)
    if isinstance(found, Rejected):
        gap = "\n" if "\n" in found.message else " "
        raise UserError(f"cannot {verb} {name} before its spec is fixed:{gap}{found.message}")
    return found


def _bring_back(settings: Settings, folder: Path, name: str) -> None:
    """Write a spec again for a project whose file is missing, so that it can say what becomes of the project."""
    status: Mapping[str, object] = published.read(settings.home).projects.get(name, {})
    if status.get("git_url"):
        text = f"state: stopped\n{writer.new_text(str(status['git_url']))}"
        writer.create(folder, settings.home, name, text)


def _edit(settings: Settings, folder: Path, name: str, changes: Mapping[tuple[str, ...], Scalar]) -> SpecChange:
    return _spec_change(name, folder, writer.edit(folder, settings.home, name, changes))


def _spec_change(name: str, folder: Path, written: WrittenSpec) -> SpecChange:
    return SpecChange(name=name, version=written.token.text, folder=folder)
