"""Draw a network's latency over commits."""

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from depthopt.report.figures import svg

if TYPE_CHECKING:  # torch takes seconds to import, and reports need none of it
    from depthopt.check.history import Entry, Step

_COLOURS = {"pass": "#2166ac", "regression": "#b2182b", "inconclusive": "#777777"}


def history_svg(entries: "tuple[Entry, ...]", steps: "tuple[Step, ...]") -> bytes:
    """An SVG of latency divided by the baseline's, check by check, with the steps found."""
    figure = Figure(figsize=(max(6, len(entries) / 5), 4), layout="constrained")
    axes = figure.add_subplot(
        xlabel="commit", ylabel="latency over the baseline's", title="latency over commits"
    )
    for outcome, colour in _COLOURS.items():
        where = [i for i, entry in enumerate(entries) if entry.outcome == outcome]
        if where:
            ratios = [entries[i].ratio for i in where]
            axes.scatter(where, ratios, s=18, color=colour, label=outcome)
    starts = [0, *(step.index for step in steps)]
    ends = [*(step.index for step in steps), len(entries)]
    levels = [steps[0].before, *(step.after for step in steps)] if steps else []
    for start, end, level in zip(starts, ends, levels, strict=bool(steps)):
        axes.hlines(level, start - 0.5, end - 0.5, color="#333333", linewidth=1)
    for step in steps:
        axes.annotate(
            f"{step.change:+.1%} at {entries[step.index].commit[:8]}",
            (step.index, step.after),
            textcoords="offset points",
            xytext=(4, 8),
            fontsize=8,
        )
    marks = range(0, len(entries), max(1, len(entries) // 20))
    labels = [entries[i].commit[:8] for i in marks]
    axes.set_xticks(list(marks), labels, rotation=60, fontsize=7, ha="right")
    axes.axhline(1.0, color="#555555", linewidth=0.8, linestyle="dashed")
    axes.legend(fontsize="small")
    return svg(figure)
