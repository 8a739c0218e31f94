"""Change a spec on paper: what `start`, `stop` and others make of it, before anything is written."""

from __future__ import annotations

import contextlib
import difflib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from reconciler.api import reader
from reconciler.core import spec
from reconciler.core.names import refused_name, valid_name
from reconciler.core.spec import SpecError
from reconciler.settings import UserError
from reconciler.specs import patch, spec_folder, writer, yaml_reader
from reconciler.specs.spec_folder import Accepted, Rejected
from reconciler.state import published

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from reconciler.settings import Settings
    from reconciler.specs.patch import Scalar

    Changes = Mapping[tuple[str, ...], Scalar]

LONGEST: Final = 4096
"""Characters of a git url, and of a path as the kernel takes it."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A change of one spec file that is not written yet."""

    name: str
    folder: Path
    """The specs folder."""
    changes: Changes = field(default_factory=dict)
    """Values to set in the file, by key path."""
    text: str | None = None
    """The whole new text instead."""
    replaces: bytes | None = None
    """The text that this one was made from; None: there is no file yet."""
    gone: bool = False
    """A destroy: it is done when nothing is left."""

    @property
    def path(self) -> Path:
        """Return the spec file."""
        return path_of(self.folder, self.name)


def path_of(folder: Path, name: str) -> Path:
    """Return the spec file of a project."""
    return spec_folder.spec_path(folder, name)


def diff(draft: Draft) -> str:
    """Return what a draft changes, as a unified diff; empty where it changes nothing.

    Raises:
        UserError: the file cannot be changed in place, or would not be a spec.
    """
    label = draft.path.name
    old = draft.path.read_bytes() if draft.path.exists() else b""
    if draft.text is None:
        before = yaml_reader.decode(old, label)
        after = patch.patch_text(before, draft.changes, label=label)
    else:
        before, after = old.decode("utf-8", "replace"), draft.text
    yaml_reader.parse_text(after, label)
    return unified(before, after, str(draft.path) if old else "/dev/null", str(draft.path))


def unified(before: str, after: str, before_name: str, after_name: str) -> str:
    """Return the unified diff of two texts."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), before_name, after_name, lineterm="")
    return "\n".join(lines)


def start(settings: Settings, name: str, git_url: str | None = None, ssh_key: str | None = None) -> Draft:
    """Return the change that lets a project run. A new one needs its git url; of a known one the url must be the same.

    Asking again for what is desired already makes the controller observe now.

    Args:
        settings: where.
        name: which.
        git_url: its repository; None only of a known project.
        ssh_key: path of a private key; None or empty: not given.

    Raises:
        UserError: the name, the url or the key cannot be used, or the project is another repository's.
    """
    folder = specs_folder(settings)
    git_url = git_url.strip() if git_url is not None else None
    if not valid_name(name):
        raise UserError(refused_name(name))
    ssh_key = ssh_key or None
    url = _checked_url(git_url, ssh_key)
    if not spec_folder.spec_path(folder, name).exists():
        if git_url is None:
            index = published.read(settings.home)
            raise UserError(f"{reader.unknown(index, settings, name, 'start')}; to make it, give its git url")
        return Draft(name=name, folder=folder, text=writer.new_text(url, ssh_key))
    found = read_spec(settings, folder, name, "start")
    if git_url is not None and url != found.spec.git.url:
        raise UserError(
            f"cannot start {name} with this git url: its spec says {found.spec.git.url}; "
            "use another name, or destroy it first"
        )
    changes: dict[tuple[str, ...], Scalar] = {}
    if found.spec.state != "running":
        changes["state",] = "running"
    if ssh_key is not None and ssh_key != found.spec.git.ssh_key:
        changes["git", "ssh_key"] = ssh_key
    return Draft(name=name, folder=folder, changes=changes)


def _checked_url(git_url: str | None, ssh_key: str | None) -> str:
    """Return the url as a spec has it. What no spec may say is refused before a sentence names a file nobody has."""
    for what, value in (("git url", git_url), ("path of a key", ssh_key)):
        if value is not None and len(value) > LONGEST:
            raise UserError(f"cannot use a {what} of {len(value)} characters: give one of at most {LONGEST}")
    given = {"url": "." if git_url is None else git_url} | ({} if ssh_key is None else {"ssh_key": ssh_key})
    try:
        return spec.parse({"git": given}).git.url
    except SpecError as error:
        raise UserError("; ".join(f"{one.message} ({'.'.join(one.where)})" for one in error.problems)) from None


def stop(settings: Settings, name: str) -> Draft:
    """Return the change that stops a project; everything is kept. Raises UserError."""
    folder = specs_folder(settings)
    read_spec(settings, folder, name, "stop")
    return Draft(name=name, folder=folder, changes={("state",): "stopped"})


def restart(settings: Settings, name: str) -> Draft:
    """Return the change that restarts both services of a project once. Raises UserError."""
    folder = specs_folder(settings)
    found = read_spec(settings, folder, name, "restart")
    changes: dict[tuple[str, ...], Scalar] = {("restarted_at",): datetime.now(UTC).isoformat(timespec="milliseconds")}
    if found.spec.state != "running":
        changes["state",] = "running"
    return Draft(name=name, folder=folder, changes=changes)


def destroy(settings: Settings, name: str, *, confirm: str, discard_unpushed: bool = False) -> Draft:
    """Return the change that destroys a project.

    Args:
        settings: where.
        name: which.
        confirm: the name once more.
        discard_unpushed: even if work would be lost.

    Raises:
        UserError: it was not confirmed, or there is no such project.
    """
    if not valid_name(name):
        raise UserError(reader.unknown(published.read(settings.home), settings, name, "destroy"))
    if confirm != name:
        raise UserError(f"cannot destroy {name} without being sure: give its name once more in confirm")
    folder = specs_folder(settings)
    if not spec_folder.spec_path(folder, name).exists():
        draft = _tombstone(settings, folder, name, discard_unpushed=discard_unpushed)
        if draft is not None:
            return draft
    found = read_spec(settings, folder, name, "destroy")
    changes: dict[tuple[str, ...], Scalar] = {("state",): "absent"}
    if discard_unpushed != found.spec.discard_unpushed:
        changes["discard_unpushed",] = discard_unpushed
    return Draft(name=name, folder=folder, changes=changes, gone=True)


def set_values(settings: Settings, name: str, changes: Changes) -> Draft:
    """Return the change that sets values in a spec, by key path. Raises UserError."""
    folder = specs_folder(settings)
    read_spec(settings, folder, name, "set values of")
    return Draft(name=name, folder=folder, changes=changes)


def assigned(settings: Settings, name: str, assignments: Sequence[str]) -> Draft:
    """Return the change that sets `key.path=value` in a spec. The value is YAML; text needs no quotes.

    Raises:
        UserError: it is no assignment, or the spec would not be one afterwards.
    """
    changes: dict[tuple[str, ...], Scalar] = {}
    for assignment in assignments:
        key, equal, text = assignment.partition("=")
        path = tuple(key.split("."))
        if not equal or not all(path):
            raise UserError(f"cannot set {assignment!r}: write it as key=value, like idle_timeout=2h")
        changes[path] = yaml_reader.resolve(text)
    draft = set_values(settings, name, changes)
    try:
        diff(draft)
    except yaml_reader.SpecFileError:
        # A label 3 or a version 1.10 is text, though YAML alone would read a number.
        texts = {path: assignment.partition("=")[2] for path, assignment in zip(changes, assignments, strict=True)}
        as_text = replace(draft, changes=texts)
        with contextlib.suppress(yaml_reader.SpecFileError):
            diff(as_text)
            return as_text
        raise
    return draft


def edited(settings: Settings, name: str, old: bytes, text: str) -> Draft:
    """Return the change that replaces the whole text of a spec, as a person has edited it.

    Raises:
        UserError: it is not a spec.
    """
    draft = Draft(name=name, folder=specs_folder(settings), text=text, replaces=old)
    diff(draft)
    return draft


def specs_folder(settings: Settings) -> Path:
    """Return where specs are written: see `reader.specs_folder`."""
    return reader.specs_folder(published.read(settings.home), settings)


def read_spec(settings: Settings, folder: Path, name: str, verb: str) -> Accepted:
    """Return the spec as it is now."""
    if not valid_name(name) or not spec_folder.spec_path(folder, name).exists():
        raise UserError(reader.unknown(published.read(settings.home), settings, name, verb))
    found = spec_folder.read_now(folder, name)
    if isinstance(found, Rejected):
        gap = "\n" if "\n" in found.message else " "
        raise UserError(f"cannot {verb} {name} before its spec is fixed:{gap}{found.message}")
    return found


def _tombstone(settings: Settings, folder: Path, name: str, *, discard_unpushed: bool) -> Draft | None:
    """Give a project whose spec file is missing one again, so that it can say what becomes of it."""
    status: Mapping[str, object] = published.read(settings.home).projects.get(name, {})
    if not status.get("git_url"):
        return None
    discard = "discard_unpushed: true\n" if discard_unpushed else ""
    text = f"state: absent\n{discard}{writer.new_text(str(status['git_url']))}"
    return Draft(name=name, folder=folder, text=text, gone=True)
