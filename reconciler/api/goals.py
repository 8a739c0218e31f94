"""What `wait` waits for: a goal, judged by a published status. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.activity import Doing
from reconciler.core.reasons import Reason
from reconciler.settings import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Status = Mapping[str, Any]

CONDITIONS: Final = ("Ready", "Reconciling", "Stalled")
_TRUTHS: Final = {"": True, "true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is waited for."""

    text: str
    """For people: `ready`."""
    met: Callable[[Status], bool]
    wanted: Callable[[Status], bool] = lambda _status: True
    """Whether the spec leads there: of all projects, only these are waited for."""
    idle: bool = False
    """Whether the agent must also say so itself: a prompt that was just given is not published yet."""
    gone: bool = False
    """Whether a project of which nothing is left meets it."""


def parse(text: str) -> Goal:
    """Return the goal of a name: `ready`, `idle`, `stopped`, or `condition=NAME[=false]`, where a reason is a name too.

    Raises:
        UserError: there is no such goal.
    """
    name, _, condition = text.partition("=")
    match name.lower():
        case "ready":
            return Goal(text="ready", met=_ready, wanted=lambda status: status["desired"] == "running")
        case "idle":
            return Goal(text="idle", met=_at_rest, wanted=lambda status: status["desired"] == "running", idle=True)
        case "stopped":
            return Goal(text="stopped", met=_stopped, wanted=lambda status: status["desired"] != "running", gone=True)
        case "condition" if condition:
            return _of_condition(condition)
    raise UserError(f"cannot wait for {text!r}: use ready, idle, stopped or condition=NAME, like condition=Stalled")


def _ready(status: Status) -> bool:
    return bool(status["ready"]["status"]) and status["desired"] == "running"


def _at_rest(status: Status) -> bool:
    """Tell whether an agent works at nothing, as published last: one that waits for a person is not idle."""
    return _ready(status) and status["activity"]["state"] in {Doing.IDLE, Doing.ASLEEP}


def _stopped(status: Status) -> bool:
    return status["actual"] in {"stopped", "absent"}


def _of_condition(text: str) -> Goal:
    name, _, truth = text.partition("=")
    known = {each.lower(): each for each in CONDITIONS} | {reason.value.lower(): reason.value for reason in Reason}
    found = known.get(name.lower())
    if found is None or truth.lower() not in _TRUTHS:
        raise UserError(
            f"cannot wait for the condition {text!r}: use {', '.join(CONDITIONS)} or a reason that status shows"
        )
    wanted = _TRUTHS[truth.lower()]
    shown = found if wanted else f"{found}=false"
    if found in CONDITIONS:
        key = found.lower()
        return Goal(text=shown, met=lambda status: bool(status[key]["status"]) is wanted)
    return Goal(text=shown, met=lambda status: (status["reason"] == found) is wanted)
