"""Change single values in the text of a spec, keeping comments, order and line endings. Pure.

The result is parsed again and must mean exactly what was intended; otherwise the user is asked to make the change. So
each step below may take the simple view. Block scalars and keys without a value (`agent:`) are left to the user: no
tool changes any that is written so.
"""

from __future__ import annotations

import json
import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from reconciler.settings import UserError
from reconciler.specs import yaml_writer
from reconciler.specs.yaml_reader import (
    MappingNode,
    Node,
    ScalarNode,
    SpecFileError,
    compose,
    looks_secret,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Scalar = yaml_writer.Scalar
Path = tuple[str, ...]

_COMMENT: Final = re.compile(r"[ \t]+#.*")


class _CannotPatchError(Exception):
    """The text is written in a way that this module does not change."""


def patch_text(text: str, changes: Mapping[Path, Scalar], *, label: str = "the spec") -> str:
    """Return the text with these values set, by key path, and nothing else changed.

    Raises:
        SpecFileError: the text cannot be read.
        UserError: it cannot be changed in place; says what to set by hand.
    """
    for path, value in changes.items():
        before = compose(text, label)
        if _same(_get(plain(before), path), value):
            continue
        try:
            after = _set(text, before, path, value)
            intact = _means(compose(after, label)) == _means(before, path, value)
        except (_CannotPatchError, SpecFileError):
            intact = False
        if not intact:
            shown = "its value" if looks_secret(str(value)) else scalar_text(value)
            raise UserError(f"cannot edit {label} in place: set {'.'.join(path)}: {shown} by hand")
        text = after
    return text


def scalar_text(value: Scalar, style: str | None = None) -> str:
    """Return the value as YAML, quoted where it needs quotes or where `style` (a quote) asks for them."""
    return yaml_writer.scalar(value, style)


def _same(left: object, right: object) -> bool:
    return type(left) is type(right) and left == right


def _get(data: Any, path: Path) -> object:  # noqa: ANN401  what YAML gives
    """Return the value there; a missing key counts as null."""
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _means(node: Node, path: Path = (), value: Scalar = None) -> str:
    """Return the data of a tree, with one value set, in a form that tells 1 from true and keeps the order."""
    data = plain(node)
    if path:
        data = _with(deepcopy(data), path, value)
    return json.dumps(data)


def _with(data: Any, path: Path, value: Scalar) -> Any:  # noqa: ANN401  what YAML gives
    if not path:
        return value
    mapping = {} if data is None else data
    mapping[path[0]] = _with(mapping.get(path[0]), path[1:], value)
    return mapping


def _set(text: str, node: Node, path: Path, value: Scalar) -> str:
    parent, depth = _deepest(node, path)
    if parent is None:
        raise _CannotPatchError
    rest = path[depth:]
    old = parent.values.get(rest[0])
    if old is None:
        return _insert_last(text, parent, rest, value)
    if not isinstance(old, ScalarNode) or old.style in {"|", ">"} or len(rest) > 1:
        raise _CannotPatchError
    return _replace(text, old, value)


def _deepest(node: Node, path: Path) -> tuple[MappingNode | None, int]:
    """Return the innermost mapping on the way to this path, and how many keys lead to it."""
    found, depth = None, 0
    while isinstance(node, MappingNode):
        found = node
        if depth == len(path) - 1 or not isinstance(node.values.get(path[depth]), MappingNode):
            break
        node, depth = node.values[path[depth]], depth + 1
    return found, depth


def _replace(text: str, old: ScalarNode, value: Scalar) -> str:
    new = scalar_text(value, old.style)
    if old.start == old.end:
        # Nothing written means null: the mark is behind the colon, or behind the key where a flow has none.
        new = f" {new}" if text[old.start - 1] == ":" else f": {new}"
    return text[: old.start] + new + text[old.end :]


def _insert_last(text: str, mapping: MappingNode, path: Path, value: Scalar) -> str:
    if mapping.flow:
        return _insert_flow(text, mapping, path, value)
    place = _behind_comments(text, _end_of_line(text, _last(mapping)), mapping.column)
    return _insert_lines(text, place, _indent(text, mapping), path, value)


def _insert_flow(text: str, mapping: MappingNode, path: Path, value: Scalar) -> str:
    entry = _flow_entry(path, value)
    if not mapping.values:
        return text[: mapping.start + 1] + entry + text[mapping.start + 1 :]
    end = list(mapping.values.values())[-1].end
    return f"{text[:end]}, {entry}{text[end:]}"


def _flow_entry(path: Path, value: Scalar) -> str:
    inner = scalar_text(value) if len(path) == 1 else "{" + _flow_entry(path[1:], value) + "}"
    return f"{scalar_text(path[0])}: {inner}"


def _insert_lines(text: str, place: int, indent: str, path: Path, value: Scalar) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    step = " " * _step(text)
    lines = [f"{indent}{step * depth}{scalar_text(key)}:" for depth, key in enumerate(path)]
    lines[-1] += f" {scalar_text(value)}"
    before = text[:place]
    if not before.endswith("\n"):
        before += newline
    return before + "".join(line + newline for line in lines) + text[place:]


def _last(node: Node) -> int:
    """Return where the last value in here ends: a block's own end mark is behind the comments that follow it."""
    if isinstance(node, MappingNode) and not node.flow:
        return _last(list(node.values.values())[-1])
    return node.end


def _end_of_line(text: str, place: int) -> int:
    """Return the start of the line after this place, which may be inside a block scalar's blank tail."""
    if place and text[place - 1] == "\n":
        return place
    end = text.find("\n", place)
    rest = text[place : len(text) if end < 0 else end].rstrip("\r")
    if rest.strip(" \t") and _COMMENT.fullmatch(rest) is None:
        raise _CannotPatchError
    return len(text) if end < 0 else end + 1


def _behind_comments(text: str, place: int, column: int) -> int:
    """Skip comments that are indented deeper than the new key: they belong to the value before it."""
    found = place
    for line in text[place:].splitlines(keepends=True):
        place += len(line)
        body = line.lstrip(" ")
        if body.startswith("#") and len(line) - len(body) > column:
            found = place
        elif body.strip():
            break
    return found


def _indent(text: str, mapping: MappingNode) -> str:
    first = next(iter(mapping.keys.values()))
    return text[first.start - first.column : first.start] if first.column else ""


def _step(text: str) -> int:
    """Return the indent of this text: that of its first indented line that is no comment, else two spaces."""
    match = re.search(r"^( +)[^\s#]", text, re.MULTILINE)
    return len(match[1]) if match else 2
