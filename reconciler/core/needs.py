"""What of a project waits for a person, one value each with an id, and how an answer in words is understood. Pure.

The id is made of the project, the kind and the cause, so another controller gives the same need the same id.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from reconciler.core import plain_text
from reconciler.core.observed import AgentQuestion, AnswerOption, EndedRun, PendingRequest, RequestKind
from reconciler.core.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HIDDEN: Final = "(secret)"
"""In place of a secret in what an agent asks."""
RESUME: Final = "resume"
DECISIONS: Final = ("once", "always", "deny")
_DENY: Final = "deny"


class NeedKind(StrEnum):
    """What is needed of a person."""

    PERMISSION = "permission"
    QUESTION = "question"
    PROVIDER = "provider"
    """A model provider that does not answer, or refuses the credentials."""
    INTERRUPTED = "interrupted"
    """Conversations that a crash, a reboot or a restart broke off."""
    KEY = "key"
    """The public key is to be added to the repository."""
    SECRETS = "secrets"
    DESTROY = "destroy"
    """Destroying would lose work."""
    SPECS = "specs"
    """Most specs vanished at once: it is to be confirmed, or they are to be put back."""
    PORT = "port"
    """Another process listens on the port."""
    CONFINEMENT = "confinement"
    """The agent must be confined, and cannot be on this machine."""
    LIMITS = "limits"
    """The project's limits must be enforced, and cannot be on this machine."""


_OF_REQUEST: Final = {
    RequestKind.PERMISSION: NeedKind.PERMISSION,
    RequestKind.QUESTION: NeedKind.QUESTION,
    RequestKind.PROVIDER: NeedKind.PROVIDER,
}
_OF_REASON: Final = {
    Reason.WAITING_FOR_KEY: NeedKind.KEY,
    Reason.WAITING_FOR_SECRETS: NeedKind.SECRETS,
    Reason.DESTROY_BLOCKED: NeedKind.DESTROY,
    Reason.SPEC_MISSING: NeedKind.SPECS,
    Reason.PORT_TAKEN: NeedKind.PORT,
    Reason.CONFINEMENT_UNAVAILABLE: NeedKind.CONFINEMENT,
    Reason.LIMITS_UNAVAILABLE: NeedKind.LIMITS,
}
_COMMANDS: Final = {
    NeedKind.SECRETS: "opencode-manager secrets {}",
    NeedKind.DESTROY: "opencode-manager destroy {} --discard-unpushed",
    NeedKind.SPECS: "opencode-manager confirm-missing",
    NeedKind.PROVIDER: "opencode-manager restart {}",
    NeedKind.CONFINEMENT: "opencode-manager doctor",
    NeedKind.LIMITS: "opencode-manager doctor",
}
"""What a person types, of those that have no answer."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that waits for a person. Texts are as in `PendingRequest`."""

    id: str
    kind: NeedKind
    project: str
    message: str
    """For people, a clause."""
    since: float
    """Wall clock, seconds since the epoch."""
    request: str = ""
    """Of the agent, to answer it by."""
    session: str = ""
    sessions: tuple[str, ...] = ()
    """Those that were interrupted."""
    tool: str = ""
    command: str = field(default="", repr=False)
    patch: str = field(default="", repr=False)
    cut: bool = False
    patterns: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    questions: tuple[AgentQuestion, ...] = field(default=(), repr=False)
    public_key: str = ""
    answers: tuple[str, ...] = ()
    """The words that answer it; empty: it is not answered, but ends when what is said in `do` was done."""
    do: str = ""
    """What a person types, where it is not answered."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, safe to show; commands, patches and questions keep their lines."""
        data: dict[str, Any] = plain_text.document(asdict(self))
        data |= {name: plain_text.visible(getattr(self, name)) for name in ("command", "patch")}
        for shown, question in zip(data["questions"], self.questions, strict=True):
            shown["text"] = plain_text.visible(question.text)
        return {key: value for key, value in data.items() if value not in ("", (), [], False)}


def of_dict(data: Mapping[str, Any]) -> Need:
    """Return the need that was published like this. Raises LookupError, TypeError or ValueError for anything else."""
    known = {one.name for one in fields(Need)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key in known
    }
    questions = tuple(
        AgentQuestion(**{**one, "options": tuple(AnswerOption(**option) for option in one["options"])})
        for one in values.pop("questions", ())
    )
    return Need(**{**values, "kind": NeedKind(values["kind"])}, questions=questions)


def identity(project: str, kind: NeedKind, cause: str) -> str:
    """Return the id of a need: eight letters and digits, to be typed."""
    return hashlib.sha256(f"{project}\x00{kind}\x00{cause}".encode()).hexdigest()[:8]


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the needs of a project are found in."""

    project: str
    requests: Sequence[PendingRequest] = ()
    interrupted: Sequence[str] = ()
    """Conversations."""
    ended: EndedRun | None = None
    """The run that ended then, where it is known."""
    notes: Sequence[tuple[Reason, str]] = ()
    """Why it is not as desired: each reason with its message."""
    public_key: str = ""


def find(situation: Situation, wall: float, known: Mapping[str, float]) -> tuple[Need, ...]:
    """Return what waits for a person.

    Args:
        situation: of one project.
        wall: the time, seconds since the epoch.
        known: since when each need has been there, by its id; of others it is now.
    """
    found: dict[str, Need] = {}
    for need in (*_requested(situation), *_interrupted(situation), *_noted(situation)):
        found.setdefault(need.id, replace(need, since=need.since or known.get(need.id, wall)))
    return tuple(found.values())


def _requested(situation: Situation) -> Iterable[Need]:
    for one in situation.requests:
        kind = _OF_REQUEST[one.kind]
        answers: tuple[str, ...] = ()
        if one.id:
            answers = DECISIONS if kind is NeedKind.PERMISSION else _choices(one.questions)
        yield Need(
            id=identity(situation.project, kind, one.id or f"{one.reason}{one.session}"),
            kind=kind,
            project=situation.project,
            message=one.message,
            since=0.0,
            request=one.id,
            session=one.session,
            tool=one.tool,
            command=one.command,
            patch=one.patch,
            cut=one.cut,
            patterns=one.patterns,
            always=one.always,
            directories=one.directories,
            questions=one.questions,
            answers=answers,
            do="" if answers else _COMMANDS.get(kind, "").format(situation.project),
        )


def _choices(questions: Sequence[AgentQuestion]) -> tuple[str, ...]:
    labels = tuple(option.label for option in questions[0].options) if len(questions) == 1 else ()
    return (*labels, "TEXT", _DENY)


def _interrupted(situation: Situation) -> Iterable[Need]:
    names = tuple(sorted(situation.interrupted))
    if names:
        run = situation.ended
        count = "1 session was" if len(names) == 1 else f"{len(names)} sessions were"
        yield Need(
            id=identity(situation.project, NeedKind.INTERRUPTED, run.run_id if run else " ".join(names)),
            kind=NeedKind.INTERRUPTED,
            project=situation.project,
            message=f"{count} interrupted: {', '.join(names)}",
            since=run.ended if run else 0.0,
            sessions=names,
            answers=(RESUME,),
        )


def _noted(situation: Situation) -> Iterable[Need]:
    for reason, message in situation.notes:
        kind = _OF_REASON.get(reason)
        if kind is not None:
            yield Need(
                id=identity(situation.project, kind, situation.public_key if kind is NeedKind.KEY else ""),
                kind=kind,
                project=situation.project,
                message=message,
                since=0.0,
                public_key=situation.public_key if kind is NeedKind.KEY else "",
                do=_COMMANDS.get(kind, "").format(situation.project),
            )


# -- answers -----------------------------------------------------------------------------------------------------------


class UnfitAnswerError(Exception):
    """This cannot be the answer to that; the text is a sentence that begins with "cannot"."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a person has answered."""

    decision: str = ""
    """Empty, one of `DECISIONS`, or `RESUME`."""
    word: str = field(default="", repr=False)
    """With a denial: what to do instead."""
    answers: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    """To each question, in order."""

    @property
    def text(self) -> str:
        """For the history: the decision, and never the words."""
        return self.decision or "a text"


def understand(need: Need, words: Sequence[str]) -> Said:
    """Return what these words mean as an answer. Raises UnfitAnswerError."""
    if not need.answers:
        how = f"run: {need.do}" if need.do else need.message
        raise UnfitAnswerError(f"cannot answer {need.id} of {need.project} here: {how}")
    if not words or not any(map(str.strip, words)):
        raise UnfitAnswerError(f"cannot answer {need.id} without a word: say {' or '.join(need.answers)}")
    if need.kind is NeedKind.QUESTION:
        return _to_questions(need, tuple(words))
    if words[0] not in need.answers or (len(words) > 1 and words[0] != _DENY):
        raise UnfitAnswerError(f"cannot answer a {need.kind} like this: say {' or '.join(need.answers)}")
    return Said(decision=words[0], word=" ".join(words[1:]))


def _to_questions(need: Need, words: tuple[str, ...]) -> Said:
    asked = need.questions
    if words == (_DENY,) and not any(option.label == _DENY for one in asked for option in one.options):
        return Said(decision=_DENY)
    if len(asked) == 1:
        only = asked[0]
        chosen = words if only.multiple else (" ".join(words),)
        return Said(answers=(tuple(_label(only, one) for one in chosen),))
    if len(words) != len(asked):
        raise UnfitAnswerError(f"cannot answer: it asks {len(asked)} questions; give an answer to each, in their order")
    return Said(answers=tuple(_labels(one, word) for one, word in zip(asked, words, strict=True)))


def _labels(question: AgentQuestion, word: str) -> tuple[str, ...]:
    """Return the options that one of several answers names: `Blue,Red` where more than one may be chosen."""
    labels, whole = {option.label for option in question.options}, _label(question, word)
    parts = tuple(_label(question, part.strip()) for part in word.split(","))
    return parts if question.multiple and whole not in labels and labels.issuperset(parts) else (whole,)


def _label(question: AgentQuestion, word: str) -> str:
    """Return the option that the word names, also by its number or in other letters; else the word."""
    labels = [option.label for option in question.options]
    if word in labels:
        return word
    if word.isdecimal() and 1 <= int(word) <= len(labels):
        return labels[int(word) - 1]
    return next((label for label in labels if label.casefold() == word.casefold()), word)


# -- secrets -----------------------------------------------------------------------------------------------------------


def redacted(requests: tuple[PendingRequest, ...], secret: str) -> tuple[PendingRequest, ...]:
    """Return the requests without a secret that the agent has put into one: it has its password in its environment."""
    if not secret or not any(secret in str(vars(one)) for one in requests):
        return requests
    return tuple(_without(one, secret) for one in requests)


def _without(value: Any, secret: str) -> Any:  # noqa: ANN401  any part of a request
    if type(value) is str:
        return value.replace(secret, HIDDEN)
    if isinstance(value, tuple):
        return tuple(_without(one, secret) for one in value)
    if isinstance(value, PendingRequest | AgentQuestion | AnswerOption):
        return replace(value, **{name: _without(part, secret) for name, part in vars(value).items() if name != "id"})
    return value
