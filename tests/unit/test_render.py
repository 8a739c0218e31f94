"""Statuses and answers as text: alignment, what somebody has to do, and nothing more."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.api import results
from reconciler.core.reasons import Reason
from reconciler.core.status import Condition, ProjectStatus, ServiceStatus
from reconciler.frontends.cli import render

NOW = 1_769_596_200.0
NO = Condition(status=False, reason=Reason.IDLE, since=NOW - 65)


def project(name: str = "blog", **fields: Any) -> dict[str, Any]:
    """A running project."""
    running: dict[str, Any] = {
        "desired": "running",
        "actual": "running",
        "ready": Condition(status=True, reason=Reason.RUNNING, since=NOW - 65),
        "reconciling": NO,
        "stalled": NO,
        "reason": "Running",
        "message": "",
        "generation": 1,
        "observed_generation": 1,
        "agent": ServiceStatus(state="running", pid=12, port=4101, url="http://127.0.0.1:4101", started=NOW - 60),
        "bridge": ServiceStatus(state="running", pid=345, port=5101, url="http://127.0.0.1:5101/mcp", started=NOW - 60),
        "sandbox": f"/home/me/.memory/opencode-sandboxes/{name}",
        "observed": NOW - 3,
    }
    return ProjectStatus(name=name, **{**running, **fields}).to_dict()


def stalled(name: str = "shop", message: str = "cannot start: do this", **fields: Any) -> dict[str, Any]:
    why = Condition(status=True, reason=Reason.WAITING_FOR_KEY, message=message, since=NOW - 5)
    quiet: dict[str, Any] = {"agent": ServiceStatus(state="stopped"), "bridge": ServiceStatus(state="stopped")}
    quiet |= {"actual": "stopped", "ready": NO, "stalled": why, "reason": why.reason, "message": message}
    return project(name, **quiet | fields)


def test_a_table_is_aligned_and_fits_a_terminal() -> None:
    """A line each, every column under its head."""
    lines = render.render_table([project("blog"), project("shop")], NOW).splitlines()

    assert lines[0].split() == ["PROJECT", "DESIRED", "ACTUAL", "AGENT", "PID", "BRIDGE", "PID", "AGE", "REASON"]
    assert lines[1].split()[:5] == ["blog", "running", "running", "http://127.0.0.1:4101", "12"]
    assert lines[1].split()[5:] == ["http://127.0.0.1:5101/mcp", "345", "1m", "Running"]
    assert len({line.index("running") for line in lines[1:]} | {lines[0].index("DESIRED")}) == 1
    assert max(map(len, lines)) <= 120
    assert len(lines) == 3


def test_below_the_table_stands_what_somebody_has_to_do() -> None:
    """The sentence and the public key; nothing about projects that are as wanted."""
    text = render.render_table([project(), stalled(public_key="ssh-ed25519 AAAA shop-deploy")], NOW)

    below = text.partition("\n\n")[2]
    assert below.splitlines() == ["shop: cannot start: do this", "  ssh-ed25519 AAAA shop-deploy"]


def test_a_long_sentence_is_wrapped_at_words() -> None:
    """A URL or a path stays whole."""
    text = render.render_table([stalled(message=f"cannot start: {'word ' * 40}/a/{'long' * 20}-path")], NOW)

    assert all(len(line) <= 120 for line in text.splitlines())
    assert f"/a/{'long' * 20}-path" in text


def test_an_empty_table_says_how_to_begin() -> None:
    """Not just nothing."""
    assert "opencode-manager start" in render.render_table([], NOW)


def test_a_status_in_full_has_wanted_actual_and_its_own_age() -> None:
    """Each on a line of its own."""
    lines = dict(line.split(":", 1) for line in render.render_status(project(), NOW).splitlines())

    said = {key: text.strip() for key, text in lines.items()}
    assert (said["Desired"], said["Actual"], said["Observed"]) == ("running", "running", "3s ago")
    assert said["OpenCode"] == "running (PID 12, port 4101, up 1m)"
    assert said["Ready"] == "True  Running, for 1m5s"


def test_the_answer_of_a_success_is_the_users_own_example() -> None:
    """URLs, pids, and where the token is stored."""
    text = render.render_result(results.of_status(project("blog-api")))

    assert text.startswith("Status: success\n\nProject blog-api is running.\n")
    assert "http://127.0.0.1:4101 (PID: 12)" in text
    assert "http://127.0.0.1:5101/mcp (PID: 345)" in text
    assert text.endswith("(stored in /home/me/.memory/opencode-sandboxes/blog-api/.env)")


def test_the_answer_that_needs_a_key_shows_it_whole_on_a_line_of_its_own() -> None:
    """To be copied."""
    key = "ssh-ed25519 " + "A" * 130 + " blog-deploy"
    path = "/home/me/.memory/opencode-keys/blog-deploy.pub"
    text = render.render_result(results.of_status(stalled(public_key=key, public_key_path=path)))

    assert text.startswith("Status: waiting_for_key\n")
    assert key in text.splitlines()
    assert f"Public key saved at: {path}" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (0.4, "0s"), (59, "59s"), (60, "1m"), (190, "3m10s"), (7500, "2h5m"), (360_000, "4d4h")],
)
def test_an_age_has_its_two_largest_units(seconds: float, text: str) -> None:
    """No more is read anyway."""
    assert render.age(seconds) == text


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (project(), "success"),
        (stalled(), "waiting_for_key"),
        (project(ready=NO), "in_progress"),
        (project(ready=NO, stalled=Condition(status=True, reason=Reason.WAITING_FOR_SECRETS)), "waiting_for_secrets"),
        (project(ready=NO, stalled=Condition(status=True, reason=Reason.SPEC_INVALID)), "error"),
        (project(stalled=Condition(status=True, reason=Reason.WAITING_FOR_PERMISSION)), "success"),
    ],
)
def test_the_one_word_for_how_it_stands(status: dict[str, Any], verdict: str) -> None:
    """What runs is a success even while the agent in it waits for a person: the message says so."""
    assert results.verdict(status) == verdict


def test_warnings_and_what_is_not_enforced_are_in_every_answer() -> None:
    """In one field."""
    answer = results.of_status(project(warnings=("review .env",), not_enforced=("limits.memory",)))

    assert answer.warning == "review .env; not enforced yet: limits.memory"


@pytest.mark.parametrize(("handed", "shown"), [("3 files", ["Handed over: 3 files"]), ("", [])])
def test_what_the_agent_was_given_is_shown(handed: str, shown: list[str]) -> None:
    """Where the engine tells."""
    lines = render.render_status(project(handed_over=handed), NOW).splitlines()

    assert [" ".join(line.split()) for line in lines if line.startswith("Handed over")] == shown


@pytest.mark.parametrize(("confinement", "shown"), [("bubblewrap", "bubblewrap"), ("", "-")])
def test_how_the_agent_is_confined_is_shown(confinement: str, shown: str) -> None:
    """To people and to programs; a controller of an older version does not say."""
    status = project(confinement=confinement)
    line = next(line for line in render.render_status(status, NOW).splitlines() if line.startswith("Confinement"))

    assert line.split() == ["Confinement:", shown]
    assert results.in_full(status).confinement == confinement
    del status["confinement"]
    assert results.in_full(status).confinement == ""


def test_a_first_restart_is_shown_in_words() -> None:
    """And how often it was."""
    times = [
        render.render_status(
            project("blog", agent=ServiceStatus(state="running", restarts=n, last_exit="signal 9")), NOW
        )
        for n in (0, 1, 2)
    ]

    assert ["restarted" in times[0], "restarted once after signal 9" in times[1]] == [False, True]
    assert "restarted 2 times, last after signal 9" in times[2]


def test_what_a_running_agent_waits_for_is_said_wherever_it_is_shown() -> None:
    """What is asked and how to answer: it is ready all the same, and nobody would look further."""
    asks = Condition(
        status=True, reason=Reason.WAITING_FOR_PERMISSION, message="the agent asks leave for: rm; answer with X"
    )
    waiting = project("blog", stalled=asks, reason=asks.reason, message=asks.message)

    for text in (
        render.render_table([waiting], NOW),
        render.render_status(waiting, NOW),
        render.render_result(results.of_status(waiting)),
    ):
        assert "the agent asks leave for: rm; answer with X" in text


def test_a_service_of_unknown_age_is_shown_without_it() -> None:
    """Its record was lost, its process was not."""
    shown = render.render_status(project(agent=ServiceStatus(state="running", pid=12, port=4101)), NOW)

    assert "running (PID 12, port 4101)" in shown
