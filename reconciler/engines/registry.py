"""Make engines by name. An engine is loaded when it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from reconciler.engines import DEFAULT, ENGINES

if TYPE_CHECKING:
    from reconciler.engines.base import Engine, EngineAccess, Events
    from reconciler.settings import Settings
    from reconciler.state.ledger import Ledgers


def prepare(name: str = DEFAULT) -> None:
    """Begin what an engine takes long for, before it and the controller's libraries are loaded."""
    importlib.import_module(f"{ENGINES[name]}.prepare").prepare()


def load(name: str = DEFAULT) -> None:
    """Import an engine, which takes a tenth of a second: before an event loop, which it would keep busy."""
    importlib.import_module(f"{ENGINES[name]}.engine")


def create(settings: Settings, ledgers: Ledgers, events: Events, *, name: str = DEFAULT, dry: bool = False) -> Engine:
    """Return a new engine. Called inside a running event loop.

    Args:
        settings: of this controller.
        ledgers: what is remembered of each project.
        events: who hears what happens.
        name: of the engine.
        dry: only observe.
    """
    engine: Engine = importlib.import_module(f"{ENGINES[name]}.engine").create(settings, ledgers, events, dry=dry)
    return engine


def access(settings: Settings, name: str = DEFAULT) -> EngineAccess:
    """Return what frontends may ask of an engine."""
    found: EngineAccess = importlib.import_module(f"{ENGINES[name]}.access").create(settings)
    return found
