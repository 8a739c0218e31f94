"""The protocol of a driver: what an engine, a bridge and a frontend ask of each kind of agent.

Every driver passes the suite in `tests/agents/contract.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from reconciler.agents.access import REFUSAL, Access, Request, Terminal, Visit, VisitError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    import httpx2

    from reconciler.core.observed import EndedRun, PendingRequest
    from reconciler.mcpkit.binding import Tool

__all__ = [
    "REFUSAL",
    "Access",
    "AgentConnection",
    "Answer",
    "CallError",
    "Client",
    "Consent",
    "Driver",
    "EventFeed",
    "Handed",
    "LaunchError",
    "LeftOut",
    "NotWaitingError",
    "Package",
    "Place",
    "Reply",
    "ReplyError",
    "Request",
    "Stream",
    "Terminal",
    "Toolset",
    "UserInputs",
    "Visit",
    "VisitError",
    "Wire",
]


class CallError(Exception):
    """There is no answer; the text is a clause that says why."""


class NotWaitingError(Exception):
    """What is to be answered does not wait, or not any more: it was answered, or its conversation ended."""


class ReplyError(Exception):
    """This cannot be the answer to that; the text is a sentence that begins with "cannot"."""


class LaunchError(Exception):
    """An agent cannot be launched like this; the text is a sentence that begins with "cannot"."""


class Consent(StrEnum):
    """What a person says when an agent asks leave."""

    ONCE = "once"
    ALWAYS = "always"
    """From now on too, for what `PendingRequest.always` says."""
    DENY = "deny"
    """Also of a question: it is not answered."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a person answers to a pending request: consent or not, or answers to its questions."""

    consent: Consent | None = None
    word: str = field(default="", repr=False)
    """With DENY, where the agent takes one: what it should do instead."""
    answers: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    """For each question, in order: the labels chosen, or own words."""


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  whatever they say
        """Return the body as data. Raises ValueError."""
        return json.loads(self.body)


class Stream(Protocol):
    """The body of an answer that does not end."""

    async def read(self, seconds: float, most: int) -> str:
        """Return what arrives within so many seconds, and no more than `most` bytes; empty where nothing does."""


@dataclass(frozen=True, kw_only=True)
class EventFeed:
    """An endless answer by which an agent tells that something happened: it only says when to probe the agent."""

    request: Request
    news: tuple[bytes, ...]
    """Each is part of an event after which something may wait for a person, or begin or end to be worked at. Whatever
    else arrives is passed over unread: while an agent talks, that is many times a second."""
    silence: float
    """Seconds without a byte after which nobody sends any more."""


class Wire(Protocol):
    """Calls to an agent whose listener is proved to be ours."""

    async def ask(self, request: Request, limit: float | None = None) -> Answer:
        """Send the request with credentials; wait `limit` seconds at most. Raises CallError."""

    def stream(self, request: Request, limit: float) -> AbstractAsyncContextManager[Stream]:
        """Open an endless answer; one that cannot be opened within `limit` seconds is empty.

        Raises:
            CallError: the agent does not answer yet.
        """


@dataclass(frozen=True, kw_only=True)
class Package:
    """Where the agent's program comes from."""

    name: str
    """Of the kind."""
    package: str
    """npm package; the platform (`-linux-x64`) is added to it."""
    download: str
    """How much npm fetches, in words."""
    default_version: str
    """Provided when the spec pins none and none is installed."""
    programs: tuple[str, ...]
    """Names on PATH."""
    usual_places: tuple[str, ...]
    """Below the user's home, where its own installers put it."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one agent lives: its folders, port and secret."""

    repo: Path
    """The clone, in which it works."""
    home: Path
    xdg: Path
    """Its private XDG folders: `data`, `config`, `state`, `cache`."""
    port: int
    secret: str = field(repr=False)
    """What it must demand of its clients."""
    environment: Mapping[str, str] = field(repr=False)
    """The controller's own."""
    variables: Mapping[str, str] = field(repr=False)
    """Of the spec's `agent.env`, and the secrets that only the agent gets."""
    user_config: bool = True
    """Whether the user's own configuration of this kind of agent applies."""


@dataclass(frozen=True, kw_only=True)
class UserInputs:
    """Digests of what of the user's an agent reads only when it starts; empty where there is none."""

    logins: str = ""
    """A change makes it start again when it is idle."""
    config: str = ""
    """A change is reported: some of it may change all the time."""


@dataclass(frozen=True, kw_only=True)
class Handed:
    """A file or folder of the user's that the agent gets."""

    source: Path
    """The user's own."""
    place: Path
    """Where the agent finds it."""
    how: str
    """For people: `copy`, which lies in the sandbox; `read-only`, which is the user's own and must be reachable."""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Something of the user's that the agent does not get."""

    what: str
    why: str
    matters: bool = False
    """Whether the agent may not work without it: then its status says so."""


@dataclass(frozen=True, kw_only=True)
class AgentConnection:
    """How a toolset reaches its agent."""

    project: str
    repo: Path
    url: str
    authorization: Mapping[str, str] = field(repr=False)
    """Headers that let us in."""
    transport: httpx2.AsyncBaseTransport
    """Makes connections to the proved agent, and to nobody else."""
    stopping: asyncio.Event
    """Set when the program ends: a call that waits then answers with what there is."""
    secrets: tuple[str, ...] = field(repr=False)
    """What no result may contain."""


class Client(Protocol):
    """What the tools of a kind work on. Close it."""

    @property
    def kind(self) -> str:
        """Name of the kind."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no result may contain."""

    async def close(self) -> None:
        """Let go of the connections."""


class Toolset(Protocol):
    """The tools by which an MCP client works with an agent: the `toolset` module of each kind."""

    TOOLS: tuple[Tool, ...]
    INSTRUCTIONS: str

    def connect(self, to: AgentConnection) -> Client:
        """Make what the tools work on."""


class Driver(Access, Protocol):
    """What knows one kind of agent. It acts on nothing but the agent's own files and API."""

    program: Package
    grace: float
    """Seconds after TERM, before TERM again, and again before KILL."""
    last_words: tuple[tuple[str, str], ...]
    """Phrases, in small letters, by which it says why it ends, each with the cause."""

    # -- launch

    def arguments(self, place: Place) -> tuple[str, ...]:
        """Return what follows the program in argv. Never a secret: argv is public."""

    def environment(self, place: Place) -> Mapping[str, str]:
        """Return its own variables, the secret among them. Raises LaunchError."""

    def leftovers(self, place: Place) -> tuple[Path, ...]:
        """Return folders that are emptied before each start."""

    def prepare(self, place: Place) -> None:
        """Make the files it must find. Blocking."""

    login: str
    """The command by which a user logs in to a model provider."""

    def logins(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Return the model providers that the user with this environment is logged in to, by name."""

    # -- what it has of the user's

    def handed(self, place: Place, names: Collection[str]) -> tuple[tuple[Handed, ...], tuple[LeftOut, ...]]:
        """Return what of the user's configuration and logins it gets, and what not, and why.

        Args:
            place: of the agent.
            names: the variables that it has.
        """

    def user_inputs(self, place: Place) -> UserInputs:
        """Return digests of what of the user's it reads only when it starts."""

    def exchanged(self, place: Place) -> tuple[Path, ...]:
        """Return the files whose change calls for an `exchange`."""

    def exchange(self, place: Place) -> None:
        """Bring together what it and the user both renew, as logins. Blocking. Raises OSError."""

    # -- readiness and liveness

    live_request: Request
    """The cheapest request that shows life."""
    ready_request: Request
    """Is answered with JSON only when the project is loaded; the answer says what the agent works at."""
    shutdown_request: Request | None
    """Ends what the agent itself started, before TERM."""

    def activity(self, ready: Answer | None) -> Mapping[str, Any] | None:
        """Return what it works at, by name, from the answer to `ready_request`; empty: idle, None: it does not say."""

    def broken_config(self, answer: Answer) -> str:
        """Say which configuration it cannot load and what to do; empty for any other answer. Never what it quotes."""

    # -- needs

    events: EventFeed | None
    """Where it tells that it is to be probed; None: it has no such thing, and is probed every so often."""

    async def needs(self, wire: Wire, activity: Mapping[str, Any]) -> tuple[PendingRequest, ...]:
        """Return what waits for a person in an agent at work; nothing where that cannot be seen.

        Each is one value, the most urgent first. One with an id can be answered by it.
        """

    async def answer(self, wire: Wire, request_id: str, reply: Reply) -> None:
        """Answer what waits for a person. The first answer counts.

        Raises:
            NotWaitingError: it does not wait any more.
            ReplyError: the answer does not fit; nothing was sent.
            CallError: no answer; whether the reply was taken is not known, but `needs` shows whether it still waits.
        """

    async def interrupted(self, wire: Wire, ended: Sequence[EndedRun]) -> tuple[str, ...] | None:
        """Return the conversations whose last answer broke off when a run ended; None where that cannot be seen.

        Args:
            wire: to the agent.
            ended: its runs before this one, as far as they are known: what a person broke off while one ran, and we did
                not stop it, was not interrupted.
        """

    async def resume(self, wire: Wire, session: str) -> None:
        """Let a conversation that broke off go on.

        Raises:
            CallError: no answer; `interrupted` shows whether it goes on.
        """

    async def refused(self, wire: Wire, started: float) -> tuple[PendingRequest, ...] | None:
        """Return whether a model provider refused the newest message since `started` (wall clock); None: unknown."""

    # -- its files

    def journal(self, place: Place) -> Path | None:
        """Return the file that is written whenever it works, and at no other time."""

    def log(self, place: Place) -> Path | None:
        """Return what it writes about itself."""

    def may_write(self, name: str) -> bool:
        """Tell whether it may have written this path of the clone by itself; only then is its content read."""

    def wrote(self, tree: Path, name: str, committed: str | None) -> bool:
        """Tell whether the file's difference to the committed text is its own doing alone. False in any doubt."""

    # -- a start that takes long

    def loads_plugins(self, place: Place) -> bool:
        """Tell whether a start loads plugins, which may take long and fail one by one."""

    def doing(self, place: Place, begin: int) -> str:
        """Say in two words what a start does that does not answer; `begin`: size of its log when it was started."""

    def stuck(self, place: Place, begin: int) -> str:
        """Say why such a start did not end, and the way out; empty where it does not know."""

    def failures(
        self, place: Place, wire: Wire, limit: float, begin: int
    ) -> AbstractAsyncContextManager[Callable[[], Awaitable[tuple[str, ...]]]]:
        """Listen while it is proved ready; what is yielded returns the plugins that it could not load.

        Raises:
            CallError: it does not answer yet.
        """
