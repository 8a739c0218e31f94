"""Read the settings file of a home, `opencode-settings.yaml`: what concerns every project and is no variable.

There need not be one. Its text may hold what nobody should read in a message, so none of its values is ever shown.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from reconciler.settings import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME: Final = "opencode-settings.yaml"
MAX_BYTES: Final = 64 * 1024
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_read: dict[str, tuple[tuple[int, int, int], SettingsFile]] = {}
"""By path: what identifies the state of a file that was read, and what it says."""


def _folder(path: str) -> str:
    if not path.startswith(("/", "~/")) or ":" in path or not path.isprintable():
        raise ValueError("give paths that begin with / or ~/, without a colon")
    return path


_Folders = list[Annotated[str, AfterValidator(_folder)]]


NotifyEvent = Literal["needs", "parked", "recovered"]
_EVENTS: Final[tuple[NotifyEvent, ...]] = ("needs", "parked", "recovered")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class ConfinementSettings(_Section):
    """What every confined agent may reach."""

    default: Literal["auto", "none", "bubblewrap"] = "auto"
    """For projects whose spec leaves it at auto."""
    hide: _Folders = Field(default_factory=list)
    """Files and folders that no agent may read, besides those of the manager's own list."""
    read: _Folders = Field(default_factory=list)
    """Files and folders that every agent may read, although they are on that list."""


class NotifyTarget(_Section):
    """Who is notified when somebody is needed: a webhook or a local command."""

    url: str = ""
    """Gets a POST."""
    shape: Literal["json", "ntfy"] = "json"
    secret_file: str = ""
    """Holds the key by which requests are signed; it is in no settings file."""
    command: list[str] = Field(default_factory=list)
    """Is run without a shell, with JSON on its standard input."""
    events: list[NotifyEvent] = Field(default_factory=lambda: list(_EVENTS))
    words: bool = False
    """Whether what an agent asks may go out."""

    @model_validator(mode="after")
    def _one_way(self) -> NotifyTarget:
        if bool(self.url) == bool(self.command):
            raise ValueError("give either a url or a command")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError("give a url that begins with https:// or http://")
        return self


class SettingsFile(_Section):
    """The whole file."""

    confinement: ConfinementSettings = Field(default_factory=ConfinementSettings)
    notify: list[NotifyTarget] = Field(default_factory=list)


def load(home: Path) -> SettingsFile:
    """Return what the settings file of a home says; it is read again only when it has changed.

    Raises:
        UserError: it cannot be read or accepted; the sentence names the line.
    """
    path = home / NAME
    try:
        about = path.stat()
        stamp = (about.st_ino, about.st_mtime_ns, about.st_size)
        known = _read.get(str(path))
        if known is None or known[0] != stamp:
            known = _read[str(path)] = (stamp, parse(_bytes(path), str(path)))
    except FileNotFoundError:
        return SettingsFile()
    except OSError as error:
        raise UserError(f"cannot read {path}: {os.strerror(error.errno or 0).lower()}; make it readable") from None
    return known[1]


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def parse(data: bytes, label: str) -> SettingsFile:
    """Parse the bytes of a settings file; `label` is what messages call it.

    Raises:
        UserError: with the first problem found.
    """
    if len(data) > MAX_BYTES:
        raise UserError(f"cannot read {label}: it is longer than {MAX_BYTES // 1024} KiB; shorten it")
    try:
        root = yaml.compose(data.decode(), Loader=_LOADER)
        content = yaml.load(data, Loader=_LOADER) if root is not None else {}  # noqa: S506  a safe loader
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"cannot read {label}:{line}: it is not UTF-8; save it in that encoding") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{label}:{mark.line + 1}" if mark is not None else label
        problem = getattr(error, "problem", None) or "it is no YAML"
        raise UserError(f"cannot read {where} as YAML: {problem}; correct that line") from None
    try:
        return SettingsFile.model_validate(content)
    except ValidationError as error:
        raise UserError(_sentence(error.errors(include_url=False, include_input=False)[0], root, label)) from None


def _sentence(item: Any, root: yaml.Node | None, label: str) -> str:  # noqa: ANN401  pydantic's ErrorDetails
    path = tuple(map(str, item["loc"]))
    where, key = f"{label}:{_line(root, path)}", ".".join(path)
    match item["type"]:
        case "extra_forbidden":
            known = list(_keys(path[:-1]))
            near = get_close_matches(path[-1], known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            return f"cannot accept the key {key!r}: it is not known; {hint} ({where})"
        case "literal_error":
            return f"cannot accept {key!r}: use {item['ctx']['expected']} ({where})"
        case "value_error":
            return f"cannot accept {key!r}: {item['ctx']['error']} ({where})"
        case "model_type":
            return f"cannot accept {key or 'it'!r}: write keys and values, like confinement: ({where})"
        case _:
            return f"cannot accept {key!r}: {item['msg'][:1].lower()}{item['msg'][1:]} ({where})"


def _keys(path: tuple[str, ...]) -> Iterator[str]:
    model: Any = SettingsFile
    for part in path:
        model = get_args(model)[0] if part.isdecimal() else model.model_fields[part].annotation
    yield from model.model_fields


def _line(node: yaml.Node | None, path: tuple[str, ...]) -> int:
    """Return the line of a value, counted from 1; of a key that is missing, that of its parent."""
    line = 1 if node is None else node.start_mark.line + 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
    return line
