"""The driver of the echo agent."""

from __future__ import annotations

import contextlib
import json
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler.agents.base import (
    CallError,
    EventFeed,
    NotWaitingError,
    Package,
    ReplyError,
    Request,
    UserInputs,
)
from reconciler.core.observed import AgentQuestion, PendingRequest, RequestKind
from reconciler.core.reasons import Reason
from tests.support.echo_agent.access import EchoAccess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence

    from reconciler.agents.base import Answer, Driver, Handed, LeftOut, Place, Reply, Wire
    from reconciler.core.observed import EndedRun

SERVER: Final = Path(__file__).with_name("server.py")


class EchoDriver(EchoAccess):
    """See `agents.base.Driver`."""

    program = Package(
        name="echo",
        package="echo-agent",
        download="nothing",
        default_version="1.0.0",
        programs=("python3",),
        usual_places=(),
    )
    grace = 1.0
    last_words: tuple[tuple[str, str], ...] = ()
    live_request = Request(path="/alive")
    ready_request = Request(path="/rooms")
    shutdown_request: Request | None = Request(path="/leave", method="POST")

    events: EventFeed | None = EventFeed(request=Request(path="/tells"), news=(b'"tells":"room',), silence=25.0)

    def arguments(self, place: Place) -> tuple[str, ...]:
        return ("-S", "-E", str(SERVER), "--listen", str(place.port))

    def environment(self, place: Place) -> Mapping[str, str]:
        return {"ECHO_KEY": place.secret}

    def leftovers(self, place: Place) -> tuple[Path, ...]:
        return (place.home / "scratch",)

    def prepare(self, place: Place) -> None:
        (place.home / "prepared").touch()

    login = "true"

    def logins(self, environment: Mapping[str, str]) -> tuple[str, ...]:  # noqa: ARG002  it has no providers
        return ()

    def handed(self, place: Place, names: Collection[str]) -> tuple[tuple[Handed, ...], tuple[LeftOut, ...]]:  # noqa: ARG002
        return (), ()

    def user_inputs(self, place: Place) -> UserInputs:  # noqa: ARG002
        return UserInputs()

    def exchanged(self, place: Place) -> tuple[Path, ...]:  # noqa: ARG002
        return ()

    def exchange(self, place: Place) -> None:
        """It has nothing of the user's."""

    def activity(self, ready: Answer | None) -> Mapping[str, Any] | None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if ready is not None and ready.status == HTTPStatus.OK:
                return dict(ready.json()["rooms"])
        return None

    def broken_config(self, answer: Answer) -> str:  # noqa: ARG002  it has no configuration
        return ""

    async def needs(self, wire: Wire, activity: Mapping[str, Any]) -> tuple[PendingRequest, ...]:  # noqa: ARG002
        return tuple(
            PendingRequest(
                Reason.WAITING_FOR_ANSWER,
                f"the agent asks in {room}",
                kind=RequestKind.QUESTION,
                id=room,
                session=room,
                questions=(AgentQuestion(text="?"),),
            )
            for room, state in activity.items()
            if state == "asking"
        )

    async def answer(self, wire: Wire, request_id: str, reply: Reply) -> None:
        if reply.consent is not None or len(reply.answers) != 1:
            raise ReplyError("cannot answer like this: it asks one question")
        body = json.dumps({"text": " ".join(reply.answers[0])}).encode()
        found = await wire.ask(Request(path=f"/rooms/{request_id}/answer", method="POST", body=body))
        if found.status == HTTPStatus.NOT_FOUND:
            raise NotWaitingError
        if found.status != HTTPStatus.OK:
            raise CallError(f"it answers {found.status}")

    async def interrupted(self, wire: Wire, ended: Sequence[EndedRun]) -> tuple[str, ...] | None:  # noqa: ARG002
        found = await wire.ask(Request(path="/broken"))
        with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
            return tuple(map(str, found.json()["broken"]))
        return None

    async def resume(self, wire: Wire, session: str) -> None:
        found = await wire.ask(Request(path=f"/rooms/{session}/resume", method="POST"))
        if found.status != HTTPStatus.OK:
            raise CallError(f"it answers {found.status}")

    async def refused(self, wire: Wire, started: float) -> tuple[PendingRequest, ...] | None:  # noqa: ARG002
        return ()

    def journal(self, place: Place) -> Path | None:  # noqa: ARG002
        return None

    def log(self, place: Place) -> Path | None:  # noqa: ARG002
        return None

    def may_write(self, name: str) -> bool:  # noqa: ARG002
        return False

    def wrote(self, tree: Path, name: str, committed: str | None) -> bool:  # noqa: ARG002
        return False

    def loads_plugins(self, place: Place) -> bool:  # noqa: ARG002
        return False

    def doing(self, place: Place, begin: int) -> str:  # noqa: ARG002
        return ""

    def stuck(self, place: Place, begin: int) -> str:  # noqa: ARG002
        return ""

    @contextlib.asynccontextmanager
    async def failures(
        self,
        place: Place,  # noqa: ARG002
        wire: Wire,
        limit: float,
        begin: int,  # noqa: ARG002
    ) -> AsyncIterator[Callable[[], Awaitable[tuple[str, ...]]]]:
        async def none() -> tuple[str, ...]:
            return ()

        if (await wire.ask(self.live_request, limit)).status != HTTPStatus.OK:
            raise CallError("it does not answer")
        yield none


DRIVER: Final[Driver] = EchoDriver()
