"""Recognise what lies in the specs folder without being a spec, and phrase the notes about it.

A note is no error: everything else goes on.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from reconciler.core.names import RULE, nearest_name, valid_name

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

SUFFIX: Final = ".yaml"
_YAML: Final = frozenset({"yaml", "yml"})
_TOOLS: Final = {
    "kustomization": "Kustomize",
    "docker-compose": "Docker Compose",
    "docker-compose.override": "Docker Compose",
    "compose": "Docker Compose",
    "compose.override": "Docker Compose",
    "chart": "Helm",
    "values": "Helm",
    "helmfile": "Helmfile",
    "skaffold": "Skaffold",
    "mkdocs": "MkDocs",
    "taskfile": "Task",
    "pnpm-lock": "pnpm",
    "pnpm-workspace": "pnpm",
    "pubspec": "Dart",
    "openapi": "OpenAPI",
    "swagger": "OpenAPI",
    "codecov": "Codecov",
    "dependabot": "Dependabot",
    "renovate": "Renovate",
    ".pre-commit-config": "pre-commit",
    ".pre-commit-hooks": "pre-commit",
    ".yamllint": "yamllint",
    ".gitlab-ci": "GitLab CI",
    ".travis": "Travis CI",
    ".readthedocs": "Read the Docs",
    ".prettierrc": "Prettier",
    ".markdownlint": "markdownlint",
    ".sops": "SOPS",
}
"""Names, before `.yaml` or `.yml` and in lower case, of files that other tools read."""
_BARE: Final = {"kustomization": "Kustomize", ".yamllint": "yamllint"}
"""The same of files without an ending."""
_KEYS: Final = re.compile(rb"^([A-Za-z_][\w.-]*)[ \t]*:", re.MULTILINE)
SPEC_KEYS: Final = frozenset(
    {
        *("state", "labels", "git", "agent", "bridge", "restart", "idle_timeout", "limits"),
        *("confinement", "confinement_allow", "restarted_at", "discard_unpushed"),
    }
)
"""Of a spec: one without git: is broken, not another tool's, as long as it has no other keys."""
_SHAPES: Final = {
    frozenset({"apiVersion", "kind"}): "a Kubernetes manifest (apiVersion, kind)",
    frozenset({"on", "jobs"}): "a GitHub workflow (on, jobs)",
    frozenset({"openapi", "paths"}): "an OpenAPI document",
    frozenset({"services"}): "a file of Docker Compose (services)",
}
"""What a file is, by keys at its top that no spec has."""
_DEEPEST: Final = 3
"""Levels of folders below the specs folder that are searched."""
_ENTRIES: Final = 300
"""Entries of all those folders that are examined: a scan of the specs folder must take milliseconds."""


def misnamed(entry: str, taken: Container[str] = ()) -> str:
    """Return a note when this entry looks like a misnamed spec or another tool's file; else nothing.

    Args:
        entry: a name in the specs folder that is no spec file's.
        taken: the names of projects that have a spec file.
    """
    if tool := _tool_of(entry):
        return _left_alone(entry, f"it is a file of {tool}")
    stem, _, suffix = entry.rpartition(".")
    if entry.startswith((".", "#")) or suffix.lower() not in _YAML:
        return ""
    if not entry.isprintable():
        return f"cannot use the spec file {entry!a}: its name is not readable text; rename it"
    better = nearest_name(stem)
    cure = f"rename it to {better}{SUFFIX}"
    if better in taken:
        cure = f"rename it, or remove it: {better}{SUFFIX} is there already"
    why = f"spec files end in {SUFFIX}" if valid_name(stem) else RULE
    return f"cannot use the spec file {entry!r}: {why}; {cure}"


def foreign(name: str, content: bytes) -> str:
    """Return a note when the content of this project's spec file is plainly another tool's; else nothing."""
    keys = {key.decode() for key in _KEYS.findall(content.removeprefix(b"\xef\xbb\xbf"))}
    if "git" in keys or (keys and keys <= SPEC_KEYS):
        return ""
    if tool := _TOOLS.get(name):
        return _left_alone(f"{name}{SUFFIX}", f"it is a file of {tool}")
    shape = next((shape for having, shape in _SHAPES.items() if keys >= having), "")
    return _left_alone(f"{name}{SUFFIX}", f"it is {shape}") if shape else ""


def in_folders(folders: Iterable[os.DirEntry[str]]) -> list[str]:
    """Return a note for each of these subfolders that has YAML files, which are not read there."""
    left = _ENTRIES
    notes = []
    for folder in folders:
        found: list[str] = []
        left -= _search(folder.path, folder.name, found, left)
        where = "specs lie directly in the specs folder"
        if len(found) == 1:
            notes.append(f"cannot use {found[0]} as a spec: {where}; move it up")
        elif found:
            notes.append(f"cannot use the {len(found)} YAML files in {folder.name}/ as specs: {where}; move them up")
    return notes


def _search(path: str, shown: str, found: list[str], left: int, depth: int = 1) -> int:
    """Add the YAML files below this folder; return how many entries were examined."""
    seen = 0
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                seen += 1
                if seen >= left:
                    break
                if entry.name.startswith((".", "#")) or not entry.name.isprintable():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if depth < _DEEPEST:
                        seen += _search(entry.path, f"{shown}/{entry.name}", found, left - seen, depth + 1)
                elif entry.name.rpartition(".")[2].lower() in _YAML and not _tool_of(entry.name):
                    found.append(f"{shown}/{entry.name}")
    except OSError:  # gone, or nobody's to read: then it is no place for specs
        pass
    return seen


def _tool_of(entry: str) -> str:
    stem, dot, suffix = entry.lower().rpartition(".")
    return _BARE.get(entry.lower(), "") or (_TOOLS.get(stem, "") if dot and suffix in _YAML else "")


def _left_alone(entry: str, why: str) -> str:
    return f"cannot use {entry} as a spec: {why}; it is left alone"
