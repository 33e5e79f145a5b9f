"""Draw candidates' costs over where they start and how long they are."""

import math

from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from depthopt.report.figures import literal, svg
from depthopt.tables.importance import ImportanceTable

_LEAST = 1e-4
"""Least cost that is drawn as itself, since the scale is logarithmic."""


def importance_svg(table: ImportanceTable) -> bytes:
    """``importance_figure`` as SVG."""
    return svg(importance_figure(table))


def importance_figure(table: ImportanceTable) -> Figure:
    """A map of an importance table: per segment, its cheapest candidate's cost."""
    cheapest: dict[tuple[int, int], float] = {}
    for candidate, entry in table.entries.items():
        where = candidate.start, candidate.end - candidate.start
        if math.isfinite(entry.cost):
            cheapest[where] = min(entry.cost, cheapest.get(where, math.inf))
    starts = max((start for start, _ in cheapest), default=0) + 1
    longest = max((length for _, length in cheapest), default=1)
    costs = [
        [max(cheapest.get((start, length), math.nan), _LEAST) for start in range(starts)]
        for length in range(1, longest + 1)
    ]
    figure = Figure(figsize=(max(5, starts / 6), max(2.5, longest / 4)), layout="constrained")
    axes = figure.add_subplot(
        xlabel="first block",
        ylabel="blocks",
        title=literal(f"{table.model}: cost by {table.estimator}"),
    )
    scale = LogNorm(vmin=_LEAST, vmax=max(1.0, *cheapest.values(), 0.0))
    drawn = axes.pcolormesh(
        range(starts), range(1, longest + 1), costs, norm=scale, cmap="viridis_r"
    )
    figure.colorbar(drawn, label="cheapest candidate's cost")
    return figure
