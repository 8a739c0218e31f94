"""Keep since when what is shown of each project is so, for the next controller: `opencode-controller/since.json`.

The published index has that too, but a controller that has asked no agent yet publishes that it knows nothing: what
was there before would be lost if it were killed then.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.activity import AgentActivity, Doing
from reconciler.core.status import Remembered
from reconciler.settings import UserError
from reconciler.state import published
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.core.status import ProjectStatus
    from reconciler.settings import Home

NAME: Final = "since.json"


class Since:
    """Since when what is shown is so, of all projects. Only the controller makes one, and writes it.

    Args:
        home: where it is kept, and the index for what is not there yet.
    """

    def __init__(self, home: Home) -> None:
        self._path = home.controller / NAME
        self.earlier: Mapping[str, Remembered] = _earlier(home)
        """What an earlier controller has left."""
        self._asked: set[str] = set()
        """Projects of which something was known since: what was left of them is over."""
        self._kept = dict(self.earlier)
        self._dirty = False

    def keep(self, status: ProjectStatus) -> bool:
        """Take down what is shown of a project; return whether there is something to write."""
        name, shown = status.name, AgentActivity(state=status.activity.state, since=status.activity.since)
        before = self._kept.get(name, Remembered())
        needs = {need.id: need.since for need in status.needs}
        if shown.state is not Doing.UNKNOWN:
            self._asked.add(name)
        elif before.activity is not None and before.activity.state is not Doing.UNKNOWN:
            shown = before.activity
        if name not in self._asked:
            needs = {**before.needs, **needs}
        self._kept[name] = Remembered(activity=shown, needs=needs)
        self._dirty = self._dirty or self._kept[name] != before
        return self._dirty

    def forget(self, name: str) -> bool:
        """Drop what is kept by the name of a project that is gone; return whether there is something to write."""
        self._asked.add(name)
        self._dirty = self._kept.pop(name, None) is not None or self._dirty
        return self._dirty

    def flush(self) -> None:
        """Write what has changed. Not durable: after a power cut a time may be a later one. Raises OSError."""
        if self._dirty:
            data = json.dumps({name: _plain(one) for name, one in sorted(self._kept.items())})
            files.replace_file(self._path, data.encode(), durable=False)
            self._dirty = False


def _plain(one: Remembered) -> dict[str, Any]:
    """Return it in the shape of a published status."""
    about = one.activity or AgentActivity()
    needs = [{"id": name, "since": since} for name, since in one.needs.items()]
    return {"activity": {"state": about.state.value, "since": about.since}, "needs": needs}


def _earlier(home: Home) -> dict[str, Remembered]:
    """Return what is kept, and what was published later or of projects that are not there."""
    try:
        projects: Mapping[str, Any] = published.read(home).projects
    except UserError:  # by a newer version
        projects = {}
    found = {name: Remembered.of(status) for name, status in projects.items()}
    for name, data in (files.read_json(home.controller / NAME) or {}).items():
        kept, shown = Remembered.of(data), found.get(name, Remembered())
        later = shown.activity if shown.activity and shown.activity.state is not Doing.UNKNOWN else None
        if later is None or (kept.activity and kept.activity.since >= later.since):
            later = kept.activity or shown.activity
        found[name] = Remembered(activity=later, needs={**shown.needs, **kept.needs})
    return found
