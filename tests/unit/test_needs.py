"""What waits for a person, each with an id of its own, and what words mean as an answer to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core import needs
from reconciler.core.needs import Need, NeedKind, Said, Situation, UnfitAnswerError, find, understand
from reconciler.core.observed import AgentQuestion, AnswerOption, EndedRun, PendingRequest, RequestKind
from reconciler.core.reasons import Reason

PERMISSION = PendingRequest(
    Reason.WAITING_FOR_PERMISSION,
    "it asks",
    kind=RequestKind.PERMISSION,
    id="per_1",
    session="ses_1",
    tool="bash",
    command="rm -rf build\nls",
    patch="-a\n+b",
    patterns=("rm *",),
    always=("rm *",),
    directories=("/srv/data",),
    cut=True,
)
COLOURS = (AnswerOption(label="Red", description="warm"), AnswerOption(label="Blue"))
QUESTION = PendingRequest(
    Reason.WAITING_FOR_ANSWER,
    "which?",
    kind=RequestKind.QUESTION,
    id="que_1",
    questions=(AgentQuestion(text="which\ncolour?", options=COLOURS),),
)
REFUSED = PendingRequest(Reason.PROVIDER_REFUSED, "no key", session="ses_1")


def one(**fields: object) -> Need:
    (found,) = find(Situation(project="app", **fields), 50.0, {})  # type: ignore[arg-type]
    return found


def question(*asked: AgentQuestion) -> Need:
    return one(requests=[replace(QUESTION, questions=asked)])


# -- which there are


def test_a_permission_has_all_that_a_person_decides_by() -> None:
    """Tool, exact command or patch, folders and session."""
    need = one(requests=[PERMISSION])

    assert (need.kind, need.project, need.since, need.request) == (NeedKind.PERMISSION, "app", 50.0, "per_1")
    assert (need.tool, need.command, need.patch, need.cut) == ("bash", "rm -rf build\nls", "-a\n+b", True)
    assert (need.session, need.directories, need.always) == ("ses_1", ("/srv/data",), ("rm *",))
    assert need.answers == ("once", "always", "deny")


def test_one_that_has_no_id_cannot_be_answered() -> None:
    """OpenCode does not list some."""
    assert one(requests=[replace(PERMISSION, id="")]).answers == ()


def test_a_question_is_answered_by_its_options_or_a_text() -> None:
    """Of several questions the options are not words by themselves."""
    assert one(requests=[QUESTION]).answers == ("Red", "Blue", "TEXT", "deny")
    assert question(AgentQuestion(text="a"), AgentQuestion(text="b")).answers == ("TEXT", "deny")


@pytest.mark.parametrize(
    ("reason", "kind", "do"),
    [
        (Reason.WAITING_FOR_KEY, NeedKind.KEY, ""),
        (Reason.WAITING_FOR_SECRETS, NeedKind.SECRETS, "opencode-manager secrets app"),
        (Reason.DESTROY_BLOCKED, NeedKind.DESTROY, "opencode-manager destroy app --discard-unpushed"),
        (Reason.SPEC_MISSING, NeedKind.SPECS, "opencode-manager confirm-missing"),
        (Reason.PORT_TAKEN, NeedKind.PORT, ""),
        (Reason.CONFINEMENT_UNAVAILABLE, NeedKind.CONFINEMENT, "opencode-manager doctor"),
        (Reason.LIMITS_UNAVAILABLE, NeedKind.LIMITS, "opencode-manager doctor"),
    ],
)
def test_what_stands_in_the_way_is_a_need_with_the_command(reason: Reason, kind: NeedKind, do: str) -> None:
    """None of them is answered; the public key is shown with that need alone."""
    need = one(notes=[(reason, "why"), (Reason.CLONING, "going on")], public_key="ssh-ed25519 AAAA")

    assert (need.kind, need.message, need.do, need.answers) == (kind, "why", do, ())
    assert bool(need.public_key) == (kind is NeedKind.KEY)


def test_a_provider_that_refuses_is_no_question() -> None:
    """The credentials are to be fixed, and then the agent starts again."""
    need = one(requests=[REFUSED])

    assert (need.kind, need.do, need.answers) == (NeedKind.PROVIDER, "opencode-manager restart app", ())


@pytest.mark.parametrize(("sessions", "said"), [(["b"], "1 session was"), (["b", "a"], "2 sessions were")])
def test_interrupted_sessions_are_one_need(sessions: list[str], said: str) -> None:
    """It is answered with `resume`."""
    need = one(interrupted=sessions)

    assert (need.kind, need.sessions, need.answers) == (NeedKind.INTERRUPTED, tuple(sorted(sessions)), ("resume",))
    assert need.message.startswith(f"{said} interrupted")


def test_the_interruptions_of_one_restart_stay_one_need() -> None:
    """While some of them go on again, with the time when that run ended; of another restart it is another."""
    run = EndedRun(run_id="r1", started=10.0, ended=40.0)
    both, left = (one(interrupted=sessions, ended=run) for sessions in (["a", "b"], ["b"]))

    assert (both.id, both.since) == (left.id, left.since) == (needs.identity("app", NeedKind.INTERRUPTED, "r1"), 40.0)
    assert one(interrupted=["b"], ended=replace(run, run_id="r2")).id != left.id
    assert one(interrupted=["b"]).since == 50.0


def test_ids_are_the_same_for_every_controller_and_differ_by_project_kind_and_cause() -> None:
    """They are typed, so they are short."""
    found = [
        needs.identity(project, kind, cause)
        for project in ("app", "web")
        for kind in (NeedKind.PERMISSION, NeedKind.QUESTION)
        for cause in ("per_1", "per_2")
    ]

    assert len(set(found)) == len(found)
    assert all(len(one) == 8 for one in found)
    assert one(requests=[PERMISSION]).id == needs.identity("app", NeedKind.PERMISSION, "per_1") == found[0]


def test_the_time_since_is_kept_and_the_same_cause_counts_once() -> None:
    """Stalled and held for the same reason is one need."""
    known = {needs.identity("app", NeedKind.PORT, ""): 7.0}
    situation = Situation(project="app", notes=[(Reason.PORT_TAKEN, "pid 3"), (Reason.PORT_TAKEN, "pid 3")])

    assert [need.since for need in find(situation, 50.0, known)] == [7.0]


# -- how they are published


def test_a_published_need_is_read_back() -> None:
    """What is empty is left out."""
    for need in (one(requests=[PERMISSION]), one(requests=[QUESTION]), one(interrupted=["a"])):
        assert needs.of_dict(need.to_dict() | {"of a later version": 1}) == need
    assert "public_key" not in one(requests=[QUESTION]).to_dict()


def test_a_command_keeps_its_lines_and_steers_no_terminal() -> None:
    """It is what a person decides by."""
    shown = replace(one(requests=[PERMISSION]), command="ls\n\x1b[2Jrm").to_dict()
    asked = one(requests=[QUESTION]).to_dict()

    assert shown["command"] == "ls\n\u241b[2Jrm"
    assert asked["questions"][0]["text"] == "which\ncolour?"


def test_no_secret_is_published() -> None:
    """An agent has its password in its environment, and may ask leave for a command with it."""
    asked = replace(PERMISSION, command="curl -u x:s3cret", patterns=("s3cret",))
    (clean,) = needs.redacted((asked,), "s3cret")
    (other,) = needs.redacted(
        (replace(QUESTION, questions=(AgentQuestion(text="s3cret?", options=COLOURS),)),), "s3cret"
    )

    assert (clean.command, clean.patterns, clean.id) == ("curl -u x:(secret)", ("(secret)",), "per_1")
    assert other.questions[0].text == "(secret)?"
    assert needs.redacted((asked,), "other") == needs.redacted((asked,), "") == (asked,)


# -- answers


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["once"], Said(decision="once")),
        (["always"], Said(decision="always")),
        (["deny"], Said(decision="deny")),
        (["deny", "use", "staging"], Said(decision="deny", word="use staging")),
    ],
)
def test_a_permission_is_decided(words: list[str], said: Said) -> None:
    """A denial may say what to do instead."""
    assert understand(one(requests=[PERMISSION]), words) == said
    assert said.text == words[0]


def test_interrupted_sessions_are_resumed() -> None:
    """By the one word."""
    assert understand(one(interrupted=["a"]), ["resume"]) == Said(decision="resume")


@pytest.mark.parametrize(
    ("words", "answer"),
    [(["Blue"], "Blue"), (["blue"], "Blue"), (["2"], "Blue"), (["9"], "9"), (["a", "dark", "red"], "a dark red")],
)
def test_a_question_is_answered_by_an_option_its_number_or_a_text(words: list[str], answer: str) -> None:
    """What was said is no part of the history."""
    said = understand(one(requests=[QUESTION]), words)

    assert said == Said(answers=((answer,),))
    assert said.text == "a text"


def test_several_options_and_several_questions() -> None:
    """Each word is one of them."""
    many = AgentQuestion(text="which?", options=COLOURS, multiple=True)

    assert understand(question(many), ["1", "blue"]).answers == (("Red", "Blue"),)
    assert understand(question(many, AgentQuestion(text="why?")), ["red", "so"]).answers == (("Red",), ("so",))


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("red, 2", ("Red", "Blue")),
        ("Red", ("Red",)),
        ("Red, then", ("Red, then",)),
        ("Red,pink", ("Red,pink",)),
        ("2", ("Blue",)),
    ],
)
def test_among_several_questions_one_may_have_several_options(word: str, answer: tuple[str, ...]) -> None:
    """With commas, where each part is an option and the whole is none; anything else is a text."""
    options = tuple(AnswerOption(label=label) for label in ("Red", "Blue", "Red, then"))
    several, other = AgentQuestion(text="a", options=options, multiple=True), AgentQuestion(text="b", options=options)

    assert understand(question(several, other), [word, "red,blue"]).answers == (answer, ("red,blue",))


def test_a_question_may_be_denied_unless_that_is_an_option() -> None:
    """Then it is the option."""
    deny = AgentQuestion(text="allow?", options=(AnswerOption(label="deny"),))

    assert understand(one(requests=[QUESTION]), ["deny"]) == Said(decision="deny")
    assert understand(question(deny), ["deny"]) == Said(answers=(("deny",),))


@pytest.mark.parametrize(
    ("need", "words", "why"),
    [
        (one(requests=[PERMISSION]), ["maybe"], "say once or always or deny"),
        (one(requests=[PERMISSION]), ["once", "more"], "say once or always or deny"),
        (one(requests=[PERMISSION]), [" "], "without a word"),
        (one(interrupted=["a"]), [], "without a word"),
        (question(AgentQuestion(text="a"), AgentQuestion(text="b")), ["one"], "2 questions"),
        (one(notes=[(Reason.WAITING_FOR_SECRETS, "x")]), ["s3cret"], "here: run: opencode-manager secrets app"),
        (one(notes=[(Reason.WAITING_FOR_KEY, "add the key")]), ["done"], "here: add the key"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(need: Need, words: list[str], why: str) -> None:
    """Secrets and keys are never answered."""
    with pytest.raises(UnfitAnswerError, match=r"^cannot answer") as refused:
        understand(need, words)

    assert why in str(refused.value)
    assert "s3cret" not in str(refused.value)
