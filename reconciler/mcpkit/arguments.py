"""What a caller means by the arguments of a call, and one sentence for what is wrong with them. Pure.

One rule for all tools: every spelling of a name is taken (`waitSeconds`, `wait_seconds`, `project`, `project_name`);
`""` and null mean "not given"; a key that is likely a misspelling of one of ours is refused by name; a key that clients
add by themselves is ignored; any other is ignored too, and the answer says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo

CLIENT_KEYS: Final = frozenset({"randomstring", "sessionid", "action", "chatinput", "toolcallid"})
"""What clients are known to add to a call by themselves: Cursor's dummy for tools without parameters
(mondaycom/mcp#15), and n8n's four (n8n-io/n8n#22787, makenotion/notion-mcp-server#146)."""
_MEANT: Final[Mapping[str, frozenset[str]]] = {
    "title": frozenset({"name"}),
    "content": frozenset({"prompt", "text", "input", "instruction", "instructions", "task", "message"}),
    "limit": frozenset({"max", "count", "top", "n", "size", "maxresults"}),
    "search": frozenset({"query", "filter", "q", "term", "text"}),
    "query": frozenset({"q", "search", "pattern", "name", "file", "filename", "path"}),
    "pattern": frozenset({"regex", "regexp", "query", "q", "search", "text"}),
    "path": frozenset({"file", "filename"}),
    "firstline": frozenset({"offset", "start", "from"}),
    "maxlines": frozenset({"limit", "count", "max"}),
    "waitseconds": frozenset({"timeout", "timeoutseconds", "timeoutms", "timeoutsec"}),
    "discardunpushed": frozenset({"force"}),
    "giturl": frozenset({"repo", "repository", "remote", "repositoryurl", "repourl"}),
    "usersshkey": frozenset({"key", "keypath", "keyfile", "privatekey"}),
    "confirm": frozenset({"yes", "sure"}),
    "reply": frozenset({"answer", "response", "decision"}),
    "answers": frozenset({"answer", "response", "reply", "replies"}),
    "answer": frozenset({"answers", "reply", "response", "decision"}),
    "needid": frozenset({"id", "need"}),
    "model": frozenset({"provider"}),
    "names": frozenset({"project", "projects", "projectname", "projectnames"}),
    "since": frozenset({"after", "from", "start", "begin"}),
}
"""Other words for our names that are not near to them by spelling."""
_NEAR: Final = 0.8
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SHOWABLE: Final = re.compile(r"[A-Za-z_][\w.-]{0,39}")
_PROBLEMS: Final = 5
"""Reported at once."""
MOST: Final = 50
"""Arguments of a call: no tool takes a fifth of it, and each unknown one costs a comparison with all of ours."""


class WrongArgumentsError(ValueError):
    """One sentence that begins with "cannot call"."""


@dataclass(frozen=True)
class Meant:
    """The arguments of a call by their own names, without those that were left empty."""

    arguments: dict[str, Any]
    ignored: tuple[str, ...] = ()
    """Keys that are neither ours, nor near to one of ours, nor known to be added by clients."""


def understand(tool: str, fields: Mapping[str, FieldInfo], given: Mapping[str, Any]) -> Meant:
    """Return the arguments by the tool's own names for them.

    Args:
        tool: its name.
        fields: what it takes, by the name on the wire.
        given: what was sent.

    Raises:
        WrongArgumentsError: a key is a misspelling, an argument was given twice, or there are far too many.
    """
    if len(given) > MOST:
        raise WrongArgumentsError(f"cannot call {tool}: {len(given)} arguments are far more than it takes")
    spelled = _spellings(fields)
    meant: dict[str, Any] = {}
    unknown: list[str] = []
    for key, value in given.items():
        name = spelled.get(_plain(key))
        if _empty(value, fields.get(name or "")):
            continue
        if name is None:
            unknown += [] if _plain(key) in CLIENT_KEYS else [key]
        elif meant.setdefault(name, value) != value:
            raise WrongArgumentsError(f"cannot call {tool}: {name} is given twice, with different values")
    for key in unknown:
        if near := _nearest(key, fields, meant):
            raise WrongArgumentsError(f"cannot call {tool}: it takes no {_shown(key)}; did you mean {near}?")
    return Meant(meant, tuple(map(_shown, unknown)))


def wrong(tool: str, error: ValidationError) -> str:
    """Say what is wrong with the arguments, in one sentence and without any value."""
    missing: list[str] = []
    demands: dict[str, str] = {}
    for item in error.errors(include_url=False, include_input=False):
        name = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in item["loc"])
        if item["type"] == "missing":
            missing.append(name)
        else:
            demands.setdefault(name, f"{name} {_demand(item['type'], item.get('ctx') or {})}")
    parts = [f"{_listed(missing, 'and')} {'is' if len(missing) == 1 else 'are'} missing"] if missing else []
    return f"cannot call {tool}: {'; '.join([*parts, *demands.values()][:_PROBLEMS])}"


def ignored(tool: str, keys: Iterable[str], fields: Iterable[str]) -> str:
    """Say which keys were ignored."""
    taken = _listed(list(fields), "and")
    return f"ignored {_listed(list(keys), 'and')}: {tool} takes {taken or 'no arguments'}"


def _demand(kind: str, context: Mapping[str, Any]) -> str:
    match kind:
        case "value_error":  # of our own validators, which say what it must be
            return str(context["error"])
        case "literal_error":
            return f"must be {context['expected']}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
        case "too_long":
            return f"must have at most {context['max_length']} entries"
        case "list_type":
            return "must be a list"
    for prefix, demand in (
        ("string", "must be text"),
        ("int", "must be a whole number"),
        ("float", "must be a number"),
        ("finite", "must be a number"),
        ("bool", "must be true or false"),
    ):
        if kind.startswith(prefix):
            return demand
    return "is not what it takes"


def _spellings(fields: Iterable[str]) -> dict[str, str]:
    """Map what is left of each spelling without case and separators to our name."""
    spelled = {_plain(name): name for name in fields}
    for one, other in (("project", "projectname"), ("projectname", "project")):
        if one in spelled:
            spelled.setdefault(other, spelled[one])
    return spelled


def _empty(value: object, field: FieldInfo | None) -> bool:
    if value is None or value == "":
        return True
    text = field is None or field.annotation is str
    return isinstance(value, str) and not text and value.strip() in {"", "null"}


def _nearest(key: str, fields: Iterable[str], meant: Mapping[str, Any]) -> str:
    """Return the name that a person could have meant, empty where there is none. One that was not given is likelier."""
    for names in ([name for name in fields if name not in meant], list(meant)):
        spelled = _spellings(names)
        if close := get_close_matches(_plain(key)[:64], spelled, n=1, cutoff=_NEAR):
            return spelled[close[0]]
        for plain, name in spelled.items():
            if _plain(key) in _MEANT.get(plain, ()) or _share_words(_words(key), _words(name)):
                return name
        if _plain(key) == "name" and "projectname" in spelled:
            return spelled["projectname"]
    return ""


def _share_words(theirs: frozenset[str], ours: frozenset[str]) -> bool:
    """Tell whether one name says the other in fewer words: `url` and `git_url`, `session_title` and `title`.

    Not so what only adds "id", nor "user": clients have ids and users of their own.
    """
    if not theirs or theirs == {"user"}:
        return False
    return theirs <= ours or (ours < theirs and (theirs - ours != {"id"} or ours == {"project"}))


def _words(name: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORDS.findall(name))


def _plain(key: str) -> str:
    return re.sub(r"[\s_.-]", "", key).lower()


def _shown(key: str) -> str:
    """Return the key, or a stand-in for one that may be a pasted secret."""
    return key if _SHOWABLE.fullmatch(key) else "an argument with an odd name"


def _listed(names: list[str], joint: str) -> str:
    return f" {joint} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def plain_schema(schema: Any, drop: frozenset[str] = frozenset({"title"})) -> Any:  # noqa: ANN401  any JSON
    """Return a JSON schema without keywords that tell a caller nothing.

    Args:
        schema: as pydantic makes it.
        drop: the keywords; a property of that name stays.
    """
    if isinstance(schema, list):
        return [plain_schema(one, drop) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: plain_schema(one, drop) for name, one in value.items()}
        if key in {"properties", "$defs"}
        else plain_schema(value, drop)
        for key, value in schema.items()
        if key not in drop
    }
