"""The benchmark: ours beside a bare loop, supervisord, circus and pm2, in one run, on the same light service.

    python -m tests.bench [--quick] [--json FILE] [-n 1,10,100] [--only ROW]

It parses the arguments, sets the order of everything, and leaves its folder empty.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.bench import install, machine, report, rows, special, table
from tests.bench.contender import BareLoop, Contender, Stage
from tests.bench.machine import Service, Starts
from tests.bench.ours import Ours
from tests.bench.supervisors import Circus, Pm2, Supervisord
from tests.bench.table import Effort, Figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.install import Installed

CONTENDERS: tuple[type[Contender], ...] = (BareLoop, Supervisord, Circus, Pm2, Ours)


ANOTHER_FAILED: Final = 75
"""Exit code when a supervisor that is not ours failed (EX_TEMPFAIL): beside the other tests it may miss its time."""


class AnotherFailedError(Exception):
    """A supervisor that is not ours did not do what is measured."""


@contextlib.contextmanager
def blamed_on(contender: Contender) -> Iterator[None]:
    """Name the contender in whatever goes wrong with it, unless it is ours."""
    try:
        yield
    except Exception as error:
        if isinstance(contender, Ours):
            raise
        raise AnotherFailedError(f"{contender.name} failed: {error}") from error


class Bench:
    """One run."""

    def __init__(self, root: Path, installed: Installed, ports: range, figures: Figures) -> None:
        self._root = root
        self._installed = installed
        self._ports = ports
        self._figures = figures
        self._effort = figures.effort
        self._light, self.service = machine.build_light(root)
        self._starts = Starts(root / "starts")

    def measure(self) -> None:
        """Everything that is asked for."""
        wants = self._figures.wants
        for count in self._effort.counts:
            self._lives(count)
        if wants(table.ADOPTED, table.COPIES, table.FAILED, table.MANAGED, table.MANAGED_ALL):
            for kind in CONTENDERS[1:]:
                contender = self._made(kind, self._effort.killed, "killed")
                with blamed_on(contender):
                    rows.killed(contender, self._figures)
                machine.end_all(self._root)
        if wants(table.RESYNC):
            ours = self._made(Ours, 1, "resync")
            assert isinstance(ours, Ours)
            special.resync(ours, self._figures)
        if wants(table.READY):
            self._ready()

    def _lives(self, count: int) -> None:
        compared = [row for row in table.ROWS if not row.key.startswith(("killed", "resync", "ready"))]
        if not self._figures.wants(*compared):
            return
        contenders = [self._made(kind, count, "life") for kind in CONTENDERS]
        for number in range(self._effort.rounds):
            for contender in contenders:
                say(f"N = {count}, round {number + 1} of {self._effort.rounds}: {contender.name}")
                with blamed_on(contender):
                    rows.life(contender, self._figures, first=number == 0)
                machine.end_all(self._root)  # nothing should be left; if it is, it must not disturb the next one

    def _ready(self) -> None:
        say("readiness of the real OpenCode")
        special.ready(self._root / "ready", special.opencode(self._installed.cache), self._ports, self._figures)

    def _made(self, kind: type[Contender], count: int, what: str) -> Contender:
        """A contender that is ready to be measured."""
        say(f"N = {count}: preparing {kind.name}")
        root = self._root / f"{what}-{count}-{kind.__name__.lower()}"
        root.mkdir()
        ports = self._ports
        services = tuple(Service(f"service-{number}", ports[number]) for number in range(count))
        extra = Service("extra", ports[count + 1])
        contender = kind(Stage(root, self._light, self._installed, self._starts, services, extra))
        contender.prepare()
        return contender

    def close(self) -> None:
        """Leave nothing."""
        machine.end_all(self._root)
        self._starts.close()


def say(text: str) -> None:
    """Progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)  # noqa: T201  a program's output


def run(effort: Effort, *, only: str = "") -> tuple[Figures, dict[str, Any]]:
    """Measure; the figures, and what they were measured with."""
    figures, installed, began = Figures(effort, only), install.install(), time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="ocm-bench-"))
    with machine.reserve_ports() as ports:
        bench = Bench(root, installed, ports, figures)
        try:
            bench.measure()
        finally:
            bench.close()
            shutil.rmtree(root)
    about = {
        "service": bench.service,
        "machine": f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {version}" for name, version in installed.versions().items()),
        "rounds": effort.rounds,
        "took": f"{time.monotonic() - began:.0f} s",
    }
    return figures, about


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="ours beside other supervisors")
    parser.add_argument("--quick", action="store_true", help="small N and one round, for CI: below a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("-n", metavar="1,10,100", help="how many services")
    parser.add_argument("--only", metavar="ROW", default="", help="rows whose key begins so, as in the JSON")
    options = parser.parse_args(arguments)
    effort = table.QUICK if options.quick else Effort()
    if options.n:
        effort = replace(effort, counts=tuple(sorted(int(each) for each in options.n.split(","))))
    try:
        figures, about = run(effort, only=options.only)
    except AnotherFailedError as error:
        say(str(error))
        return ANOTHER_FAILED
    print(report.text(figures, about))  # noqa: T201  a program's output
    if options.json:
        options.json.write_text(json.dumps(report.document(figures, about), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
