"""Read what the controller published: for every frontend, and without any import that reading does not need."""

from __future__ import annotations

import shlex
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.api import results
from reconciler.api.results import START_CONTROLLER, Listing, ProjectResult
from reconciler.core.names import nearest_name, refused_name, valid_name
from reconciler.core.reasons import Reason
from reconciler.settings import UserError
from reconciler.specs import ignored, scan
from reconciler.state import published

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.settings import Settings
    from reconciler.state.published import ControllerInfo, Index


def list_projects(settings: Settings) -> Listing:
    """Return all projects as published last."""
    index = published.read(settings.home)
    return Listing(
        projects=tuple(results.summary(index.projects[name]) for name in sorted(index.projects)),
        controller_running=index.running,
        warning="; ".join(warnings(index)),
    )


def status(settings: Settings, name: str) -> ProjectResult:
    """Return one project as published last.

    Raises:
        UserError: there is no such project; names the nearest.
    """
    return look(settings, name)[0]


def look(settings: Settings, name: str) -> tuple[ProjectResult, Mapping[str, Any] | None, str]:
    """Return one project as an answer and as published last, and a warning where that may be out of date.

    Of a project that was not observed yet nothing is published.

    Raises:
        UserError: there is no such project; names the nearest.
    """
    index = published.read(settings.home)
    stale = "; ".join(warnings(index))
    found = index.projects.get(name)
    if found is None:
        if not has_spec(specs_folder(index, settings), name):
            raise UserError(unknown(index, settings, name, "show"))
        message = "its spec is there, and the controller has not looked at it yet"
        unseen = ProjectResult(
            project=name, status="in_progress", reason=Reason.NOT_SEEN_YET, message=message, warning=stale
        )
        return unseen, None, stale
    return _warned(results.in_full(found), stale), found, stale


def raw_status(settings: Settings, name: str) -> Mapping[str, Any]:
    """Return one project's status as it is published.

    Raises:
        UserError: nothing is published of it.
    """
    index = published.read(settings.home)
    if name in index.projects:
        return index.projects[name]
    if has_spec(specs_folder(index, settings), name):
        why = "ask again in a moment" if index.running else warnings(index)[0]
        raise UserError(f"cannot show {name} yet: the controller has not looked at its spec; {why}")
    raise UserError(unknown(index, settings, name, "show"))


def warnings(index: Index) -> tuple[str, ...]:
    """Return what a reader must know before relying on the index."""
    if index.running:
        return (*index.controller.warnings, *_noted(index.controller)) if index.controller else ()
    if index.controller is None:
        return (f"no controller is running, and none has published anything: {START_CONTROLLER}",)
    return (f"no controller is running, and this is from {results.iso(index.written)}: {START_CONTROLLER}",)


def _noted(controller: ControllerInfo) -> tuple[str, ...]:
    """Return one short line instead of all notes: the controller has printed each in full, and a command does again."""
    count = len(controller.notes)
    if not count:
        return ()
    what = "1 entry of the specs folder is" if count == 1 else f"{count} entries of the specs folder are"
    return (f"{what} not used; to see why: opencode-manager validate {shlex.quote(controller.specs)}",)


def specs_folder(index: Index, settings: Settings) -> Path:
    """Return where specs are written: the folder of the running controller, else our own."""
    return Path(index.controller.specs) if index.running and index.controller else settings.specs


def known(index: Index, settings: Settings) -> list[str]:
    """Return the names of all projects: those that are published, and those that only have a spec file yet."""
    folder = specs_folder(index, settings)
    found = {path.stem for path in folder.glob(f"*{scan.SUFFIX}")} - index.projects.keys()
    return sorted({*index.projects, *(each for each in found if has_spec(folder, each))})


def has_spec(folder: Path, name: str) -> bool:
    """Tell whether there is a spec file of this name, and not one of another tool. An invalid name leads nowhere."""
    if not valid_name(name):
        return False
    try:
        return not ignored.foreign(name, scan.spec_path(folder, name).read_bytes())
    except OSError:
        return False


def unknown(index: Index, settings: Settings, name: str, verb: str) -> str:
    """Return the message for a name that no project has."""
    names = known(index, settings)
    likely = nearest_name(name)
    near = [likely] if likely in names else get_close_matches(likely, names, n=3, cutoff=0.5)
    if not valid_name(name):
        return refused_name(name)
    if near:
        return f"cannot {verb} {name}: there is no such project; did you mean {' or '.join(near)}?"
    if names:
        listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        return f"cannot {verb} {name}: there is no such project; there are {listed}"
    return f"cannot {verb} {name}: there are no projects yet; start one with its git url"


def _warned(result: ProjectResult, warning: str) -> ProjectResult:
    return replace(result, warning="; ".join(filter(None, (result.warning, warning))))
