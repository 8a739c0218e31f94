"""Some clients show their model the text of an answer, others the object: each says what to do, for every status."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.api import results
from reconciler.api.results import Listing, ProjectResult
from reconciler.core import status
from reconciler.core.observed import Health, Now, PendingRequest, Service
from reconciler.core.plan import make_plan
from reconciler.core.reasons import Reason
from reconciler.core.status import Note, Sources
from reconciler.engines.local.facts import EnvFacts, RepoFacts
from reconciler.frontends.cli import render
from reconciler.frontends.mcp.tools import Answer, FullAnswer, Lines, answer, listed
from tests.support.bothforms import check_both_forms, text_of
from tests.unit.worlds import NOW, converged, exited, ledger, make_spec, running, view, views

if TYPE_CHECKING:
    from mcp_types import CallToolResult

    from reconciler.core.plan import View

SANDBOX = "/home/me/.memory/opencode-sandboxes/app"
STALE = f"no controller is running, and this is from 2026-01-28: {results.START_CONTROLLER}"


def published(seen: View, **sources: Any) -> dict[str, Any]:
    """A status as the controller computes and publishes it."""
    made = Sources(
        name="app",
        spec=seen.spec,
        facts=seen.facts,
        ledger=seen.ledger,
        plan=make_plan(seen),
        settled=True,
        observed_generation=1,
        sandbox=SANDBOX,
        wall=NOW.wall,
    )
    return status.compute(replace(made, **sources)).to_dict()


def answers(raw: dict[str, Any]) -> list[CallToolResult]:
    """What opencode_status says of it, and what a tool that waited for it."""
    return [
        answer(results.in_full(raw), render.render_status(raw, NOW.wall)),
        answer(results.of_status(raw), render.render_result(results.of_status(raw))),
    ]


def check(result: CallToolResult, schema: dict[str, Any]) -> None:
    structured = result.structured_content or {}
    check_both_forms(result)
    assert structured["message"]
    assert not [key for key, value in structured.items() if value in ("", [], None)]
    jsonschema.validate(structured, schema)


ASKS = PendingRequest(Reason.WAITING_FOR_PERMISSION, "the agent asks leave for: rm")
KEY = Note(
    reason=Reason.WAITING_FOR_KEY, message="cannot read it; add the public key /k.pub to the repository", stalled=True
)
GONE = converged(sandbox=False, prepared=False, repo=RepoFacts(), agent=exited(asked=True), bridge=exited(asked=True))
STOPPED = converged(agent=exited(asked=True), bridge=exited(asked=True))
CRASHED = view(
    facts=converged(agent=exited()), ledger=ledger(), now=Now(boot=999.0, boot_id="this-boot", wall=NOW.wall)
)
STATUSES = {
    "running": (published(view()), "success", "Project app is running; go on with opencode-session-create"),
    "asking": (
        published(view(facts=converged(agent=running(probe=replace(running().probe, attention=(ASKS,)))))),
        *("success", ASKS.message),
    ),
    "stopped": (published(view(make_spec(state="stopped"), STOPPED)), "success", "opencode_start starts it again"),
    "destroyed": (published(view(make_spec(state="absent"), GONE)), "success", "opencode_start makes it again"),
    "blocked": (
        published(view(make_spec(state="absent"), converged(repo=RepoFacts(cloned=True, work_at_risk=("2 commits",))))),
        *("error", "push it, or set discard_unpushed: true"),
    ),
    "key": (published(view(facts=STOPPED), note=KEY), "waiting_for_key", "after that it goes on by itself"),
    "secrets": (
        published(view(facts=converged(env=EnvFacts(path="/sb/app/.env")))),
        *("waiting_for_secrets", "opencode-manager secrets app; after that it goes on by itself"),
    ),
    "starting": (published(view(facts=STOPPED)), "in_progress", "opencode_status shows how far it is"),
    "cloning": (
        published(view(facts=STOPPED), note=Note(reason=Reason.CLONING, message="cloning 10%")),
        *("in_progress", "cloning 10%; opencode_status shows how far it is"),
    ),
    "crashed": (published(CRASHED), "in_progress", "opencode_status shows how far it is"),
    "unreadable": (
        published(
            view(), spec_problem=Note(reason=Reason.SPEC_INVALID, message="cannot accept app.yaml:3", stalled=True)
        ),
        *("error", "cannot accept app.yaml:3"),
    ),
    "speechless": (
        published(view(facts=converged(agent=running(health=Health.CONFIG_INVALID)))),
        *("error", "opencode-manager logs app agent"),
    ),
}


@pytest.mark.parametrize(("raw", "verdict", "said"), STATUSES.values(), ids=STATUSES.keys())
def test_an_answer_says_how_it_stands_and_what_comes_next(raw: dict[str, Any], verdict: str, said: str) -> None:
    """In the text and in the object, and the object is as its schema has it."""
    full, short = answers(raw)

    check(full, FullAnswer.model_json_schema())
    check(short, Answer.model_json_schema())
    for result in (full, short):
        assert (result.structured_content or {})["status"] == verdict
        assert said in (result.structured_content or {})["message"]
        assert said in " ".join(text_of(result).split()) or said.partition("; ")[2] in text_of(result)


NOTES = st.sampled_from([None, KEY, Note(reason=Reason.CLONING, message="cloning 10%"), Note(reason=Reason.CLONING)])


@settings(max_examples=100)
@given(views, NOTES, st.sampled_from(["", "review /sb/app/.env, then remove its first line"]), st.booleans())
def test_no_status_says_in_one_form_alone_what_to_do(seen: View, note: Note | None, warning: str, old: bool) -> None:
    """Every world a plan may meet; also with warnings, and told by a controller that has ended."""
    raw = published(seen, note=note, warnings=tuple(filter(None, (warning,))))
    for service in ("agent", "bridge"):  # the generated facts leave it out
        raw[service]["started"] = NOW.wall
    full = results.in_full(raw)
    text = render.render_status(raw, NOW.wall) + (f"\n\nWarning: {STALE}" if old else "")
    if old:
        full = replace(full, warning="; ".join(filter(None, (full.warning, STALE))))

    check(answer(full, text), FullAnswer.model_json_schema())
    for result in answers(raw):
        check(result, FullAnswer.model_json_schema())


def test_a_status_in_full_has_conditions_restarts_and_plan_in_the_object_too() -> None:
    """Short, and only there."""
    record = replace(ledger().restart(Service.AGENT), count=2, last_exit="signal 9")
    seen = view(facts=converged(bridge=exited(asked=True)), ledger=ledger(restarts={"agent": record}))
    full, short = (one.structured_content or {} for one in answers(published(seen)))

    assert full["ready"].startswith("False: StartService, since 20")
    assert full["stalled"].startswith("False: NotStalled")
    assert (full["opencode_restarts"], full["opencode_last_exit"]) == (2, "signal 9")
    assert full["planned"] == ["start bridge: running is wanted"]
    assert full["token_file" if "token_file" in full else "sandbox"].startswith(SANDBOX)
    assert not short.keys() & {"ready", "planned", "opencode_restarts"}


def test_where_the_token_is_stands_in_both_forms() -> None:
    """Its file, never itself."""
    for result in answers(published(view()))[1:]:
        assert f"{SANDBOX}/.env" in text_of(result)
        assert (result.structured_content or {})["token_file"] == f"{SANDBOX}/.env"


@pytest.mark.parametrize("raws", [[], [raw for raw, _, _ in STATUSES.values()]], ids=["none", "all"])
def test_a_list_says_what_comes_next_in_both_forms(raws: list[dict[str, Any]]) -> None:
    """Empty or not, and each line leaves out what it has not."""
    result = listed(Listing(projects=tuple(map(results.summary, raws)), controller_running=False, warning=STALE))

    check_both_forms(result)
    jsonschema.validate(result.structured_content, Lines.model_json_schema())
    assert "opencode_" in (result.structured_content or {})["message"]
    for line in (result.structured_content or {}).get("projects", []):
        assert not [key for key, value in line.items() if value in ("", None)]


@pytest.mark.parametrize("written", ["its spec is written", f"its spec is written; {results.START_CONTROLLER}"])
def test_what_nobody_has_looked_at_yet_says_so(written: str) -> None:
    """In both forms, and how it goes on."""
    unseen = ProjectResult(project="app", status="in_progress", reason="Written", message=written)

    check(answer(unseen, render.render_result(unseen)), Answer.model_json_schema())
