"""Measure what every contender can do.

Each measurement is one short function, within the life of a contender: from nothing, through everything, to nothing.
What only ours can do is in `special`.

Times are from the instant before the cause to the instant that the light service itself took when it started, or that
the kernel said it had ended.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Final

from tests.bench import machine, table
from tests.bench.ours import Ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.contender import Contender
    from tests.bench.table import Effort, Figures, Row

    Measure = Callable[[Contender, Effort], Iterator[float]]


def life(contender: Contender, figures: Figures, *, first: bool) -> None:
    """One round of one contender."""
    name, count = contender.name, len(contender.stage.services)
    figures.add(table.CONVERGE, count, name, converge(contender))
    contender.rest()
    if first and count == max(figures.effort.counts):
        idle(contender, figures)
    for row, measure in _STEPS:
        if figures.wants(row):
            figures.add(row, count, name, *measure(contender, figures.effort))
    contender.rest()
    figures.add(table.STOP, count, name, stop(contender, contender.stop_all))
    contender.end()
    if isinstance(contender, Ours) and figures.wants(table.STOP_TOOL):
        converge(contender)
        contender.rest()
        figures.add(table.STOP_TOOL, count, name, stop(contender, contender.stop_all_by_tool))
        contender.end()


def since(began: int, ended: int) -> float:
    """Milliseconds."""
    return (ended - began) / 1e6


def converge(contender: Contender) -> float:
    """From nothing to the start of the last service."""
    contender.began = began = time.monotonic_ns()
    contender.start()
    try:
        started = contender.stage.starts.wait(contender.stage.services, began)
    except TimeoutError as error:
        said = "".join(path.read_text(errors="replace")[-2000:] for path in contender.stage.root.glob("*.out"))
        raise TimeoutError(f"{contender.name}: {error}; it says: {said}") from None
    return since(began, max(start.at for start in started.values()))


def stop(contender: Contender, how: Callable[[], None]) -> float:
    """From the request to the end of the last service."""
    ends = machine.Ends(contender.light_pids())
    began = time.monotonic_ns()
    how()
    return since(began, ends.wait())


def idle(contender: Contender, figures: Figures) -> None:
    """Nothing happens for a while. Ours probes unless its controller is exchanged for one that does not."""
    count, seconds = len(contender.stage.services), figures.effort.idle
    if isinstance(contender, Ours) and figures.wants(table.IDLE, table.PROBES):
        figures.add(table.PROBES, count, contender.name, 60 * _used(contender, seconds) / seconds)
        contender.exchange_controller(probes=False)
    if figures.wants(table.IDLE) and contender.roots():
        figures.add(table.IDLE, count, contender.name, 60 * _used(contender, seconds) / seconds)
    if isinstance(contender, Ours) and figures.wants(table.IDLE, table.PROBES):
        contender.exchange_controller(probes=True)


def _used(contender: Contender, seconds: float) -> float:
    contender.stage.starts.listen_for(1.0)  # what it had to do is done
    pids = contender.pids()
    before = machine.cpu(pids)
    contender.stage.starts.listen_for(seconds)
    return machine.cpu(pids) - before


def _status(contender: Contender, effort: Effort) -> Iterator[float]:
    command = contender.status_command()
    for _ in range(effort.statuses):
        began = time.monotonic_ns()
        subprocess.run(command, env=contender.environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        yield since(began, time.monotonic_ns())


def _ask(contender: Contender, effort: Effort) -> Iterator[float]:
    if asked := contender.ask(effort.asks):
        yield from asked.milliseconds


def _memory(contender: Contender, _effort: Effort) -> Iterator[float]:
    if pids := contender.pids():
        yield machine.memory(pids)


def _alone(contender: Contender, _effort: Effort) -> Iterator[float]:
    if pids := contender.supervisor():
        yield machine.memory(pids)


def _kill(contender: Contender, effort: Effort) -> Iterator[float]:
    """Each service once in its whole life, so that it is its first restart; of ours always agents."""
    fresh = [service for service in contender.stage.services[::2] if service not in contender.killed]
    for service in fresh[: effort.kills]:
        contender.killed.add(service)
        contender.rest()
        began = time.monotonic_ns()
        contender.kill(service)
        yield since(began, contender.stage.starts.wait([service], began)[service.port].at)


def _add_by_hand(contender: Contender, effort: Effort) -> Iterator[float]:
    return _add(contender, effort, contender.add_by_hand)


def _add_by_tool(contender: Contender, effort: Effort) -> Iterator[float]:
    return _add(contender, effort, contender.add_by_tool)


def _add_by_mcp(contender: Contender, effort: Effort) -> Iterator[float]:
    if isinstance(contender, Ours):
        with contender.chat() as start:
            yield from _add(contender, effort, start)


def _add(contender: Contender, effort: Effort, how: Callable[[], None]) -> Iterator[float]:
    extra = contender.stage.extra
    for _ in range(effort.adds):
        began = time.monotonic_ns()
        how()
        yield since(began, contender.stage.starts.wait([extra], began)[extra.port].at)
        contender.remove()


_STEPS: Final[tuple[tuple[Row, Measure], ...]] = (
    (table.MEMORY, _memory),
    (table.ALONE, _alone),
    (table.STATUS, _status),
    (table.ASK, _ask),
    (table.HAND, _add_by_hand),
    (table.TOOL, _add_by_tool),
    (table.MCP, _add_by_mcp),
    (table.KILL, _kill),
)


# -- the supervisor is killed ------------------------------------------------------------------------------------------


def killed(contender: Contender, figures: Figures) -> None:
    """Kill -9 the supervisor, start it again, and see what becomes of the services, which all live on."""
    name, services = contender.name, contender.stage.services
    converge(contender)
    contender.rest()
    before = {service.name: contender.stage.starts.pid(service) for service in services}
    contender.kill_supervisor()
    again = time.monotonic_ns()
    contender.start()
    managed = contender.managed_after()
    contender.stage.starts.listen_for(figures.effort.window)
    asked = contender.ask(1)
    adopted = [service for service, pid in (asked.pids if asked else {}).items() if before.get(service) == pid]
    more = contender.stage.starts.since(again)
    copies = [start for start in more if machine.lives(start.pid)]
    figures.add(table.ADOPTED, len(services), name, len(adopted))
    figures.add(table.COPIES, len(services), name, len(copies))
    figures.add(table.FAILED, len(services), name, len(more) - len(copies))
    if managed:
        figures.add(table.MANAGED, len(services), name, managed.after_start_up)
        figures.add(table.MANAGED_ALL, len(services), name, managed.after_exec)
