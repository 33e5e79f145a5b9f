"""The commands that show what runs found: as a page, as plots, on the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from depthopt.cli.options import AsJson, console
from depthopt.core.artefacts import to_json
from depthopt.core.writing import write_text

if TYPE_CHECKING:  # the reader's kin, matplotlib among them, take a second to import
    from depthopt.report.compare import Comparison
    from depthopt.report.reading import RunArtefacts

T = TypeVar("T")


def report(
    run_dir: Annotated[Path, typer.Argument(help="A run's folder, finished or not.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to; RUN_DIR/report by default.", show_default=False),
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Only print the figures; write nothing.")
    ] = False,
) -> None:
    """Show what a run found, and what another budget would give.

    It writes report.html, a single file that opens from disk without a network. If matplotlib is
    installed, it also writes plots as PNG and SVG. The figures are printed too. For a run that is
    not finished, it shows what there is.
    """
    from depthopt.report.reading import read_run  # noqa: PLC0415 - see above

    run = read_run(run_dir)
    _show_run(run)
    if not summary:
        from depthopt.report.written import write_report  # noqa: PLC0415 - see above

        for path in write_report(run, out or run_dir / "report"):
            print(path)


def compare(
    run_dirs: Annotated[list[Path], typer.Argument(help="Folders of two or more runs.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("compare.html"),
    as_json: AsJson = False,
) -> None:
    """Lay several runs side by side on one plot and in one table.

    The runs may differ in method, device or budget. The page names what must not be compared.
    """
    from depthopt.report.compare import compare as compared  # noqa: PLC0415 - see above
    from depthopt.report.page import comparison_page  # noqa: PLC0415 - see above
    from depthopt.report.reading import read_run  # noqa: PLC0415 - see above

    comparison = compared([read_run(folder) for folder in run_dirs])
    write_text(out, comparison_page(comparison))
    if as_json:
        print(to_json(comparison))
        return
    _show_comparison(comparison)
    print(out)


def _show_run(run: "RunArtefacts") -> None:
    from depthopt.report import facts  # noqa: PLC0415 - see above

    _say(f"{run.model}: {facts.headline(run)}")
    if run.result is not None:
        rows = [(row.label, row.original, row.compressed) for row in facts.result_rows(run.result)]
        _table(("", "original", "compressed"), rows)
        for name, said in (*facts.method_rows(run.result), *facts.caution_rows(run.result)):
            _say(f"{name}: {said}")
        _say(facts.prediction_sentence(run.result))
    for validation in run.validations:
        _say(facts.validation_sentence(validation))
    if run.result is not None and not run.validations:
        _say(facts.validation_hint(run))
    _show_frontier(run)
    if run.importance is not None:
        _say(facts.importance_sentence(run.importance))
    if run.training is not None:
        _say(facts.training_sentence(run.training))
    if run.latency is not None:
        measured = facts.condition_rows(run.latency.conditions)
        _say("latencies: " + ", ".join(f"{name} {value}" for name, value in measured))
    _table(("stage", "seconds", "versions"), facts.stage_rows(run))
    for note in run.notes:
        _say(f"missing: {note}")


def _show_frontier(run: "RunArtefacts") -> None:
    from depthopt.report import facts  # noqa: PLC0415 - see above
    from depthopt.report.accuracy import point_text, run_accuracy  # noqa: PLC0415 - see above
    from depthopt.report.explorer import explorer  # noqa: PLC0415 - see above

    if run.frontier is not None:
        points, original = run.frontier.points, run.frontier.original_ms
        known = run_accuracy(run)
        rows = [
            (
                f"{p.latency_ms:.3f}",
                f"{original / p.latency_ms:.2f}x",
                f"{p.cost:.4g}",
                *(() if known is None else (point_text(known, run.frontier, p),)),
            )
            for p in _spread(points, 8)
        ]
        _say(f"{facts.frontier_sentence(run.frontier, run.result)} Some of them:")
        expected = () if known is None else (f"{known.metric.name} to expect",)
        _table(("latency, ms", "speed-up", "cost", *expected), rows)
    if run.trials is not None:
        _table(facts.trial_headings(run), facts.trial_rows(run))
    if run.plan is not None:
        _say(facts.plan_sentence(run.plan, run.chain))
    found = explorer(run)
    if found is not None:
        if found.picked is not None:
            _table(facts.SEGMENT_HEADINGS, facts.segment_rows(found, found.picked))
        text, apart = "MS".join(found.another.parts), "\n" if found.another.in_python else " "
        console.print(f"another plan:{apart}{text}", highlight=False, markup=False, soft_wrap=True)


def _show_comparison(comparison: "Comparison") -> None:
    from depthopt.report.compare import headings, table_row  # noqa: PLC0415 - see above

    _table(headings(comparison), [table_row(run) for run in comparison.runs])
    for warning in comparison.warnings:
        _say(warning)


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many items, evenly over all, the first and last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(text.replace("[", r"\[") for text in row))
    console.print(table)


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False)
