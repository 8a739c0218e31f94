"""What goes out to people who are away, and when it goes out again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.core import notices
from reconciler.core.needs import Need, NeedKind
from reconciler.core.notices import NoticeKind
from reconciler.core.reasons import Reason
from reconciler.core.status import Condition, ProjectStatus, ServiceStatus

NEED = Need(
    id="1f3a", kind=NeedKind.PERMISSION, project="app", message="it asks", since=7.0, tool="bash", command="rm -rf /srv"
)
NO = Condition(status=False, reason=Reason.IDLE)
YES = replace(NO, status=True)
NOBODY: frozenset[str] = frozenset()


def status(reason: Reason = Reason.RUNNING, **fields: Any) -> ProjectStatus:
    ready = YES if reason is Reason.RUNNING else NO
    made = ProjectStatus(
        name="app",
        desired="running",
        actual="running",
        ready=ready,
        reconciling=NO,
        stalled=NO,
        reason=reason,
        message="exit code 3",
        generation=1,
        observed_generation=1,
        agent=ServiceStatus(state="running"),
        bridge=ServiceStatus(state="running"),
        observed=9.0,
    )
    return replace(made, **fields)


def test_a_need_is_sent_with_the_command_that_shows_it() -> None:
    """What the agent says goes out only where that is allowed."""
    (notice,) = notices.of(status(needs=(NEED,)), NOBODY)

    assert (notice.kind, notice.title, notice.cause) == (NoticeKind.NEEDS, "app needs you", "app 1f3a 7")
    assert notice.body(words=False)["message"] == "app waits for a person: permission (bash)"
    assert notice.body(words=True)["message"] == "app waits for a person: permission (bash): rm -rf /srv"
    assert notice.body(words=False)["do"] == "opencode-manager needs app"


def test_one_without_a_tool_or_a_command() -> None:
    """Such as a missing key."""
    (notice,) = notices.of(status(needs=(replace(NEED, tool="", command=""),)), NOBODY)

    assert notice.body(words=True)["message"] == "app waits for a person: permission: it asks"
    assert replace(notice, words="").body(words=True)["message"] == "app waits for a person: permission"


@pytest.mark.parametrize("reason", sorted(notices.PARKED))
def test_one_that_is_parked_is_reported_and_so_is_that_it_recovered(reason: Reason) -> None:
    """Once, and only of one that was parked."""
    down = status(reason)
    (notice,) = notices.of(down, NOBODY)
    was = notices.parked(down, NOBODY)
    (recovered,) = notices.of(status(), was)

    assert (notice.kind, notice.message) == (NoticeKind.PARKED, f"app does not run ({reason})")
    assert (recovered.kind, recovered.message) == (NoticeKind.RECOVERED, "app is as desired again")
    assert list(notices.of(status(), notices.parked(status(), was))) == []
    assert notices.parked(status(Reason.STARTING), was) == was
    assert list(notices.of(status(Reason.STARTING), was)) == []


def test_the_shape_of_ntfy() -> None:
    """The text is the body; a recovery disturbs nobody."""
    (need,) = notices.of(status(needs=(NEED,)), NOBODY)
    (recovered,) = notices.of(status(), frozenset({"app"}))
    data, headers = notices.ntfy(need.body(words=False))

    assert data == b"app waits for a person: permission (bash)\nopencode-manager needs app"
    assert headers == {"title": "app needs you", "priority": "high", "tags": "warning"}
    assert notices.ntfy(recovered.body(words=False))[1]["priority"] == "default"
