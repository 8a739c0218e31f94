"""Give an agent of this machine what a person has answered, through its driver and to nobody but the proved agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reconciler.agents.base import CallError, NotWaitingError
from reconciler.core.observed import Service
from reconciler.engines.local.ended_runs import EndedRuns
from reconciler.engines.local.health import checks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.agents.base import Driver, Reply
    from reconciler.core.spec import Spec
    from reconciler.engines.local.health.prober import Prober
    from reconciler.engines.local.observe import Observer
    from reconciler.state.ledger import Ledgers

LIMIT: Final = 20.0
"""Seconds for one answer, with what must be asked before it."""


class Answerer:
    """Answers agents.

    Args:
        observer: knows how an agent is spoken to.
        ledgers: where its port is.
        prober: probes it afterwards, so that the need is seen to be gone.
    """

    def __init__(self, observer: Observer, ledgers: Ledgers, prober: Prober) -> None:
        self._observer = observer
        self._ledgers = ledgers
        self._prober = prober

    async def answer(self, name: str, spec: Spec, request: str, reply: Reply, *, again: bool) -> None:
        """See `engines.base.Engine`."""
        driver, wire = self._reach(name, spec)
        try:
            if again and request not in await self._waiting(driver, wire):
                raise NotWaitingError
            await driver.answer(wire, request, reply)
        finally:
            self._prober.soon(name, Service.AGENT)

    async def resume(self, name: str, spec: Spec, sessions: Sequence[str]) -> None:
        """See `engines.base.Engine`."""
        driver, wire = self._reach(name, spec)
        try:
            found = await driver.interrupted(wire, EndedRuns(wire.target.run_dir).read())
            if found is None:
                raise CallError("it does not say what was interrupted")
            still = [session for session in found if session in sessions]
            if not still:
                raise NotWaitingError
            for session in still:
                await driver.resume(wire, session)
        finally:
            self._prober.soon(name, Service.AGENT)

    def _reach(self, name: str, spec: Spec) -> tuple[Driver, checks.ProbeWire]:
        ledger = self._ledgers.get(name)
        if ledger is None or Service.AGENT.value not in ledger.ports:
            raise CallError("it does not run")
        project = self._observer.project(name, spec, ledger)
        return project.driver, checks.ProbeWire(project.target(Service.AGENT).proved(), LIMIT)

    async def _waiting(self, driver: Driver, wire: checks.ProbeWire) -> set[str]:
        """Return the ids of what waits. Raises CallError where that cannot be seen."""
        activity = driver.activity(await wire.ask(driver.ready_request))
        if activity is None:
            raise CallError("it does not say what it works at")
        return {one.id for one in await driver.needs(wire, activity)}
