"""What a controller would do now, computed without one and without doing it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.controller.project import Desired, Project
from reconciler.controller.reconciler import Reconciler
from reconciler.core import missing
from reconciler.core.missing import Missing
from reconciler.core.plan import Hold
from reconciler.core.reasons import Reason
from reconciler.engines.base import Events
from reconciler.settings import UserError
from reconciler.specs import spec_folder, tombstones
from reconciler.specs.tombstones import Tombstones
from reconciler.state import published
from reconciler.state.ledger import Ledgers

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.core.plan import Plan
    from reconciler.core.spec import Spec
    from reconciler.engines.base import Engine
    from reconciler.settings import Settings


class UnknownProjectError(UserError):
    """There is neither a spec file of this name nor anything left of such a project."""

    def __init__(self, name: str) -> None:
        super().__init__(f"cannot find the project {name}")
        self.name = name


async def compute_plans(
    settings: Settings, names: list[str], make_engine: Callable[[Ledgers, Events], Engine]
) -> dict[str, Plan | str]:
    """Plan project by project; a string where a spec is broken.

    Args:
        settings: of the controller.
        names: which projects; all when empty, also those whose spec file is missing.
        make_engine: one that only observes.

    Raises:
        UserError: the specs folder cannot be read.
        UnknownProjectError: there is no such project.
    """
    scan = spec_folder.scan(settings.specs)
    if not scan.readable:
        raise UserError(f"{scan.problem}; name another with --specs")
    ledgers, events = Ledgers(settings.home, dry=True), Events()
    there = scan.files.keys() | scan.unusable.keys()
    lost = _missing(settings, ledgers, there)
    if unknown := [name for name in names if name not in there | lost.keys()]:
        raise UnknownProjectError(unknown[0])
    engine = make_engine(ledgers, events)
    reconciler = Reconciler(engine, ledgers, Tombstones(settings), events, settings)
    plans: dict[str, Plan | str] = {}
    try:
        for name in names or sorted(there | lost.keys()):
            if name in lost:
                desired, hold = lost[name]
                planned = await _plan(reconciler, name, desired)
                plans[name] = replace(planned, hold=hold or planned.hold)
                continue
            match spec_folder.read_now(settings.specs, name):
                case spec_folder.Accepted(spec=found):
                    plans[name] = await _plan(reconciler, name, found)
                case spec_folder.Rejected(foreign=True) if not names and ledgers.get(name) is None:
                    continue  # another tool's file
                case spec_folder.Rejected(message=message):
                    plans[name] = message
    finally:
        await engine.close()
    return plans


async def _plan(reconciler: Reconciler, name: str, spec: Spec) -> Plan:
    return await reconciler.compute_plan(Project(name=name, desired=Desired(spec=spec)), spec)


def _missing(settings: Settings, ledgers: Ledgers, there: set[str]) -> dict[str, tuple[Spec, Hold | None]]:
    """Return what is desired of each project whose spec file is missing, and why it is held back if it is."""
    last, known = {}, {}
    statuses = _published(settings)
    for name in ledgers.names(but=there):
        ledger = ledgers.get(name)
        if ledger is None or (spec := missing.last_accepted(ledger)) is None:
            continue
        last[name] = spec
        known[name] = Missing(
            remembered=True,
            stopped=ledger.vanished,
            confirmed=tombstones.missing_confirmed(settings.home, name),
            held=statuses.get(name) == Reason.SPEC_MISSING,
        )
    verdict = missing.judge(len(there), known)
    lost: dict[str, tuple[Spec, Hold | None]] = {name: (missing.stopped(spec), None) for name, spec in last.items()}
    for name in verdict.hold:
        lost[name] = last[name], Hold(reason=Reason.SPEC_MISSING, message=verdict.why_held(name))
    return lost


def _published(settings: Settings) -> dict[str, str]:
    """Return why each project is stalled, as the running controller says."""
    index = published.read(settings.home)
    return {name: status["stalled"]["reason"] for name, status in index.projects.items() if index.running}
