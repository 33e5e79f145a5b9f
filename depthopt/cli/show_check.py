"""Checks as tables for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from depthopt.check.check import CheckReport
    from depthopt.check.history import Entry, Step

_STYLES = {"pass": "green", "regression": "bold red", "inconclusive": "yellow"}


def show_check(console: Console, report: "CheckReport") -> None:
    """Print what a check found."""
    from depthopt.check.formats import (  # noqa: PLC0415 - torch is behind it
        figure_cells,
        interval_plot,
        milliseconds,
        reason,
    )

    table = Table("", "baseline", "current", "change", "", title=_title(report))
    found = report.latency
    if found is not None:
        times = [f"{side.median_ms:.3f} ms" for side in (found.baseline, found.current)]
        table.add_row("latency", *times, str(found.change), _outcome(report.verdict.outcome))
    for figure in report.figures:
        table.add_row(*figure_cells(figure), _outcome(figure.outcome))
    if table.rows:
        console.print(table)
    if found is not None:
        changes = {"change": found.change, "control": found.control}
        for line in interval_plot(changes, report.tolerances.latency):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        console.print(_how(report), highlight=False, soft_wrap=True)
    if report.layers:
        layers = Table("layer that moved", "kind", "baseline", "current")
        for layer in report.layers:
            both = map(milliseconds, (layer.baseline_ms, layer.current_ms))
            layers.add_row(layer.name, layer.operator, *both)
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
    where = report.conditions
    return (
        f"{report.current.name} against {report.baseline.name}: {where.device}, {where.runtime} "
        f"{where.runtime_version}, {where.dtype}, batch {where.batch}, {where.threads or 0} threads"
    )


def _how(report: "CheckReport") -> str:
    found = report.latency
    if found is None:
        return ""
    times = "twice" if found.measured > 1 else "once"
    text = f"{found.pairs} pairs, {found.sessions} sessions, measured {times}, by {found.clock}"
    if found.by_the_clock is not None and found.clock != "wall":
        text += f" time; by the clock {found.by_the_clock}"
    if found.busy is not None and found.busy < 0.9:
        text += f"; other processes took {1 - found.busy:.0%} of the time"
    return text


def _outcome(outcome: str) -> str:
    return f"[{_STYLES[outcome]}]{outcome}[/]"
