"""Every action that there is has its step in one of the local engine's tables, and no step is another's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from reconciler.core import actions
from reconciler.engines.base import Events
from reconciler.engines.local import actions as local_actions
from reconciler.engines.local.act import Actor
from reconciler.engines.local.services import Serving
from reconciler.state.ledger import Ledgers
from tests.support.fakecontroller import make_settings

if TYPE_CHECKING:
    from pathlib import Path


async def test_every_action_has_one_step(tmp_path: Path) -> None:
    """But to remove a spec, which is the controller's."""
    settings = make_settings(tmp_path)
    others: Any = SimpleNamespace()  # have nothing to do with it
    serving = Serving(settings, Events(), others, others, others)
    actor = Actor(settings, Ledgers(settings.home), Events(), others, others, serving)
    steps = [*actor._files, *actor._steps, *serving.steps]
    known = {
        kind
        for module in (actions, local_actions)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, actions.Action) and kind is not actions.Action
    }

    assert len(steps) == len(set(steps))
    assert set(steps) == known - {actions.RemoveSpec}
