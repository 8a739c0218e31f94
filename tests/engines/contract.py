"""What every engine must keep: subclass `EngineContract` and give it a `case`. See CONTRIBUTING.md."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

import pytest

from reconciler.core import spec as specs
from reconciler.core.actions import Done, RequeueAfter, StartService
from reconciler.core.observed import Ledger, ObservedProject, Phase, Service
from reconciler.core.plan import Plan, View, make_plan
from reconciler.engines.base import Capability, Events, FingerprintsMayDiffer, ProjectDisturbed
from reconciler.settings import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.core.actions import Action, Outcome
    from reconciler.core.spec import Spec
    from reconciler.engines.base import Engine
    from reconciler.state.ledger import Ledgers

NAME: Final = "app"
ROUNDS: Final = 12
PATIENCE: Final = 90.0
"""Seconds to wait for an event on a loaded machine."""


class Heard(Events):
    """Who listens: which projects something happened to."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.news = asyncio.Event()
        self.subscribe(ProjectDisturbed, self._disturbed)

    def _disturbed(self, event: ProjectDisturbed) -> None:
        self.names.add(event.name)
        self.news.set()


class Case(ABC):
    """An engine with one project, which may be started."""

    def __init__(self, ledgers: Ledgers, url: str) -> None:
        self.ledgers = ledgers
        self.url = url
        self.heard = Heard()
        self.engine: Engine = self.open()

    @abstractmethod
    def open(self) -> Engine:
        """Make the engine as another controller would, over what there is."""

    @abstractmethod
    async def kill(self, service: Service) -> None:
        """End a service from outside, with signal 9."""

    def spec(self, **fields: Any) -> Spec:
        return specs.parse({"git": {"url": self.url}, **fields})

    async def view(self, spec: Spec) -> View:
        ledger = self.ledgers.get(NAME) or Ledger(uid="none")
        facts = await self.engine.observe(NAME, spec, ledger)
        return View(spec=spec, facts=facts, ledger=ledger, now=self.engine.now(), recipe=self.engine.recipe)

    async def perform(self, spec: Spec, action: Action) -> Outcome:
        return await self.engine.perform(NAME, spec, action)

    async def drive(self, *, times: int = 1, **fields: Any) -> ObservedProject:
        """Plan and act until nothing is left to do, as a controller does, each action but a start so many times."""
        spec = self.spec(**fields)
        self.ledgers.accept(NAME, spec)
        for _ in range(ROUNDS):
            plan = make_plan(view := await self.view(spec))
            if not plan.actions:
                assert plan.hold is None, plan.hold
                return view.facts
            for action in plan.actions:
                outcomes = [
                    await self.perform(spec, action) for _ in range(1 if isinstance(action, StartService) else times)
                ]
                assert all(isinstance(one, Done | RequeueAfter) for one in outcomes), (action, outcomes)
                if outcomes[-1] != Done():
                    break
        raise AssertionError(f"no end after {ROUNDS} rounds: {plan}")

    def set_secrets(self, mark: str) -> Mapping[str, str]:
        """Set every secret there is, each to a value of its own."""
        values = {key: f"{key}-{mark}-abcdefghijklmnop" for key in self.engine.secrets(NAME).keys}
        self.engine.set_secrets(NAME, values)
        return values

    async def until_exited(self, service: Service) -> ObservedProject:
        """Wait until an event said so and the service has ended."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self.heard.news.clear()
                facts = (await self.view(self.spec())).facts
                if facts.service(service).phase is Phase.EXITED and NAME in self.heard.names:
                    return facts
                await self.heard.news.wait()


async def _is_set(event: asyncio.Event, limit: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit):
            await event.wait()
    return event.is_set()


class EngineContract:
    """The suite. A subclass gives a fixture `case` of a project that was never started."""

    async def test_nothing_is_observed_of_what_was_never_started(self, case: Case) -> None:
        """It is absent: no service, nothing held, no way to reach it."""
        facts = (await case.view(case.spec())).facts

        assert [facts.service(each).phase for each in Service] == [Phase.NEVER, Phase.NEVER]
        assert [facts.service(each).address for each in Service] == [None, None]
        assert [case.engine.connect(NAME, each) for each in Service] == [None, None]
        assert case.engine.program(NAME, {"opencode"}) == ""
        assert "another" not in case.engine.names()

    async def test_a_start_ends_with_running_ready_and_reachable(self, case: Case) -> None:
        """Both services, each with an address and an instance of its own."""
        facts = await case.drive()
        both = [facts.service(each) for each in Service]

        assert all(each.ready and each.address and each.instance for each in both)
        assert len({each.address for each in both}) == len({each.instance for each in both}) == 2
        assert NAME in case.engine.names()

    async def test_a_converged_project_plans_nothing_and_its_recipe_is_pure(self, case: Case) -> None:
        """The same view gives the same steps, and asking for them changes nothing."""
        await case.drive()
        view = await case.view(case.spec())

        assert case.engine.recipe(view) == case.engine.recipe(view)
        assert make_plan(view) == make_plan(await case.view(case.spec())) == Plan()

    async def test_an_action_done_again_is_done_once(self, case: Case) -> None:
        """A controller may be killed between an action and its record."""
        first = await case.drive(times=2)
        second = await case.drive(times=2)

        assert [first.service(each).instance for each in Service] == [second.service(each).instance for each in Service]
        stopped = await case.drive(times=2, state="stopped")
        assert not stopped.agent.alive
        assert not stopped.bridge.alive

    async def test_a_stop_leaves_nothing_alive_and_keeps_the_project(self, case: Case) -> None:
        """The exit was asked for."""
        await case.drive()
        facts = await case.drive(state="stopped")

        assert [facts.service(each).phase for each in Service] == [Phase.EXITED, Phase.EXITED]
        assert all(ended.asked for each in Service if (ended := facts.service(each).exit))
        assert NAME in case.engine.names()

    async def test_an_exit_is_reported_and_observed_with_its_cause(self, case: Case) -> None:
        """By an event, so that nobody has to poll; and it was not asked for."""
        await case.drive()
        case.heard.names.clear()
        await case.kill(Service.AGENT)
        ended = (await case.until_exited(Service.AGENT)).agent.exit

        assert case.heard.names == {NAME}
        assert ended is not None
        assert (ended.signal, ended.asked, ended.failed) == (9, False, True)

    async def test_a_service_that_ended_is_started_as_another_instance(self, case: Case) -> None:
        """The other one goes on."""
        before = await case.drive()
        await case.kill(Service.AGENT)
        await case.until_exited(Service.AGENT)
        after = await case.drive()

        assert after.agent.instance != before.agent.instance
        assert after.bridge.instance == before.bridge.instance

    async def test_another_controller_observes_the_same(self, case: Case) -> None:
        """Observed is what there is, not what an engine remembers."""
        before = await case.drive()
        await case.engine.close()
        case.engine = case.open()
        after = await case.drive()

        assert [after.service(each).instance for each in Service] == [before.service(each).instance for each in Service]
        assert case.engine.names() == {NAME}

    async def test_connect_leads_only_to_what_runs(self, case: Case) -> None:
        """With a secret that no repr shows."""
        facts = await case.drive()
        for service in Service:
            found = case.engine.connect(NAME, service)
            assert found is not None
            assert found.url == facts.service(service).address
            assert found.secret
            assert found.secret not in repr(found)
        await case.drive(state="stopped")

        assert [case.engine.connect(NAME, each) for each in Service] == [None, None]
        assert case.engine.program(NAME, {"opencode"}) == ""

    async def test_a_destroy_removes(self, case: Case) -> None:
        """Nothing is held afterwards, and the name may be used again."""
        await case.drive()
        facts = await case.drive(state="absent", discard_unpushed=True, times=2)

        assert (facts.sandbox, facts.leftovers) == (False, False)
        assert (facts.agent.alive, facts.bridge.alive) == (False, False)
        assert NAME not in case.engine.names()

    async def test_secrets_are_set_by_name_and_never_shown(self, case: Case) -> None:
        """What is known of them has no value."""
        values = case.set_secrets("0123456789")
        found = case.engine.secrets(NAME)

        assert (found.bad, found.problems) == ((), ())
        assert not any(value in repr(found) for value in values.values())

    async def test_what_a_person_changes_is_detected(self, case: Case) -> None:
        """By another fingerprint, and by a hint, which may be late."""
        await case.drive()
        before, hint = case.engine.fingerprint(NAME), asyncio.Event()
        case.heard.subscribe(FingerprintsMayDiffer, lambda _: hint.set())
        watching = asyncio.create_task(case.engine.watch())
        async with asyncio.timeout(PATIENCE):
            for number in itertools.count():
                case.set_secrets(f"changed-{number}")
                if await _is_set(hint, 0.1):  # the watch may not have stood yet
                    break
        watching.cancel()

        assert case.engine.fingerprint(NAME) != before

    async def test_what_it_offers_is_there(self, case: Case) -> None:
        """A capability is a promise; what is not offered is not half there."""
        await case.drive()
        offered = case.engine.capabilities()

        assert all(isinstance(each, Capability) for each in offered)
        assert (case.engine.usage(NAME, Service.AGENT) is not None) == (Capability.USAGE in offered)
        assert case.engine.describe(NAME)

    async def test_usage_is_that_of_what_runs(self, case: Case) -> None:
        """Where it can be told at all; PSS, which costs more, only when it is asked for."""
        await case.drive()
        for service in Service:
            if (used := case.engine.usage(NAME, service)) is None:
                assert Capability.USAGE not in case.engine.capabilities()
                continue
            assert used.memory > 0
            assert used.tasks > 0
            assert used.cpu >= 0
            assert used.pss is None
            more = case.engine.usage(NAME, service, pss=True)
            assert more
            assert more.cpu >= used.cpu
            assert more.pss
            assert more.pss <= more.memory
        await case.drive(state="stopped")

        assert [case.engine.usage(NAME, each) for each in Service] == [None, None]

    async def test_logs_are_read_from_their_end(self, case: Case) -> None:
        """As bytes in pieces, also of what has ended; following one can be given up at any time."""
        with pytest.raises(UserError, match=rf"^cannot show the log of {NAME}: "):
            next(case.engine.logs(NAME, Service.AGENT, lines=1))
        await case.drive()
        await case.drive(state="stopped")

        for service in Service:
            last = b"".join(case.engine.logs(NAME, service, lines=1))
            assert last.count(b"\n") <= 1
            assert b"".join(case.engine.logs(NAME, service, lines=100)).endswith(last)
            following = case.engine.logs(NAME, service, lines=1, follow=True)
            assert not last or next(following) == last
            following.close()

    @pytest.mark.parametrize("promise", [name for name in dir() if name.startswith("test_")])
    def test_no_promise_is_weakened(self, promise: str) -> None:
        """An engine gives a `case`, never another test of the same name."""
        assert getattr(type(self), promise) is getattr(EngineContract, promise)
