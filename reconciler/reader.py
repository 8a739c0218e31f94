"""Looking at what the controller published: for every door, and fast.

Belongs here: finding a project, saying what is near to a name that is not known, how old the news is.
Does not belong here: asking for anything (`client`), or any import that is not needed to look (pydantic, YAML, MCP).
"""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler import published, results
from reconciler.results import START_CONTROLLER, Listing, Result
from reconciler.settings import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.published import Index
    from reconciler.settings import Settings

_SHOWABLE: Final = re.compile(r"[\w.-]{1,80}")


def list_projects(settings: Settings) -> Listing:
    """All projects as published last."""
    index = published.read(settings.home)
    return Listing(
        projects=tuple(results.summary(index.projects[name]) for name in sorted(index.projects)),
        controller_running=index.running,
        warning="; ".join(warnings(index)),
    )


def status(settings: Settings, name: str) -> Result:
    """One project as published last.

    Raises:
        UserError: there is no such project; names the nearest.
    """
    return look(settings, name)[0]


def look(settings: Settings, name: str) -> tuple[Result, Mapping[str, Any] | None, str]:
    """One project as published last, as an answer and as it is published, and what to know before believing it.

    Of a project that nobody has looked at yet nothing is published.

    Raises:
        UserError: there is no such project; names the nearest.
    """
    index = published.read(settings.home)
    stale = "; ".join(warnings(index))
    found = index.projects.get(name)
    if found is None:
        if not spec_path(specs_folder(index, settings), name).is_file():
            raise UserError(unknown(index, settings, name, "show"))
        message = "its spec is there, and the controller has not looked at it yet"
        unseen = Result(project=name, status="in_progress", reason="NotSeenYet", message=message, warning=stale)
        return unseen, None, stale
    return _warned(results.in_full(found), stale), found, stale


def raw_status(settings: Settings, name: str) -> Mapping[str, Any]:
    """The same, as it is published.

    Raises:
        UserError: nothing is published of it.
    """
    index = published.read(settings.home)
    if name in index.projects:
        return index.projects[name]
    if spec_path(specs_folder(index, settings), name).is_file():
        why = "ask again in a moment" if index.running else warnings(index)[0]
        raise UserError(f"cannot show {name} yet: the controller has not looked at its spec; {why}")
    raise UserError(unknown(index, settings, name, "show"))


def warnings(index: Index) -> tuple[str, ...]:
    """What a reader must know before believing the index."""
    if index.running:
        return index.controller.warnings if index.controller else ()
    if index.controller is None:
        return (f"no controller is running, and none has published anything: {START_CONTROLLER}",)
    return (f"no controller is running, and this is from {results.iso(index.written)}: {START_CONTROLLER}",)


def specs_folder(index: Index, settings: Settings) -> Path:
    """Where specs are written: the folder of the running controller, else our own."""
    return Path(index.controller.specs) if index.running and index.controller else settings.specs


def spec_path(folder: Path, name: str) -> Path:
    """The spec file of a project. A name that is none leads nowhere."""
    return folder / (f"{name}.yaml" if _SHOWABLE.fullmatch(name) else ".none")


def unknown(index: Index, settings: Settings, name: str, verb: str) -> str:
    """The sentence for a name that is no project's."""
    names = sorted({*index.projects, *(path.stem for path in specs_folder(index, settings).glob("*.yaml"))})
    shown = name if _SHOWABLE.fullmatch(name) else "this"
    near = get_close_matches(name[:80], names, n=3, cutoff=0.5)
    if near:
        return f"cannot {verb} {shown}: there is no such project; did you mean {' or '.join(near)}?"
    if names:
        listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        return f"cannot {verb} {shown}: there is no such project; there are {listed}"
    return f"cannot {verb} {shown}: there are no projects yet; start one with its git url"


def _warned(result: Result, warning: str) -> Result:
    return replace(result, warning="; ".join(filter(None, (result.warning, warning))))
