"""The suite that every driver passes: subclass it, and say how an agent of the kind is run and kept busy."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from reconciler import agents
from reconciler.agents.base import (
    REFUSAL,
    Answer,
    CallError,
    NotWaitingError,
    Place,
    Reply,
    ReplyError,
    UserInputs,
    Visit,
    VisitError,
)
from reconciler.core import env_keys, kinds
from reconciler.core import spec as specs
from reconciler.core.observed import EndedRun, Health, RequestKind, Service
from reconciler.engines.local.facts import process
from reconciler.engines.local.health import checks
from reconciler.engines.local.launch import launch
from reconciler.mcpkit.binding import bound
from tests.support.bridge import call
from tests.support.local_project import NAME, LocalProject

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from mcp import Client

    from reconciler.agents.base import Driver, Request, Stream
    from reconciler.core.observed import PendingRequest
    from reconciler.engines.local.health.http1 import Call

SECRET, TOKEN = "the-agents-secret-0123456789", "the-bridges-token-0123456789"
PROBED = {"OPENCODE_MANAGER_LIVENESS": "600"}
"""So seldom that what is seen earlier was heard of."""
TOOL_NAME = re.compile(r"opencode-[a-z]+(-[a-z]+)*")
"""The names of tools are the user's contract, whatever the kind."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How an agent of a kind is made to wait for a person, and what to answer it."""

    content: str
    """Said in a session."""
    kind: RequestKind
    reply: Reply
    wrong: Reply
    """What does not fit."""


class OddWire:
    """An agent, in words only, that answers everything with the same."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    async def ask(self, _request: Request, _limit: float | None = None) -> Answer:
        return self.answer

    def stream(self, _request: Request, _limit: float) -> AbstractAsyncContextManager[Stream]:
        raise CallError("it has none")


class PatientWire(checks.ProbeWire):
    """As the engine's, on a machine that does other things too."""

    def __init__(self, target: checks.ProbeTarget) -> None:
        super().__init__(target, 60.0)

    async def send(self, call: Call, limit: float | None = None) -> Answer:
        return await super().send(call, limit or checks.LOADING)


class DriverContract:
    """What an engine, a bridge and a frontend rely on."""

    kind: str
    asking: tuple[Asking, ...]
    """Of each sort of request that the kind has, one."""

    @pytest.fixture(name="driver")
    def _driver(self) -> Driver:
        return agents.driver(self.kind)

    @pytest.fixture(name="place")
    def _place(self, tmp_path: Path) -> Place:
        for folder in ("repo", "home", "xdg", "user"):
            (tmp_path / folder).mkdir()
        return Place(
            repo=tmp_path / "repo",
            home=tmp_path / "home",
            xdg=tmp_path / "xdg",
            port=4101,
            secret=SECRET,
            environment={"HOME": str(tmp_path / "user")},
            variables={},
        )

    # -- to be said by each kind

    @pytest.fixture(name="running")
    def _running(self) -> AbstractAsyncContextManager[LocalProject]:
        """A project whose agent is of this kind, not started yet; it is probed by `PROBED` alone."""
        raise NotImplementedError

    def at_work(self, client: Client, session_id: str) -> AbstractAsyncContextManager[object]:
        """Keep the agent busy within."""
        raise NotImplementedError

    # -- by itself

    def test_the_spec_accepts_its_kind(self, driver: Driver) -> None:
        """It is in the registry, by its own name."""
        spec = specs.parse({"git": {"url": "/srv/x"}, "agent": {"kind": self.kind}})

        assert spec.agent.kind == driver.program.name == driver.kind == self.kind

    def test_its_secret_is_in_its_environment_and_not_in_argv(self, driver: Driver, place: Place) -> None:
        """Everybody can read argv; its port is there or in a variable."""
        argv, variables = driver.arguments(place), driver.environment(place)

        assert SECRET not in " ".join(argv)
        assert SECRET in variables.values()
        assert "4101" in " ".join((*argv, *variables.values()))
        assert SECRET not in repr(place)

    def test_it_sets_no_variable_that_is_the_engines(self, driver: Driver, place: Place) -> None:
        """Its folders and its SSH command are given to it."""
        engines = {"HOME", "PATH", "TMPDIR", "GIT_SSH_COMMAND", "GIT_CONFIG_SYSTEM", env_keys.TOKEN}

        assert not engines & set(driver.environment(place))

    def test_a_spec_may_set_none_of_its_variables(self, driver: Driver, place: Place) -> None:
        """The registry names them, since a spec is read before any driver is loaded."""
        for name in driver.environment(place):
            with pytest.raises(specs.SpecError, match=f"^cannot set {name}: the manager sets it$"):
                specs.parse({"git": {"url": "/srv/x"}, "agent": {"kind": self.kind, "env": {name: "x"}}})

    def test_its_credentials_are_headers_that_hold_the_secret(self, driver: Driver) -> None:
        """Other secrets make other headers; names are in small letters, as the engine looks for them."""
        headers = driver.authorization(SECRET)

        assert headers != driver.authorization(TOKEN)
        assert all(name == name.lower() for name in headers)

    def test_it_is_shown_without_its_secret_in_sight(self, driver: Driver, tmp_path: Path) -> None:
        """Neither in the path of its page nor in argv; a kind that has no page or no terminal program says so."""
        visit = Visit(url="http://127.0.0.1:4101", secret=SECRET, repo=tmp_path)
        page, terminal = driver.page(visit), driver.terminal(visit)

        assert page is None or (page.startswith("/") and not page.startswith("//") and SECRET not in page)
        if terminal is not None:
            assert SECRET not in " ".join(terminal.arguments)
            assert SECRET in terminal.environment.values()
            assert SECRET not in repr(terminal)
        assert SECRET not in repr(visit)

    @pytest.mark.parametrize("session", ["--continue", "../x", "a b", "ses_", "ses_1\n", "//evil.example", "%2e"])
    def test_what_names_no_conversation_goes_nowhere(self, driver: Driver, tmp_path: Path, session: str) -> None:
        """It would be part of a path, and of a command line."""
        visit = Visit(url="http://127.0.0.1:4101", secret=SECRET, repo=tmp_path, session=session)
        for show in (driver.page, driver.terminal):
            try:
                shown = show(visit)
            except VisitError:
                shown = None
            assert shown is None

    def test_preparing_is_done_once(self, driver: Driver, place: Place) -> None:
        """Or more often; and what is emptied before a start is below its own folders."""
        driver.prepare(place)
        driver.prepare(place)

        assert all(
            left.is_relative_to(place.home) or left.is_relative_to(place.xdg) for left in driver.leftovers(place)
        )

    def test_of_a_user_who_has_nothing_it_has_nothing(self, driver: Driver, place: Place) -> None:
        """And makes nothing of theirs."""
        user = Path(place.environment["HOME"])
        before = list(user.rglob("*"))

        driver.exchange(place)

        assert driver.handed(place, ()) == ((), ())
        assert driver.user_inputs(place) == UserInputs()
        assert not any(path.exists() for path in driver.exchanged(place))
        assert list(user.rglob("*")) == before

    @pytest.mark.parametrize("body", [b"", b"[]", b"7", b"no JSON", b'{"a": 1}', b"\xff", b"null"])
    @pytest.mark.parametrize("status", [200, 400, 401, 500])
    def test_no_odd_answer_upsets_it(self, driver: Driver, status: int, body: bytes) -> None:
        """It is read, or it says nothing."""
        activity = driver.activity(Answer(status, body))

        assert activity is None or status == HTTPStatus.OK
        assert driver.broken_config(Answer(status, body)) == ""
        assert driver.activity(None) is None

    @pytest.mark.parametrize("body", [b"", b"[]", b"[1]", b"[{}]", b"no JSON", b'{"a": []}', b"[" * 100_000])
    @pytest.mark.parametrize("status", [200, 400, 401, 500])
    async def test_no_odd_list_upsets_it(self, driver: Driver, status: int, body: bytes) -> None:
        """Whatever can be read of it is; an answer to a request that nobody listed goes nowhere."""
        wire = OddWire(Answer(status, body))

        for need in await driver.needs(wire, {"one": {}}):
            assert need.message
        assert not await driver.interrupted(wire, [EndedRun(run_id="r", started=1.0, stop=2.0, ended=3.0)])
        assert not await driver.refused(wire, 0.0)
        with pytest.raises((CallError, NotWaitingError, ReplyError)):
            await driver.answer(wire, "one", Reply(answers=((),) * 9))

    def test_a_bridge_reaches_it_as_the_engine_does(self, driver: Driver) -> None:
        """By what it loads alone."""
        access = agents.access_to(kinds.DRIVERS[self.kind].package)

        assert (access.kind, access.package, access.open_request) == (driver.kind, driver.package, driver.open_request)
        assert access.authorization(SECRET) == driver.authorization(SECRET)

    def test_its_tools_can_be_offered(self, driver: Driver) -> None:
        """For one project and for many; each once, with a description."""
        toolset = agents.toolset(driver)
        names = [tool.name for tool in toolset.TOOLS]

        assert len(set(names)) == len(names)
        assert all(TOOL_NAME.fullmatch(name) for name in names)
        for routed in (False, True):
            offered = bound(toolset.TOOLS, lambda _: pytest.fail("nobody calls one"), routed=routed)
            assert all(tool.description for tool in offered)
        assert toolset.INSTRUCTIONS

    def test_what_it_tells_is_known_by_bytes_of_its_own(self, driver: Driver) -> None:
        """Many: a few letters would be found in what people say."""
        feed = driver.events

        assert feed is None or (feed.silence > 0 and feed.news and all(len(one) > 8 for one in feed.news))

    # -- run by the real keeper

    @pytest.mark.long
    async def test_its_life(self, running: AbstractAsyncContextManager[LocalProject], driver: Driver) -> None:
        """Started, proved, asked by both, busy, and ended with all that it started."""
        async with AsyncExitStack() as stack:
            project = await stack.enter_async_context(running)
            for service in Service:
                await project.start(service)
            facts = await project.until(lambda facts: facts.agent.probe.health is Health.READY)
            assert facts.bridge.probe.health is Health.READY, facts.bridge
            leader, target = psutil.Process(process(facts.agent).pid), _target(project)
            family = [leader, *leader.children(recursive=True)]
            await _refuses_and_answers(target, driver)
            async with project.client() as client:
                assert (await call(client, "server-health"))["healthy"]
                made = await call(client, "session-create", title="t")
                assert await _activity(target, driver) == {}
                for asking in self.asking:
                    await _asks_and_is_answered(client, project, driver, asking)
                async with self.at_work(client, made["sessionId"]):
                    assert await _activity(target, driver)
                project.engine._prober.pause(
                    NAME, Service.AGENT
                )  # as before each stop: who listens would load it again
                assert driver.shutdown_request is None or await _shuts_down(target, driver)
            for service in (Service.BRIDGE, Service.AGENT):
                await project.stop(service)
            stopped = await project.observe()
            assert not stopped.agent.alive
            assert not stopped.bridge.alive
            assert not any(one.is_running() for one in family)


def _target(project: LocalProject) -> checks.ProbeTarget:
    ledger = project.ledgers.get(NAME)
    assert ledger is not None
    ours = project.engine._observer.project(NAME, project.spec, ledger)
    argv = launch(ours, Service.AGENT, "/bin/program").argv
    assert ours.env.server_password not in " ".join(argv)
    return ours.target(Service.AGENT).proved()


async def _refuses_and_answers(target: checks.ProbeTarget, driver: Driver) -> None:
    wire, stranger = PatientWire(target), PatientWire(replace(target, secret="wrong-0123456789"))
    for request in (driver.open_request, driver.live_request, driver.ready_request):
        assert (await wire.send(target.call(request, secret=False))).status == REFUSAL
        assert (await stranger.ask(request)).status == REFUSAL
        answer = await wire.ask(request, checks.LOADING)
        assert answer.status == HTTPStatus.OK
        assert isinstance(answer.json(), dict | list)


async def _activity(target: checks.ProbeTarget, driver: Driver) -> dict[str, Any]:
    found = driver.activity(await PatientWire(target).ask(driver.ready_request))
    assert found is not None
    return dict(found)


async def _asks_and_is_answered(client: Client, project: LocalProject, driver: Driver, asking: Asking) -> None:
    """Once: who answers second is told so, and what does not fit is refused before it does harm.

    Where the agent tells of it, the engine sees both at once: it makes no probes of its own meanwhile.
    """
    target = _target(project)
    made = await call(client, "session-create", title="t")
    await call(client, "session-message", sessionId=made["sessionId"], content=asking.content)
    if driver.events:
        await project.until(lambda facts: bool(facts.agent.probe.attention))
    (need,) = await _needs(target, driver)
    wire = PatientWire(target)

    assert (need.kind, need.session) == (asking.kind, made["sessionId"])
    assert bool(need.questions) == (asking.kind is RequestKind.QUESTION)
    with pytest.raises(ReplyError, match=r"^cannot answer"):
        await driver.answer(wire, need.id, asking.wrong)
    assert await _needs(target, driver) == (need,)
    await driver.answer(wire, need.id, asking.reply)
    with pytest.raises(NotWaitingError):
        await driver.answer(wire, need.id, asking.reply)
    assert await _needs(target, driver) == ()
    if driver.events:
        await project.until(lambda facts: not facts.agent.probe.attention)


async def _needs(target: checks.ProbeTarget, driver: Driver) -> tuple[PendingRequest, ...]:
    return await driver.needs(PatientWire(target), await _activity(target, driver))


async def _shuts_down(target: checks.ProbeTarget, driver: Driver) -> bool:
    assert driver.shutdown_request is not None
    return (await PatientWire(target).ask(driver.shutdown_request)).status < HTTPStatus.BAD_REQUEST
