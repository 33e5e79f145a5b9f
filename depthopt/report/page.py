"""Write one or several runs as a single HTML file that needs neither network nor server."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from depthopt.core.artefacts import to_plain
from depthopt.core.plan import Plan
from depthopt.pipeline.result import Result
from depthopt.report import explored, facts
from depthopt.report.compare import Comparison, headings, table_row
from depthopt.report.explorer import explorer
from depthopt.report.reading import RunArtefacts
from depthopt.tables.importance import ImportanceTable


def report_page(run: RunArtefacts) -> str:
    """The page of one run, finished or not."""
    found = explorer(run)
    data = {
        "explorer": None if found is None else asdict(found),
        "measured": None if run.result is None else _measured(run.result, run.plan),
        "importance": None if run.importance is None else _cheapest(run.importance),
        "training": None if run.training is None else asdict(run.training),
        "validations": [to_plain(validation) for validation in run.validations],
    }
    scripts = ("theme.js", "strip.js", "explorer.js", "plots.js")
    return _render(
        "report.html", scripts, data, run=run, explorer=found, facts=facts, explored=explored
    )


def comparison_page(comparison: Comparison) -> str:
    """The page that lays several runs side by side."""
    scripts = ("theme.js", "compare.js")
    rows = [table_row(run) for run in comparison.runs]
    return _render(
        "compare.html",
        scripts,
        asdict(comparison),
        comparison=comparison,
        headings=headings(comparison),
        rows=rows,
    )


def _measured(result: Result, plan: Plan | None) -> dict[str, Any]:
    return {
        "original": [result.original.latency.median_ms, result.original.metric],
        "untrained": [result.compressed.latency.median_ms, result.untrained_metric],
        "finetuned": [result.compressed.latency.median_ms, result.compressed.metric],
        "metric": asdict(result.metric),
        "predicted_ms": result.predicted_ms,
        "speedup": result.speedup,
        "predicted_speedup": result.predicted_speedup,
        "cost": None if plan is None else plan.cost,
    }


def _cheapest(table: ImportanceTable) -> list[tuple[int, int, float, str]]:
    """(start, end, cost, key) of each segment's cheapest candidate."""
    found: dict[tuple[int, int], tuple[int, int, float, str]] = {}
    for candidate, entry in table.entries.items():
        segment = candidate.start, candidate.end
        if math.isfinite(entry.cost) and (segment not in found or entry.cost < found[segment][2]):
            found[segment] = (*segment, entry.cost, candidate.key)
    return [found[segment] for segment in sorted(found)]


def _render(template: str, scripts: Iterable[str], data: object, **names: object) -> str:
    environment = Environment(
        loader=PackageLoader("depthopt.report", "static"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        data=_json(data),
        style=Markup(_static("report.css")),  # noqa: S704 - a file of this package
        scripts=[Markup(_static(name)) for name in scripts],  # noqa: S704 - as above
        plotly=Markup(_plotly()),  # noqa: S704 - the library's own file
        **names,
    )


def _json(data: object) -> Markup:
    """JSON that no HTML parser takes for markup."""
    text = json.dumps(_drawable(data), allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - no tag can begin in it


def _drawable(data: Any) -> Any:
    """Data with None for numbers that no plot shows, such as the loss of a training that failed."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {name: _drawable(value) for name, value in data.items()}
    return [_drawable(value) for value in data] if isinstance(data, list | tuple) else data


def _static(name: str) -> str:
    return (files("depthopt.report") / "static" / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
