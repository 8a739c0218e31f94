"""Show the figures as an aligned table and as JSON: medians, ratios, whether a wanted figure is met."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tests.bench import table

if TYPE_CHECKING:
    from tests.bench.table import Figures, Row

_DASH = "-"


def lines(figures: Figures) -> list[dict[str, Any]]:
    """One object a line of the table, in its order."""
    found = []
    for row in table.ROWS:
        for each, count in sorted(figures.found, key=lambda key: -key[1]):
            if each == row:
                found.append(_line(row, count, figures.found[row, count]))
    return found


def _line(row: Row, count: int, samples: dict[str, list[float]]) -> dict[str, Any]:
    medians = {name: statistics.median(values) for name, values in samples.items()}
    base, ours, want = medians.get(table.BASE), medians.get("ours"), row.wanted(count)
    met = None
    if want is not None and ours is not None:
        met = ours >= min(want, count) if row.least else ours <= want
    return {
        "row": row.key,
        "title": row.title,
        "n": count,
        "unit": row.unit,
        "want": want,
        "met": met,
        "median": medians,
        "ratio": {name: value / base for name, value in medians.items() if base},
        "samples": samples,
    }


def document(figures: Figures, about: dict[str, Any]) -> dict[str, Any]:
    """Everything, for programs."""
    return {**about, "effort": asdict(figures.effort), "notes": figures.notes, "rows": lines(figures)}


def text(figures: Figures, about: dict[str, Any]) -> str:
    """The table, for people."""
    header = ["ROW", "N", "UNIT", *(name.upper() for name in table.CONTENDERS), "WANT", ""]
    cells = [header, *(_cells(line) for line in lines(figures))]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    shown = [
        "  ".join(
            cell.ljust(width) if column in {0, 2} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    said = [f"{key}: {value}" for key, value in about.items()]
    return "\n".join([*said, *figures.notes, "", *shown, "", "In brackets: times the bare loop. Medians."])


def _cells(line: dict[str, Any]) -> list[str]:
    figures = [_cell(line["median"].get(name), line["ratio"].get(name), name) for name in table.CONTENDERS]
    want = _DASH if line["want"] is None else _number(line["want"])
    met = {None: "", True: "met", False: "NOT MET"}[line["met"]]
    return [line["title"], str(line["n"]), line["unit"], *figures, want, met]


def _cell(value: float | None, ratio: float | None, name: str) -> str:
    if value is None:
        return _DASH
    return _number(value) if ratio is None or name == table.BASE else f"{_number(value)} ({_number(ratio)}x)"


def _number(value: float) -> str:
    if value == int(value):
        return f"{value:.0f}"
    digits = 3 if value < 0.1 else 2 if value < 1 else 1 if value < 20 else 0
    return f"{value:.{digits}f}"
