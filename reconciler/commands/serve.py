"""The command that runs the controller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler import run as controller

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.settings import Settings


def run(settings: Settings, options: Namespace) -> int:
    """Until it is interrupted."""
    return controller.run(settings, standby=options.standby, once=options.once, quiet=options.quiet)
