"""The driver of OpenCode.

It loads neither the MCP library nor an HTTP client: the toolset does.
"""

from __future__ import annotations

import contextlib
import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from reconciler.agents.base import LaunchError, Request, UserInputs
from reconciler.agents.opencode import logins, needs, own_writes, plugins, shapes, user_config
from reconciler.agents.opencode.access import OpenCodeAccess
from reconciler.agents.opencode.kind import OPENCODE
from reconciler.core.plain_text import plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from reconciler.agents.base import Answer, Driver, EventFeed, Handed, LeftOut, Package, Place, Reply, Wire
    from reconciler.core.observed import EndedRun, PendingRequest


class OpenCodeDriver(OpenCodeAccess):
    """See `agents.base.Driver`."""

    program: Package = OPENCODE
    grace = OPENCODE.grace
    last_words: tuple[tuple[str, str], ...] = (
        ("serveerror", "it could not listen on its port"),  # all that 1.18 says of a taken port (measured)
    )
    live_request = Request(path=OPENCODE.live_path)
    ready_request = Request(path=OPENCODE.ready_path)
    login = "opencode auth login"
    shutdown_request: Request | None = Request(path=OPENCODE.dispose_path, method="POST")
    events: EventFeed | None = needs.EVENTS

    def arguments(self, place: Place) -> tuple[str, ...]:
        """Return `serve` with the address."""
        return tuple(part.format(port=place.port) for part in OPENCODE.arguments)

    def environment(self, place: Place) -> Mapping[str, str]:
        """Return its password and the operator's policy."""
        return {
            **dict(OPENCODE.variables),
            **user_config.variables(place),
            OPENCODE.config_variable: policy(place.environment.get(OPENCODE.config_variable)),
            OPENCODE.password_variable: place.secret,
        }

    def leftovers(self, place: Place) -> tuple[Path, ...]:
        """Return its install locks: one that was killed leaves a lock for which the next waits 60 s (measured)."""
        return (place.xdg / OPENCODE.locks,)

    def prepare(self, place: Place) -> None:
        """Copy the user's configuration, and exchange logins. Blocking."""
        user_config.bring(place)
        logins.exchange(place)

    def handed(self, place: Place, names: Collection[str]) -> tuple[tuple[Handed, ...], tuple[LeftOut, ...]]:
        """Return its configuration and logins."""
        found = user_config.copies(place, names)
        return (*found.handed, *logins.handed(place)), tuple(found.left_out)

    def user_inputs(self, place: Place) -> UserInputs:
        """Return those of the configuration, and of the logins less what is renewed."""
        return UserInputs(logins=logins.inputs(place), config=user_config.inputs(place))

    def exchanged(self, place: Place) -> tuple[Path, ...]:
        """Return the files of logins."""
        return logins.stamps(place)

    def exchange(self, place: Place) -> None:
        """Exchange logins."""
        logins.exchange(place)

    def logins(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Return the keys of its file of credentials."""
        return logins.names(environment)

    def activity(self, ready: Answer | None) -> Mapping[str, Any] | None:
        """Return the sessions that are at work."""
        if ready is None or ready.status != HTTPStatus.OK:
            return None
        with contextlib.suppress(ValueError):
            return shapes.record(shapes.read("GET", OPENCODE.ready_path, ready.body))
        return None

    def broken_config(self, answer: Answer) -> str:
        """Say which file, line and key. Its message may hold the whole file, keys of model providers included."""
        body: Mapping[str, Any] = {}
        if answer.status == HTTPStatus.BAD_REQUEST:
            with contextlib.suppress(ValueError):
                body = shapes.record(shapes.decode(answer.body))
        name, data = shapes.text(body.get("name")), shapes.record(body.get("data"))
        if not name.startswith("Config"):
            return ""
        message, path = shapes.text(data.get("message")), shapes.text(data.get("path"))
        issues = [issue.get("path") for issue in shapes.records(data.get("issues"))]
        keys = [".".join(map(str, where)) for where in issues if isinstance(where, list) and where]
        line = re.search(r"\bline (\d+)", message)
        where = f" {plain(path)}" if path else ""
        where += f", line {line[1]}" if line else ""
        where += f", at {plain(', '.join(keys[:3]), 200)}" if keys else ""
        return f"cannot load the agent's configuration{where} ({plain(name, 60)}): fix it; it is tried again by itself"

    async def needs(self, wire: Wire, activity: Mapping[str, Any]) -> tuple[PendingRequest, ...]:
        """Return permissions, questions and unreachable providers."""
        return await needs.waiting(wire, activity)

    async def answer(self, wire: Wire, request_id: str, reply: Reply) -> None:
        """Answer a permission or a question."""
        await needs.answer(wire, request_id, reply)

    async def interrupted(self, wire: Wire, ended: Sequence[EndedRun]) -> tuple[str, ...] | None:
        """Return sessions."""
        return await needs.interrupted(wire, ended)

    async def resume(self, wire: Wire, session: str) -> None:
        """Send it a prompt that says so."""
        await needs.resume(wire, session)

    async def refused(self, wire: Wire, started: float) -> tuple[PendingRequest, ...] | None:
        """Return a refusal of this run."""
        return await needs.refused(wire, started)

    def journal(self, place: Place) -> Path:
        """Return its database's log."""
        return place.xdg / OPENCODE.journal

    def log(self, place: Place) -> Path:
        """Return its own log."""
        return plugins.log(place)

    def may_write(self, name: str) -> bool:
        """Tell by the name."""
        return own_writes.known(name)

    def wrote(self, tree: Path, name: str, committed: str | None) -> bool:
        """Tell by the content."""
        return own_writes.is_own(tree, name, committed)

    def loads_plugins(self, place: Place) -> bool:
        """Tell whether the clone or the operator names any."""
        return plugins.used_by(place)

    def doing(self, place: Place, begin: int) -> str:
        """Say whether it installs plugins."""
        return plugins.doing(place, begin)

    def stuck(self, place: Place, begin: int) -> str:
        """Say whether npm waits for its registry."""
        return plugins.stuck(place, begin)

    def failures(
        self, place: Place, wire: Wire, limit: float, begin: int
    ) -> AbstractAsyncContextManager[Callable[[], Awaitable[tuple[str, ...]]]]:
        """Hear its events."""
        return plugins.failures(place, wire, limit, begin)


def policy(operators: str | None) -> str:
    """Return the configuration: the operator's own on top of ours; it wins over what the repository says."""
    if not operators:
        return OPENCODE.config
    with contextlib.suppress(ValueError, TypeError):
        return json.dumps(json.loads(OPENCODE.config) | json.loads(operators))
    raise LaunchError(f"cannot use {OPENCODE.config_variable} of the controller: it is not a JSON object")


DRIVER: Final[Driver] = OpenCodeDriver()
