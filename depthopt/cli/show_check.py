"""Checks as tables for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from depthopt.core.counted import counted

if TYPE_CHECKING:
    from depthopt.check.check import CheckReport
    from depthopt.check.history import Entry, Step

_STYLES = {"pass": "green", "regression": "bold red", "inconclusive": "yellow"}


def show_check(console: Console, report: "CheckReport") -> None:
    """Print what a check found."""
    from depthopt.check.formats import (  # noqa: PLC0415 - torch is behind it
        HEADINGS,
        LAYER_HEADINGS,
        interval_plot,
        layer_cells,
        reason,
        rows,
    )

    table = Table(*HEADINGS, title=_title(report))
    for *cells, outcome in rows(report):
        table.add_row(*cells, _outcome(outcome))
    if table.rows:
        console.print(table)
    found = report.latency
    if found is not None:
        changes = {"change": found.change, "control": found.control}
        for line in interval_plot(changes, report.tolerances.latency):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        console.print(_how(report), highlight=False, soft_wrap=True)
    if report.layers:
        layers = Table(*LAYER_HEADINGS)
        for layer in report.layers:
            name, *more = layer_cells(layer)
            layers.add_row(escape(name), *more)
        console.print(layers)
    style = _STYLES[report.outcome]
    console.print(f"[{style}]{report.outcome}[/]: ", end="")
    console.print(reason(report), highlight=False, markup=False, soft_wrap=True)


def show_steps(
    console: Console, path: Path, entries: "Sequence[Entry]", steps: "Sequence[Step]"
) -> None:
    """Print the steps in a history."""
    console.print(f"{path}: checks of this baseline: {len(entries)}", highlight=False)
    for step in steps:
        entry = entries[step.index]
        where = f"{entry.commit[:12]} ({entry.time})"
        console.print(f"step of {step.change:+.1%} at {where}", highlight=False)


def _title(report: "CheckReport") -> str:
    names = f"{report.current.name} against {report.baseline.name}"
    return f"{escape(names)}: {escape(report.conditions.text)}"


def _how(report: "CheckReport") -> str:
    found = report.latency
    if found is None:
        return ""
    times = "twice" if found.measured > 1 else "once"
    text = ", ".join(
        (
            counted(found.pairs, "pair"),
            counted(found.sessions, "session"),
            f"measured {times}",
            f"by {found.clock}",
        )
    )
    if found.by_the_clock is not None and found.clock != "wall":
        text += f" time; by the clock {found.by_the_clock}"
    if found.busy is not None and found.busy < 0.9:
        text += f"; other processes took {1 - found.busy:.0%} of the time"
    return text


def _outcome(outcome: str) -> str:
    return f"[{_STYLES[outcome]}]{outcome}[/]"
