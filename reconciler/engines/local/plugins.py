"""What an OpenCode that starts does about plugins, and which of them it could not load.

Belongs here: reading that from the clone, from OpenCode's own log, and from its events. Does not belong here: waiting
for the start (`serving`), or what counts as work (`start_progress`).

Before OpenCode answers anything about a project that has plugins, it installs their dependencies with npm, and waits
as long as npm does: for ever, where a registry takes connections and never answers (measured). A plugin that is
missing or throws is told in its events while the project is loaded, and nowhere else; only one whose function throws is
in its log too. All of it is the agent's text: only fixed phrases and bounded, plain ones are passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import h11

from reconciler.agents.opencode.kind import KINDS
from reconciler.core.plain_text import plain
from reconciler.engines.local.health.http1 import ask
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from reconciler.engines.local.health.checks import Target
    from reconciler.engines.local.launch import Project

EVENTS: Final = "/global/event"
"""Of OpenCode: what happens in it, of all projects, without loading any."""
SETTLED: Final = 0.3
"""Seconds for which events are awaited after it is ready: those of its plugins come within 0.01 (measured)."""
WRITTEN: Final = 5.0
"""Seconds at most until its log says that the project is loaded: it is written a little later (measured)."""
TOLD: Final = 5
"""Plugins that are named."""

_TAIL: Final = 20_000
"""Bytes of a file that are read."""
_LONGEST: Final = 2**20
"""Bytes of events that are kept."""
_CONFIGS: Final = ("opencode.json", "opencode.jsonc", ".opencode/opencode.json", ".opencode/opencode.jsonc")
_FAILED: Final = re.compile(r"(?:Failed to (?:load|install) plugin|Plugin) .+", re.DOTALL)
_OFFLINE: Final = '`agent.env: {npm_config_offline: "true"}` in the spec starts it without an install'


def used_by(project: Project) -> bool:
    """Whether the project has plugins: then a start waits for npm."""
    repo = project.sandbox.repo
    if any(
        file.suffix in {".js", ".ts"} for name in ("plugin", "plugins") for file in _listed(repo / ".opencode" / name)
    ):
        return True
    policy = project.settings.environment.get(KINDS[project.spec.agent.kind].config_variable, "")
    return any('"plugin"' in text for text in (policy, *(_head(repo / name) for name in _CONFIGS)))


def doing(project: Project, begin: int) -> str:
    """What it does that does not answer yet, in two words; empty where it does not say.

    Args:
        project: whose agent.
        begin: the size of its log when it was started.
    """
    loading = _loads(_said(log(project), begin)) is False
    return "installing plugins (npm)" if loading and used_by(project) else ""


def _loads(said: str) -> bool | None:
    """Whether the newest project that it began to load is loaded; None before it began. Its own phrases (measured)."""
    begun = said.rpartition(" message=bootstrapping ")
    return " message=init\n" in begun[2] if begun[1] else None


def stuck(project: Project, begin: int) -> str:
    """Why an install did not come to its end, and the way out; empty where none was going on."""
    if not doing(project, begin):
        return ""
    return f"its plugins wait for npm, and {_registry(project)} does not answer; {_OFFLINE}"


def log(project: Project) -> Path:
    """What OpenCode writes about itself."""
    return project.sandbox.xdg / KINDS[project.spec.agent.kind].log


def _registry(project: Project) -> str:
    named = {key.lower(): value for key, value in project.spec.agent.env.items()}.get("npm_config_registry", "")
    with contextlib.suppress(ValueError):
        url = urlsplit(named)
        if url.hostname:
            return f"the registry {plain(f'{url.scheme}://{url.hostname}' + (f':{url.port}' if url.port else ''), 200)}"
    return "the npm registry"


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_TAIL).decode(errors="replace")
    except OSError:
        return ""


def _said(path: Path, begin: int) -> str:
    """The end of what was written since."""
    try:
        with path.open("rb") as file:
            file.seek(max(begin, file.seek(0, 2) - _TAIL))
            return file.read(_TAIL).decode(errors="replace")
    except OSError:
        return ""


class Ear:
    """Hears which plugins could not be loaded."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._connection = h11.Connection(h11.CLIENT)
        self._text = b""
        self._hears = False

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, target: Target, limit: float) -> AsyncIterator[Ear]:
        """Events from now on, of a listener that is proved ours. An agent that has none is heard in vain.

        Args:
            target: the agent.
            limit: seconds until it must answer.

        Raises:
            CallError: it does not answer anything yet.
        """
        refused = await ask(target.open_call(), limit)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as stream:
            ear = cls(stream)
            with contextlib.suppress(OSError, TimeoutError, h11.ProtocolError):
                async with asyncio.timeout(limit):
                    ear._hears = refused.status == HTTPStatus.UNAUTHORIZED and await ear._begin(target)
            yield ear

    async def told(self) -> tuple[str, ...]:
        """What went wrong with plugins, as far as it was told by now, and within a moment."""
        with contextlib.suppress(OSError, TimeoutError, h11.ProtocolError):
            async with asyncio.timeout(SETTLED):
                while self._hears and len(self._text) < _LONGEST:
                    match self._connection.next_event():
                        case h11.NEED_DATA:
                            await self._receive()
                        case h11.Data(data=data):
                            self._text += bytes(data)
                        case _:
                            break
        return tuple(dict.fromkeys(_failures(self._text.decode(errors="replace"))))[:TOLD]

    async def _begin(self, target: Target) -> bool:
        loop, call = asyncio.get_running_loop(), target.call(EVENTS)
        headers = {"host": f"127.0.0.1:{call.port}", **call.headers}
        request = self._connection.send(h11.Request(method="GET", target=call.path, headers=list(headers.items())))
        end = self._connection.send(h11.EndOfMessage())
        await loop.sock_connect(self._stream, ("127.0.0.1", call.port))
        if call.proof is None:
            return False
        call.proof.check()
        await loop.sock_sendall(self._stream, (request or b"") + (end or b""))
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            await self._receive()
        return isinstance(event, h11.Response) and event.status_code == HTTPStatus.OK

    async def _receive(self) -> None:
        self._connection.receive_data(await asyncio.get_running_loop().sock_recv(self._stream, 1 << 16))


def note(project: Project, run_id: str, failed: tuple[str, ...]) -> None:
    """Write down what a run could not load, for a controller that comes later: it is told once. Best effort."""
    with contextlib.suppress(OSError):
        if failed:
            files.replace_file(
                _notes(project), json.dumps({"run_id": run_id, "failed": failed}).encode(), durable=False
            )
        else:
            _notes(project).unlink(missing_ok=True)


def noted(project: Project, run_id: str) -> tuple[str, ...]:
    """What was written down of this run."""
    try:
        found = json.loads(_head(_notes(project)))
        return tuple(plain(one) for one in found["failed"][:TOLD]) if found["run_id"] == run_id else ()
    except (ValueError, TypeError, KeyError):
        return ()


def _notes(project: Project) -> Path:
    return project.sandbox.run / "agent.plugins"


def _failures(text: str) -> list[str]:
    """From lines `data: {"payload": {"type", "properties": {"error": {"data": {"message"}}}}}`."""
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            payload: Mapping[str, Any] = json.loads(line.removeprefix("data:"))["payload"]
            message = str(payload["properties"]["error"]["data"]["message"])
            if payload["type"] == "session.error" and _FAILED.match(message):
                found.append(plain(message))
    return found


async def thrown(project: Project, begin: int) -> tuple[str, ...]:
    """The plugins whose function threw in the newest run, from its log: events do not tell of them.

    Args:
        project: whose agent.
        begin: the size of its log when it was started.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WRITTEN):
            while not _loads(_said(log(project), begin)):  # noqa: ASYNC110  nobody says when it is written
                await asyncio.sleep(0.05)
    said = _said(log(project), begin).splitlines()
    run = re.search(r" (run=\w+) ", said[-1]) if said else None
    lines = [line for line in said if run and run[0] in line and 'message="failed to load plugin"' in line]
    found = [re.search(r' path=(\S+) error=(?:"((?:[^"\\]|\\.)*)"|(\S+))', line) for line in lines]
    return tuple(plain(f"Failed to load plugin {one[1]}: {one[2] or one[3]}") for one in found if one)[:TOLD]
