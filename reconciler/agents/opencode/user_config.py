"""The user's own configuration of OpenCode, as an agent gets it: a copy, made again at each start.

OpenCode writes into its configuration folders (packages, a `$schema`), so an agent never works in the user's. What is
copied is bounded; links are followed, as people keep such files elsewhere and link to them. References to files mean
what they mean for the user: `~` is the user's home, and what is relative belongs to the original.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.agents.base import Handed, LeftOut
from reconciler.agents.opencode.logins import digest
from reconciler.core.plain_text import plain
from reconciler.system.held_folder import held

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from reconciler.agents.base import Place

FILE_VARIABLE: Final = "OPENCODE_CONFIG"
FOLDER_VARIABLE: Final = "OPENCODE_CONFIG_DIR"
MOST: Final = 500
"""Files that are copied."""
FILE_BYTES: Final = 2**20
"""Of one of them."""
DEPTH: Final = 8
"""Folders within each other."""
SKIPPED: Final = frozenset(
    {"node_modules", "bin", ".git", ".gitignore", "package-lock.json", "bun.lock", "bun.lockb", ".DS_Store"}
)
"""What OpenCode and its installers make there themselves."""

_LIST: Final = "opencode-copies.json"
_REFERENCE: Final = re.compile(r"\{(file|env):([^{}\r\n]+)\}")
_CONFIGS: Final = frozenset({"config.json", "opencode.json", "opencode.jsonc"})


@dataclass(frozen=True)
class Root:
    """A folder or file of the user's, and where the agent has its copy."""

    source: Path
    target: Path
    parts: tuple[str, ...] = ()
    """What of the folder is copied; empty: all of it."""


@dataclass
class Copies:
    """What is to be copied."""

    files: dict[Path, bytes] = field(default_factory=dict)
    """By target."""
    handed: list[Handed] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


@dataclass(frozen=True)
class _ReferenceReader:
    """Reads configurations as the user's own OpenCode does."""

    home: Path
    names: Collection[str]
    """Variables that the agent has; empty: not known."""

    def rewritten(self, source: Path, data: bytes, found: Copies) -> bytes:
        """Return a configuration whose references to files are absolute; what they cannot name is left out."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return data

        def resolved(match: re.Match[str]) -> str:
            comment = text[text.rfind("\n", 0, match.start()) + 1 : match.start()].lstrip().startswith("//")
            return match[0] if comment else self._resolved(source, match[1], match[2].strip(), found)

        return _REFERENCE.sub(resolved, text).encode()

    def _resolved(self, source: Path, kind: str, what: str, found: Copies) -> str:
        where = f"{{{kind}:{plain(what, 100)}}} in {source}"
        if kind == "env":
            if self.names and what not in self.names:
                why = f"the agent has no such variable; set it with: opencode-manager secrets --all {plain(what, 60)}"
                found.left_out.append(LeftOut(what=where, why=why, matters=True))
            return f"{{env:{what}}}"
        path = self.home / what[2:] if what.startswith("~/") else source.parent / what
        if os.access(path, os.R_OK):
            found.handed.append(Handed(source=path, place=path, how="read-only"))
        else:
            found.left_out.append(LeftOut(what=where, why="there is no such file that you may read", matters=True))
        return f"{{file:{path}}}"


def roots(place: Place) -> tuple[Root, ...]:
    """Return where the user may have a configuration; the folders need not exist."""
    if not place.user_config:
        return ()
    home, config = Path(place.environment.get("HOME") or "/"), place.xdg / "config"
    named = [
        Root(Path(place.environment.get("XDG_CONFIG_HOME") or home / ".config") / "opencode", config / "opencode"),
        Root(home / ".opencode", place.home / ".opencode"),
        Root(home / ".claude", place.home / ".claude", ("CLAUDE.md", "skills")),
        Root(home / ".agents", place.home / ".agents", ("skills",)),
    ]
    if file := place.environment.get(FILE_VARIABLE):
        named.append(Root(Path(file).absolute(), config / "opencode-file" / Path(file).name))
    if folder := place.environment.get(FOLDER_VARIABLE):
        named.append(Root(Path(folder).absolute(), config / "opencode-folder"))
    return tuple(named)


def variables(place: Place) -> dict[str, str]:
    """Return the variables that lead the agent to the copies."""
    found = {root.target.name: str(root.target) for root in roots(place)}
    chosen = {}
    if file := place.environment.get(FILE_VARIABLE):
        chosen[FILE_VARIABLE] = found.get(Path(file).name, "")
    if place.environment.get(FOLDER_VARIABLE):
        chosen[FOLDER_VARIABLE] = found.get("opencode-folder", "")
    return {name: value for name, value in chosen.items() if value}


def copies(place: Place, names: Collection[str] = ()) -> Copies:
    """Return what the agent gets, without changing anything.

    Args:
        place: of the agent.
        names: variables that the agent has.
    """
    found = Copies()
    for root in roots(place):
        before = len(found.files)
        for source, target in _walk(root, found):
            _take(source, target, found, _ReferenceReader(Path(place.environment.get("HOME") or "/"), names))
        if count := len(found.files) - before:
            how = f"copy, {count} file{'s' if count > 1 else ''}"
            found.handed.append(Handed(source=root.source, place=root.target, how=how))
    return found


def inputs(place: Place) -> str:
    """Return a digest of the user's configuration as it is now, without reading any; empty where there is none."""
    found = Copies()
    stamps = []
    for number, root in enumerate(roots(place)):
        for source, _ in _walk(root, found):
            with contextlib.suppress(OSError):
                about = source.stat()
                stamps.append([number, str(source), about.st_size, about.st_mtime_ns])
            if len(stamps) >= MOST:
                break
    return digest(stamps) if stamps else ""


def bring(place: Place) -> None:
    """Make the copies, and remove those of before. Blocking. Best effort: what cannot be written is not there."""
    wanted = {_below(place, target): data for target, data in copies(place).files.items()}
    with held(place.xdg.parent, place.xdg.name, "config") as folder:
        listed = _listed(folder.read(_LIST, FILE_BYTES))
        for name in sorted(listed - set(wanted)):
            with contextlib.suppress(OSError), held(place.xdg.parent, *name.split("/")[:-1]) as parent:
                parent.remove(name.rpartition("/")[2])
        for name, data in wanted.items():
            with contextlib.suppress(OSError), held(place.xdg.parent, *name.split("/")[:-1]) as parent:
                if parent.read(name.rpartition("/")[2], FILE_BYTES + 1) != data:
                    parent.replace(name.rpartition("/")[2], data)
        if wanted or listed:
            folder.replace(_LIST, json.dumps(sorted(wanted)).encode())


def _below(place: Place, target: Path) -> str:
    return target.relative_to(place.xdg.parent).as_posix()


def _listed(data: bytes | None) -> set[str]:
    """Return the copies of before; the list is where an agent can write, so only what is below its folders counts."""
    with contextlib.suppress(ValueError):
        found = json.loads(data or b"[]")
        if isinstance(found, list):
            names = {name for name in found if isinstance(name, str) and name.startswith(("xdg/config/", "home/."))}
            return {name for name in names if not {"", ".", ".."} & set(name.split("/"))}
    return set()


def _walk(root: Root, found: Copies) -> Iterator[tuple[Path, Path]]:
    """Yield each file below a root with its target, the same order each time."""
    try:
        about = root.source.stat()
    except OSError:
        return
    if stat.S_ISREG(about.st_mode):
        yield root.source, root.target
        return
    folders: list[tuple[Path, Path, tuple[Path, ...]]] = [(root.source, root.target, (root.source.resolve(),))]
    while folders:
        folder, target, within = folders.pop()
        for name in _names(folder, found):
            if name in SKIPPED or (folder == root.source and root.parts and name not in root.parts):
                continue
            path = folder / name
            if path.is_dir():
                real = path.resolve()
                if len(within) >= DEPTH or real in within:
                    found.left_out.append(
                        LeftOut(what=str(path), why=f"it is {DEPTH} folders deep, or leads back to itself")
                    )
                else:
                    folders.append((path, target / name, (*within, real)))
            else:
                yield path, target / name


def _names(folder: Path, found: Copies) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208  names alone
    except OSError as error:
        found.left_out.append(LeftOut(what=str(folder), why=(error.strerror or str(error)).lower()))
        return []


def _take(source: Path, target: Path, found: Copies, reader: _ReferenceReader) -> None:
    if len(found.files) >= MOST:
        if len(found.files) == MOST and not any(one.what == "more files" for one in found.left_out):
            found.left_out.append(LeftOut(what="more files", why=f"only {MOST} files of your configuration are copied"))
        return
    try:
        about = source.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > FILE_BYTES:
            why = "it is larger than 1 MiB" if stat.S_ISREG(about.st_mode) else "it is not a file"
            found.left_out.append(LeftOut(what=str(source), why=why))
            return
        data = source.read_bytes()
    except OSError as error:
        why = "it is a link that leads nowhere" if source.is_symlink() else (error.strerror or str(error)).lower()
        found.left_out.append(LeftOut(what=str(source), why=why))
        return
    if target.name in _CONFIGS or target.parent.name == "opencode-file":
        data = reader.rewritten(source, data, found)
    found.files[target] = data
