"""Write a report as JUnit XML or as GitHub Markdown."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from depthopt.check.check import CheckReport
from depthopt.check.figures import Figure
from depthopt.check.layers import LayerDifference
from depthopt.check.statistics import Change
from depthopt.check.verdict import Outcome
from depthopt.core.clipped import printable

_PLOT_WIDTH = 61
HEADINGS = ("", "before", "after", "change", "limit", "verdict")
"""Column headings of ``rows``."""

LAYER_HEADINGS = ("layer that moved", "kind", "before", "after", "change")
"""Column headings of ``layer_cells``."""

_MARKS: dict[Outcome, str] = {"pass": "✅", "regression": "❌", "inconclusive": "⚠️"}


def junit_xml(report: CheckReport) -> bytes:
    """The report as JUnit's XML, as Jenkins, GitLab and others read it.

    A regression is a failure, what is inconclusive an error: neither passes.
    """
    cases = [("latency", report.verdict.outcome, report.verdict.reason)]
    cases += [(figure.name, figure.outcome, figure_line(figure)) for figure in report.figures]
    outcomes = [outcome for _, outcome, _ in cases]
    counts = {
        "tests": str(len(cases)),
        "failures": str(outcomes.count("regression")),
        "errors": str(outcomes.count("inconclusive")),
    }
    root = ET.Element("testsuites", {"name": "depthopt check"} | counts)
    head = {"name": report.current.name, "skipped": "0", "timestamp": report.time[:19]}
    suite = ET.SubElement(root, "testsuite", head | counts)
    for name, outcome, reason in cases:
        case = ET.SubElement(suite, "testcase", classname="depthopt.check", name=name)
        if outcome != "pass":
            kind = "failure" if outcome == "regression" else "error"
            ET.SubElement(case, kind, message=reason, type=outcome).text = reason
        else:
            ET.SubElement(case, "system-out").text = reason
    ET.indent(root)
    for element in root.iter():
        element.text = element.text and printable(element.text)
        for name, value in element.items():
            element.set(name, printable(value))
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def markdown(report: CheckReport) -> str:
    """The report as a GitHub step summary."""
    return "\n".join(_markdown(report)) + "\n"


def _markdown(report: CheckReport) -> Iterator[str]:
    yield f"### {_MARKS[report.outcome]} `{report.current.name}`: {report.outcome}"
    yield ""
    yield f"{reason(report)}."
    yield ""
    yield f"Against `{report.baseline.name}`, on {report.conditions.text}."
    yield ""
    yield f"| {' | '.join(HEADINGS)} |"
    yield f"|{'---|' * len(HEADINGS)}"
    for *cells, outcome in rows(report):
        yield f"| {' | '.join(cells)} | {_MARKS[outcome]} {outcome} |"
    if report.latency is not None:
        yield ""
        yield "```text"
        yield from interval_plot(
            {"change": report.latency.change, "control": report.latency.control},
            report.tolerances.latency,
        )
        yield "```"
    if report.layers:
        yield ""
        yield f"| {' | '.join(LAYER_HEADINGS)} |"
        yield f"|{'---|' * len(LAYER_HEADINGS)}"
        for name, *more in map(layer_cells, report.layers):
            escaped = name.replace("|", r"\|")
            yield f"| {' | '.join((f'`{escaped}`', *more))} |"


def interval_plot(changes: dict[str, Change], tolerance: float) -> Iterator[str]:
    """Draw intervals as lines of text on one scale, with 0 and the tolerance marked."""
    ends = [0.0, tolerance, *(end for c in changes.values() for end in (c.low, c.high))]
    low, high = min(ends), max(ends)
    margin = (high - low) / 20
    low, high = low - margin, high + margin

    def column(value: float) -> int:
        return round((value - low) / (high - low) * (_PLOT_WIDTH - 1))

    for name, change in changes.items():
        line = [" "] * _PLOT_WIDTH
        line[column(0.0)], line[column(tolerance)] = "│", "┆"
        for i in range(column(change.low), column(change.high) + 1):
            line[i] = "─"
        line[column(change.low)], line[column(change.high)] = "├", "┤"
        line[column(change.estimate)] = "●"
        yield f"{name:>8} {''.join(line)} {change}"
    scale = [" "] * (_PLOT_WIDTH + 12)
    for value, text in ((0.0, "0"), (tolerance, f"{tolerance:+.1%}")):
        at = column(value)
        scale[at : at + len(text)] = text
    yield f"{'':>8} {''.join(scale).rstrip()}"


def rows(report: CheckReport) -> Iterator[tuple[str, str, str, str, str, Outcome]]:
    """The checked figures, as rows under ``HEADINGS``."""
    if (found := report.latency) is not None:
        yield (
            "latency",
            f"{found.baseline.median_ms:.3f} ms",
            f"{found.current.median_ms:.3f} ms",
            str(found.change),
            f"{report.tolerances.latency:+.1%}",
            report.verdict.outcome,
        )
    for figure in report.figures:
        yield (*figure_cells(figure), _change(figure, figure.limit), figure.outcome)


def figure_cells(figure: Figure) -> tuple[str, str, str, str]:
    """A figure's name, baseline, current value and change, as text."""
    values = (_value(figure.unit, value) for value in (figure.baseline, figure.current))
    return (figure.name, *values, _change(figure, figure.current))  # type: ignore[return-value] # two values


def figure_line(figure: Figure) -> str:
    """A figure in one line."""
    name, baseline, current, change = figure_cells(figure)
    limit = _value(figure.unit, figure.limit)
    way = "down" if figure.limit < figure.baseline else "up"
    return f"{name}: {baseline} to {current}, {change}; accepted {way} to {limit}"


def layer_cells(layer: LayerDifference) -> tuple[str, str, str, str, str]:
    """A changed layer, as cells under ``LAYER_HEADINGS``."""
    before, after = map(_milliseconds, (layer.baseline_ms, layer.current_ms))
    return layer.name, layer.operator, before, after, layer.change


def reason(report: CheckReport) -> str:
    """Why the outcome is what it is, in one line."""
    latency = report.verdict.reason
    regressed = [figure_line(f) for f in report.figures if f.outcome == "regression"]
    if report.verdict.outcome == report.outcome:
        return "; ".join([latency, *regressed])
    return "; ".join([*regressed, f"latency {report.verdict.outcome}: {latency}"])


def _milliseconds(value: float | None) -> str:
    """A layer's time; a dash where there is no such layer."""
    return "-" if value is None else f"{value:.3f} ms"


def _change(figure: Figure, to: float) -> str:
    """From a figure's baseline to another value."""
    if figure.unit == "points":
        return f"{to - figure.baseline:+.2f} points"
    return f"{to / figure.baseline - 1:+.1%}" if figure.baseline else f"{to:+,.4g}"


def _value(unit: str, value: float) -> str:
    if unit == "bytes":
        return f"{value / 1e6:,.2f} MB"
    if unit == "points":
        return f"{value:.2f} %"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
