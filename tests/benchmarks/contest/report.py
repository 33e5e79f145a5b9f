"""What a comparison ends with: rows of figures, a Markdown table and a plot of them."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one network at one speed-up.

    Attributes:
        network: its name.
        runtime: that latencies were measured on.
        method: its name.
        asked: the speed-up that was asked for.
        index: of the network in the method's family; None if there is none.
        speedups: measured, in turn with the original and all other networks, minutes apart.
        untrained: accuracy with no training, on the test images, points of 100.
        steps: of finetuning that the minutes allowed.
        learning_rate: of it.
        accuracies: after finetuning, one per seed.
        right: which test images the network of each seed answers rightly, a digit an image.
        note: why figures are missing.
    """

    network: str
    runtime: str
    method: str
    asked: float
    index: int | None = None
    speedups: tuple[float, ...] = ()
    untrained: float | None = None
    steps: int | None = None
    learning_rate: float | None = None
    accuracies: tuple[float, ...] = ()
    note: str = ""
    right: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return f"{self.network} {self.runtime} {self.method} {self.asked:g}x"

    @property
    def speedup(self) -> float | None:
        """The median of those measured."""
        return statistics.median(self.speedups) if self.speedups else None


@dataclass(frozen=True, slots=True)
class Results:
    """All rows by key, and what they were measured on and with.

    Attributes:
        rows: by ``Row.key``.
        conditions: device, runtime and date in words, by runtime.
        settings: of the comparison; only rows of the same settings are in one file.
        minutes: that each network took in all, over all runs that were stopped.
    """

    rows: dict[str, Row]
    conditions: dict[str, str]
    settings: str
    minutes: dict[str, float] = field(default_factory=dict)


def table(results: Results) -> str:
    """The rows in Markdown, under what they were measured with."""
    took = ", ".join(f"{name} {minutes:.0f} min" for name, minutes in results.minutes.items())
    lines = [*results.conditions.values(), "", results.settings, ""]
    lines += [f"Took: {took}", ""] if took else []
    lines += [
        "| network | runtime | method | asked | measured | untrained | finetuned | steps | lr | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in results.rows.values()]
    return "\n".join([*lines, *_beside(results)]) + "\n"


def _beside(results: Results) -> list[str]:
    """Each method less the first one, at the same speed-up, after finetuning."""
    known = [row for row in results.rows.values() if row.right and row.asked > 1]
    first = {(row.network, row.runtime, row.asked): row for row in reversed(known)}
    lines = []
    for row in known:
        base = first[row.network, row.runtime, row.asked]
        if base is not row:
            gained, low, high = paired(row, base)
            interval = f"{low:+.2f} to {high:+.2f}"
            lines.append(f"- {row.key}: {gained:+.2f} points beside {base.method} ({interval})")
    heading = "Less the first method, finetuned; 95 % intervals, paired over the test images:"
    return ["", heading, "", *lines] if lines else []


def paired(row: Row, base: Row, *, draws: int = 10_000) -> tuple[float, float, float]:
    """Points by which one is more accurate than another, and the 95 % interval of that.

    Both answer the same test images, which are resampled, both with the means over their seeds
    (the percentile bootstrap).
    """
    means = [np.array([list(map(int, right)) for right in r.right]).mean(0) for r in (row, base)]
    gained = 100 * (means[0] - means[1])
    random = np.random.default_rng(0)
    drawn = [gained[random.integers(0, len(gained), len(gained))].mean() for _ in range(draws)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(gained.mean()), float(low), float(high)


def _line(row: Row) -> str:
    cells = [
        row.network,
        row.runtime,
        row.method,
        f"{row.asked:g}x",
        "" if row.speedup is None else f"{row.speedup:.2f}x",
        "" if row.untrained is None else f"{row.untrained:.1f} %",
        _mean(row.accuracies),
        "" if row.steps is None else str(row.steps),
        "" if row.learning_rate is None else f"{row.learning_rate:g}",
        row.note,
    ]
    return f"| {' | '.join(cells)} |"


def _mean(accuracies: tuple[float, ...]) -> str:
    if not accuracies:
        return ""
    spread = f" (sd {statistics.stdev(accuracies):.2f})" if len(accuracies) > 1 else ""
    return f"{statistics.mean(accuracies):.2f} %{spread}"


def plot(results: Results, path: Path) -> None:
    """Accuracy over measured speed-up, by network and runtime: untrained, and finetuned."""
    rows = [row for row in results.rows.values() if row.speedup is not None]
    panels = list(dict.fromkeys((row.network, row.runtime) for row in rows))
    if not panels:
        return
    figure = Figure(figsize=(5 * len(panels), 7), layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False)
    methods = list(dict.fromkeys(row.method for row in rows))
    colours = {method: f"C{i}" for i, method in enumerate(methods)}
    for column, panel in enumerate(panels):
        mine = [row for row in rows if (row.network, row.runtime) == panel]
        for method, colour in colours.items():
            points = [row for row in mine if row.method == method]
            _draw(axes[0, column], colour, ((r.speedup, r.untrained) for r in points))
            means = ((r.speedup, statistics.mean(r.accuracies)) for r in points if r.accuracies)
            _draw(axes[1, column], colour, means)
        axes[0, column].set_title(f"{panel[0]}, {panel[1]}")
        axes[1, column].set_xlabel("measured speed-up")
    axes[0, 0].set_ylabel("accuracy with no training, %")
    axes[1, 0].set_ylabel("accuracy after finetuning, %")
    lines = [Line2D([], [], color=colour, marker="o") for colour in colours.values()]
    figure.legend(lines, methods, loc="outside lower center", ncols=4, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw(axes: object, colour: str, points: Iterable[tuple[float | None, float | None]]) -> None:
    known = sorted(point for point in points if None not in point)
    if known:
        axes.plot(*zip(*known, strict=True), marker="o", color=colour)  # type: ignore[attr-defined]
