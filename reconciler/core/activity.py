"""What the agent of a project does: judged from what was proved of it, never guessed. Pure.

Waiting goes before working: while one conversation waits for a person another may go on, and the person counts. One
that is idle has nothing in work, but something may keep it from being put to sleep: a server that it started in the
background, or a client. Only `quiet_since` says that there is nothing of the kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from reconciler.core.observed import ActivitySignals, Health, Phase, RequestKind

if TYPE_CHECKING:
    from reconciler.core.observed import ObservedProject

_ASKED: Final = {RequestKind.PERMISSION, RequestKind.QUESTION}
_NANOSECONDS: Final = 1e9
_SILENT: Final = {
    Health.UNKNOWN: "the agent has not answered yet",
    Health.UNRESPONSIVE: "the agent does not answer",
    Health.CONFIG_INVALID: "the agent cannot load its configuration",
    Health.UNPROTECTED: "the agent is not trusted: it asks for no password",
    Health.REFUSING: "the agent is not trusted: it refuses its password",
}


class Doing(StrEnum):
    """What an agent does."""

    WORKING = "working"
    """At least one conversation is worked at."""
    IDLE = "idle"
    WAITING = "waiting"
    """For a person: it asks leave, or asks a question."""
    ASLEEP = "asleep"
    """It was stopped because it was idle, and is started when somebody needs it."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class AgentActivity:
    """What an agent does, and since when."""

    state: Doing = Doing.UNKNOWN
    since: float = 0.0
    """Wall clock, seconds since the epoch."""
    why: str = ""
    """For people: a clause."""
    quiet_since: float | None = None
    """CLOCK_BOOTTIME since which this controller has seen at each probe that nothing goes on and nobody is connected.
    None while something does, while that is not proved, and for one that does not run."""


def judge(
    facts: ObservedProject,
    wall: float,
    previous: AgentActivity | None = None,
    remembered: AgentActivity | None = None,
    *,
    asleep: bool = False,
) -> AgentActivity:
    """Judge what the agent of a project does.

    Args:
        facts: as observed last.
        wall: the time, seconds since the epoch.
        previous: what was judged last.
        remembered: what an earlier controller judged last: it counts until something is known again.
        asleep: whether it was stopped because it was idle.
    """
    state, why = (Doing.ASLEEP, "nobody needed it") if asleep else _state(facts)
    known = previous if previous is not None and previous.state is not Doing.UNKNOWN else remembered or previous
    quiet = facts.agent.probe.at if state is Doing.IDLE and _quiet(facts) else None
    if quiet is not None and previous is not None and previous.quiet_since is not None:
        quiet = previous.quiet_since
    if known is not None and known.state is state:
        return AgentActivity(state=state, since=known.since, why=why, quiet_since=quiet)
    since = wall
    if state is Doing.IDLE and (known is None or known.state is Doing.UNKNOWN) and facts.agent.probe.written:
        since = min(wall, facts.agent.probe.written / _NANOSECONDS)  # it has written its journal last when it worked
    return AgentActivity(state=state, since=since, why=why, quiet_since=quiet)


def _state(facts: ObservedProject) -> tuple[Doing, str]:
    agent, probe = facts.agent, facts.agent.probe
    if agent.phase is not Phase.RUNNING:
        return Doing.UNKNOWN, "the agent is not there"
    if probe.health is not Health.READY:
        return Doing.UNKNOWN, _SILENT[probe.health]
    if probe.misses:
        return Doing.UNKNOWN, f"the agent did not answer when it was asked last ({probe.detail})"
    if probe.working is None:
        return Doing.UNKNOWN, "the agent does not say what it works at"
    asked = sum(one.kind in _ASKED for one in probe.attention)
    if asked:
        return Doing.WAITING, f"{_count(asked, 'request')} for a person"
    if probe.working:
        return Doing.WORKING, f"in {_count(len(probe.working), 'conversation')}"
    return _beside(facts)


def _beside(facts: ObservedProject) -> tuple[Doing, str]:
    """Judge one whose conversations rest, by what else was seen; what was not looked at yet says nothing."""
    agent, bridge = facts.agent.probe.signals or ActivitySignals(), facts.bridge.probe.signals or ActivitySignals()
    if problem := agent.problem or bridge.problem:
        return Doing.UNKNOWN, problem
    if agent.busy:
        return Doing.WORKING, "its processes use the processor"
    reasons = []
    if agent.children:
        more = f" and {len(agent.children) - 1} more" if len(agent.children) > 1 else ""
        reasons.append(f"a background process: {agent.children[0]}{more}")
    if clients := agent.connections + bridge.connections:
        reasons.append("a client is connected" if clients == 1 else f"{clients} clients are connected")
    return Doing.IDLE, "; ".join(reasons)


def _quiet(facts: ObservedProject) -> bool:
    """Tell whether it is proved of every service that runs that it is quiet."""
    running = [facts.agent, facts.bridge] if facts.bridge.alive else [facts.agent]
    return all(
        one.ready and not one.probe.misses and one.probe.signals is not None and one.probe.signals.quiet
        for one in running
    )


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"
