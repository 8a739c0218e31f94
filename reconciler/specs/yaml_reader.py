"""Parse the YAML subset of spec files, with the line of every value. Pure.

The subset is small so that a text means what it looks like: one document of mappings, no anchors, aliases or tags, no
duplicate keys, keys are words, and only what YAML 1.2 calls null, true, false and a decimal number is not text (`no`,
`12:30:45`, `0755` and `2026-11-23` are text). No message shows a value, because a key may have been pasted into the
file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from reconciler.core import spec
from reconciler.settings import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reconciler.core.spec import Spec

MAX_BYTES: Final = 64 * 1024
BOM: Final = "\ufeff"

_MAX_DEPTH: Final = 16
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
"""What no editor shows, or what lets it show another order. The separators among them are line breaks for YAML 1.1: a
comment could end unseen."""
_UNCOMMON: Final = {
    "\0": "it has NUL characters, as UTF-16 has, or a file after a power failure; save it again as UTF-8",
    "\r": "its lines end in CR alone; save it with LF or CRLF",
}
_ODD_SPACE: Final = re.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
"""Characters that look like a space but are none for YAML."""
_CONFLICT: Final = re.compile(r"^(?:<{7,}|>{7,}|\|{7,})(?: |\r?$)", re.MULTILINE)
_MIDDLE: Final = re.compile(r"^={7,}\r?$", re.MULTILINE)
"""The line between the two sides of a conflict; alone it may be ordinary text."""
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_SECRET: Final = re.compile(
    r"(?i:sk|ghp|gho|ghu|ghs|glpat|xox[abp]|akia|asia|github_pat)[-_A-Z0-9][\w-]{8,}|eyJ[\w-]{10,}.*"
    r"|(?=.*\d)(?=.*[a-z])(?=.*[A-Z]).{20,}|.{65,}",
    re.DOTALL,
)
_CONSTANTS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"(?=.*[.eE])[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


_MAX_SHOWN: Final = 10
"""Problems reported at once."""


class SpecFileError(UserError):
    """A spec file cannot be accepted: one sentence per problem, each with file and line."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        more = len(problems) - _MAX_SHOWN
        shown = (*problems[:_MAX_SHOWN], f"and {more} more") if more > 0 else problems
        super().__init__("\n".join(shown))
        self.problems = problems


@dataclass(frozen=True)
class Node:
    """One value in the text: where it begins and ends (characters), and its line, counted from 1."""

    start: int
    end: int
    line: int
    column: int


@dataclass(frozen=True)
class ScalarNode(Node):
    """Text, a number, a boolean or null."""

    value: str | int | float | bool | None
    style: str | None
    """The quote or the block indicator it is written with; None: plain."""


@dataclass(frozen=True)
class ListNode(Node):
    """A list. No spec has one, so its place is all a message needs."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class MappingNode(Node):
    """Keys and values in the order of the text."""

    flow: bool
    """Written in braces."""
    keys: Mapping[str, Node]
    values: Mapping[str, Node]


@dataclass(frozen=True)
class Document:
    """An accepted spec and the lines of its keys."""

    spec: Spec
    lines: Mapping[tuple[str, ...], int]
    """By the path of keys, counted from 1."""


def decode(data: bytes, label: str) -> str:
    """Decode the bytes of a spec file.

    Raises:
        SpecFileError: too long, or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        raise SpecFileError((f"cannot read {label}: it is longer than {MAX_BYTES // 1024} KiB",))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecFileError((f"cannot read {label}:{line}: it is not UTF-8; save it in that encoding",)) from None


def parse_text(text: str, label: str) -> Spec:
    """Parse this text as a spec; `label` is what messages call the file.

    Raises:
        SpecFileError: with every problem found.
    """
    return parse_document(text, label).spec


def parse_document(text: str, label: str) -> Document:
    """Parse this text as a spec, and keep the lines of its keys."""
    root = compose(text, label)
    lines = dict(_lines(root, ()))
    try:
        return Document(spec.parse(plain(root)), lines)
    except spec.SpecError as error:
        problems = tuple(sentence(problem, lines, label) for problem in error.problems)
        raise SpecFileError(problems + _odd_space(text, label)) from None


def compose(text: str, label: str) -> Node:
    """Parse this text into a tree of values, whatever they say.

    Raises:
        SpecFileError: with what is not allowed in a spec's YAML.
    """
    _check_characters(text, label)
    _check_conflict(text, label, _CONFLICT)
    reader = _Reader(text, label)
    try:
        root = reader.document()
    except yaml.MarkedYAMLError as error:
        _check_conflict(text, label, _MIDDLE)
        raise SpecFileError((_unreadable(error, text, label), *_odd_space(text, label))) from None
    if reader.problems:
        raise SpecFileError((*reader.problems, *_odd_space(text, label)))
    return root


def plain(node: Node) -> Any:  # noqa: ANN401  what YAML gives
    """Return the data of this tree."""
    if isinstance(node, MappingNode):
        return {key: plain(value) for key, value in node.values.items()}
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return node.value if isinstance(node, ScalarNode) else None


def resolve(text: str) -> str | int | float | bool | None:
    """Return what an unquoted scalar means."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def looks_secret(text: str) -> bool:
    """Tell whether this may be a token or a key, which no message may show."""
    return "PRIVATE KEY" in text or _SECRET.fullmatch(text) is not None


class _Reader:
    """Turn the parser's events into nodes and note what is not allowed; stop where continuing could be costly."""

    def __init__(self, text: str, label: str) -> None:
        self.label = label
        self.problems: list[str] = []
        self._bom = text.startswith(BOM)
        self._events: Iterator[Any] = yaml.parse(text.removeprefix(BOM), Loader=_LOADER)

    def document(self) -> Node:
        """Return the only document of the text."""
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                break
        else:
            raise SpecFileError((f"cannot use {self.label}: it is empty; write at least git: and url:",))
        root = self._node(next(self._events), 0)
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._stop(event, "a second document (---) is not allowed: write one project per file")
        return root

    def _node(self, event: Any, depth: int) -> Node:  # noqa: ANN401  PyYAML's events have no common useful type
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._stop(event, "anchors and aliases (& and *) are not allowed: write the value out, or quote the text")
        if event.tag is not None:
            self._stop(event, "tags (!) are not allowed: leave it out, or quote the text")
        if depth > _MAX_DEPTH:
            self._stop(event, "it is nested too deeply")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            items, end = [], event
            while not isinstance(end := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(end, depth + 1))
            return ListNode(*self._place(event, end), tuple(items))
        value = event.value if event.style else resolve(event.value)
        return ScalarNode(*self._place(event, event), value, event.style or None)

    def _mapping(self, event: Any, depth: int) -> MappingNode:  # noqa: ANN401  see _node
        keys: dict[str, Node] = {}
        values: dict[str, Node] = {}
        while not isinstance(end := next(self._events), yaml.MappingEndEvent):
            key = self._node(end, depth + 1)
            value = self._node(next(self._events), depth + 1)
            name = self._key(key)
            if name is None:
                continue
            if name in keys:
                lines = f"lines {keys[name].line} and {key.line}"
                self._note(key.line, f"cannot accept the key {name!r} twice, on {lines}: remove one")
                continue
            keys[name], values[name] = key, value
        return MappingNode(*self._place(event, end), bool(event.flow_style), keys, values)

    def _key(self, node: Node) -> str | None:
        name = node.value if isinstance(node, ScalarNode) else None
        if not isinstance(name, str) or looks_secret(name) or _KEY.fullmatch(name) is None:
            self._note(node.line, "cannot accept this key: write a word of letters, digits and _")
            return None
        return name

    def _place(self, start: Any, end: Any) -> tuple[int, int, int, int]:  # noqa: ANN401  see _node
        first, last = start.start_mark, end.end_mark
        return first.index + self._bom, last.index + self._bom, first.line + 1, first.column

    def _note(self, line: int, sentence: str) -> None:
        self.problems.append(f"{sentence} ({self.label}:{line})")

    def _stop(self, event: Any, why: str) -> None:  # noqa: ANN401  see _node
        raise SpecFileError((f"cannot read {self.label}:{event.start_mark.line + 1}: {why}",))


def _check_characters(text: str, label: str) -> None:
    # surrogatepass: a lone surrogate is refused below, with its line
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise SpecFileError((f"cannot read {label}: it is longer than {MAX_BYTES // 1024} KiB",))
    body = text.removeprefix(BOM).replace("\r\n", "\n")
    if match := _UNPRINTABLE.search(body):
        line = body.count("\n", 0, match.start()) + 1
        why = _UNCOMMON.get(match[0]) or f"it has the invisible character U+{ord(match[0]):04X}; remove it"
        raise SpecFileError((f"cannot read {label}:{line}: {why}",))


def _check_conflict(text: str, label: str, marker: re.Pattern[str]) -> None:
    """Refuse merge conflict markers: the text of both sides may even be valid YAML together."""
    body = text.removeprefix(BOM)
    if match := marker.search(body):
        line = body.count("\n", 0, match.start()) + 1
        cure = "keep one side and remove the lines with <<<<<<<, ======= and >>>>>>>"
        raise SpecFileError((f"cannot read {label}:{line}: a merge left a conflict there; {cure}",))


def _odd_space(text: str, label: str) -> tuple[str, ...]:
    """Return a hint about an odd space, which may well be the cause of other problems."""
    match = _ODD_SPACE.search(text)
    if match is None:
        return ()
    line, code = text.count("\n", 0, match.start()) + 1, f"U+{ord(match[0]):04X}"
    return (f"cannot take the character {code} for a space: write an ordinary one ({label}:{line})",)


def _unreadable(error: yaml.MarkedYAMLError, text: str, label: str) -> str:
    # Only the problem is shown: the parser's own rendering quotes the line, and there may be a secret in it.
    mark = error.problem_mark or error.context_mark
    number = 0 if mark is None else mark.line
    lines = text.removeprefix(BOM).splitlines() or [""]
    line = lines[min(number, len(lines) - 1)]
    where = f"{label}:{min(number, len(lines) - 1) + 1}"
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"cannot read {where}: it is indented with a tab; use spaces"
    context = f" {error.context}" if error.context else ""
    return f"cannot read {where} as YAML: {error.problem}{context}; quote the text if it is meant so"


def _lines(node: Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, MappingNode):
        for key, value in node.values.items():
            yield (*path, key), node.keys[key].line
            yield from _lines(value, (*path, key))


def sentence(problem: spec.Problem, lines: Mapping[tuple[str, ...], int], label: str) -> str:
    """Return the problem with its place; a missing key is shown where its parent is."""
    known = next((problem.where[:n] for n in range(len(problem.where), 0, -1) if problem.where[:n] in lines), ())
    place = f"{label}:{lines.get(known, 1)}"
    key = ".".join(problem.where)
    return f"{problem.message} ({place})" if key in problem.message else f"{problem.message} ({key}, {place})"
