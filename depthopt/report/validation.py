"""Draw predicted against measured speed-ups."""

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from depthopt.report.figures import literal, svg
from depthopt.tables.validation import Validation

BAND = 0.05
"""The shaded band: predictions within this fraction of the measurement."""


def validation_svg(*validations: Validation) -> bytes:
    """``validation_figure`` as SVG."""
    return svg(validation_figure(*validations))


def validation_figure(*validations: Validation) -> Figure:
    """A scatter plot of the plans of one or several validations."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot(
        xlabel="measured speed-up", ylabel="predicted speed-up", xscale="log", yscale="log"
    )
    speedups = [1.0]
    for validation in validations:
        measured = [timing.measured_speedup for timing in validation.timings]
        predicted = [timing.predicted_speedup for timing in validation.timings]
        speedups += [*measured, *predicted]
        where = validation.conditions
        error = f"{100 * validation.median_error:.1f} % median"
        label = f"{validation.network}, {where.runtime}: {error}"
        axes.scatter(measured, predicted, s=22, alpha=0.8, label=literal(label))
    ends = min(speedups) * 0.95, max(speedups) * 1.05
    axes.plot(ends, ends, color="#555555", linewidth=0.8)
    lower, upper = ([end * factor for end in ends] for factor in (1 - BAND, 1 + BAND))
    axes.fill_between(ends, lower, upper, color="#555555", alpha=0.15, linewidth=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter() if ends[1] > 8 * ends[0] else ScalarFormatter())
    axes.legend(loc="upper left", fontsize="small")
    return figure
