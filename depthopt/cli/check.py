"""``depthopt check``: whether a network became slower, larger or less accurate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthopt.cli.options import (
    AsJson,
    BatchOption,
    ThreadsOption,
    console,
    err,
    is_share,
    within,
)
from depthopt.cli.show_check import show_check, show_steps
from depthopt.cli.sides import given, require_sides
from depthopt.core import numbers
from depthopt.core.artefacts import save_json, to_json
from depthopt.core.clipped import printable
from depthopt.core.extras import require_extra
from depthopt.core.shipped import table_file
from depthopt.core.writing import write_bytes, writing
from depthopt.errors import UsageError

if TYPE_CHECKING:
    from depthopt.check.baseline import Baseline
    from depthopt.check.check import CheckReport
    from depthopt.check.figures import Tolerances
    from depthopt.check.judge import Judge
    from depthopt.runtimes.base import Runtime


def check(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="[BASELINE] CURRENT",
            help="ONNX files, saved networks (folders) or engines. With --against or --record "
            "only one.",
            show_default=False,
        ),
    ],
    tolerance: Annotated[
        str,
        typer.Option(
            help="Largest accepted rise of the latency, as 5% or 0.05.", callback=is_share
        ),
    ] = "5%",
    against: Annotated[
        Path | None,
        typer.Option(
            help="Check against a recorded baseline or a latency table, such as one of those that "
            "`depthopt tables list` names.",
            show_default=False,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="Name of the network in a latency table that holds several.", show_default=False
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Measure one network and write a baseline file.", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set to test the metric on, such as digits or folder:PATH.",
            show_default=False,
        ),
    ] = None,
    size_tolerance: Annotated[
        str, typer.Option(help="Largest accepted rise of the file's size.", callback=is_share)
    ] = "5%",
    parameters_tolerance: Annotated[
        str, typer.Option(help="Largest accepted rise of the parameters.", callback=is_share)
    ] = "5%",
    memory_tolerance: Annotated[
        str, typer.Option(help="Largest accepted rise of the peak memory.", callback=is_share)
    ] = "15%",
    task: Annotated[str, typer.Option(help="Task of the networks.")] = "classification",
    metric_tolerance: Annotated[
        float,
        typer.Option(
            help="Largest accepted loss of the task's metric. For accuracy, in percentage points.",
            callback=within(numbers.NonNegative),
        ),
    ] = 0.5,
    runtime: Annotated[str, typer.Option(help="Runtime that runs the networks.")] = "onnxruntime",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[
        str, typer.Option(help="Number format that the runtime computes in.")
    ] = "float32",
    threads: ThreadsOption = 1,
    batch: BatchOption = 1,
    seconds: Annotated[
        float,
        typer.Option(
            help="Longest time of one measurement. A suspected regression is measured twice.",
            callback=within(numbers.Seconds),
        ),
    ] = 15.0,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.", show_default=False)] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            help="Append Markdown to this file.",
            envvar="GITHUB_STEP_SUMMARY",
            show_default=False,
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            help="Append the check to this file, and show the steps in it.", show_default=False
        ),
    ] = None,
    history_plot: Annotated[
        Path | None, typer.Option(help="Draw the history to this file (.svg).", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check whether a network became slower, larger or less accurate than a baseline.

    Both are measured in turn in this process, with the baseline against itself as a control.
    Exit codes: 0 pass, 1 regression, 2 input to correct, 3 inconclusive, with what would
    settle it.
    """
    if history_plot is not None and history is None:
        raise UsageError("--history-plot draws the file that --history names; give both")
    if history_plot is not None:
        require_extra("matplotlib", "--history-plot")
    options = {
        "runtime": (runtime, "onnxruntime"),
        "device": (device, "cpu"),
        "dtype": (dtype, "float32"),
        "threads": (threads, 1),
        "batch": (batch, 1),
        "data": (data, None),
        "task": (task, "classification"),
    }
    against = None if against is None else table_file(against)
    require_sides(models, against, record, network, given(options))
    from depthopt.check.figures import Tolerances  # noqa: PLC0415 - torch takes seconds
    from depthopt.check.history import read  # noqa: PLC0415 - as above
    from depthopt.check.judge import Judge  # noqa: PLC0415 - as above
    from depthopt.check.verdict import EXIT_CODES  # noqa: PLC0415 - as above
    from depthopt.runtimes.registry import get_runtime  # noqa: PLC0415 - as above

    tolerances = Tolerances(
        latency=numbers.fraction(tolerance),
        size=numbers.fraction(size_tolerance),
        parameters=numbers.fraction(parameters_tolerance),
        memory=numbers.fraction(memory_tolerance),
        metric=metric_tolerance,
    )
    chosen = get_runtime(runtime, threads=threads, device=device, dtype=dtype)
    judge = Judge(data, task, chosen) if data else None
    if record is not None:
        refused = against or network or junit or history
        found = _recorded(models, chosen, batch, seconds, judge, refused=refused)
        save_json(found, record)
        line = f"{record}: {found.network.name} takes {found.latency.median_ms:.3f} ms"
        print(to_json(found) if as_json else line)
        return
    if history is not None and history.exists():
        read(history)  # a damaged one is told before a minute of measuring
    report = _checked(models, against, network, chosen, batch, tolerances, seconds, judge)
    print(to_json(report)) if as_json else show_check(console, report)
    _write(report, junit, summary, history, history_plot)
    raise typer.Exit(EXIT_CODES[report.outcome])


def _recorded(
    models: list[Path],
    runtime: "Runtime",
    batch: int,
    seconds: float,
    judge: "Judge | None",
    *,
    refused: Path | str | None,
) -> "Baseline":
    from depthopt.check.recorded import record  # noqa: PLC0415 - torch takes seconds

    if len(models) != 1 or refused:
        raise UsageError(
            "--record measures one network and checks nothing: depthopt check --record FILE MODEL"
        )
    return record(models[0], runtime=runtime, batch=batch, seconds=seconds, judge=judge)


def _checked(
    models: list[Path],
    against: Path | None,
    network: str | None,
    runtime: "Runtime",
    batch: int,
    tolerances: "Tolerances",
    seconds: float,
    judge: "Judge | None",
) -> "CheckReport":
    from depthopt.check.check import check as check_both  # noqa: PLC0415 - torch takes seconds
    from depthopt.check.recorded import check_against  # noqa: PLC0415 - as above

    with err.status("reading") as status:

        def progress(_done: int, _total: int, what: str) -> None:
            status.update(what)

        if against is not None:
            return check_against(
                against,
                models[0],
                runtime=runtime,
                batch=batch,
                network=network,
                tolerances=tolerances,
                seconds=seconds,
                judge=judge,
                progress=progress,
            )
        return check_both(
            models[0],
            models[1],
            runtime=runtime,
            batch=batch,
            tolerances=tolerances,
            seconds=seconds,
            judge=judge,
            progress=progress,
        )


def _write(
    report: "CheckReport",
    junit: Path | None,
    summary: Path | None,
    history: Path | None,
    history_plot: Path | None,
) -> None:
    """Write all files that were asked for, and print the steps in the history."""
    from depthopt.check.formats import junit_xml, markdown  # noqa: PLC0415 - as above
    from depthopt.check.history import append, read, steps  # noqa: PLC0415 - as above

    if junit is not None:
        write_bytes(junit, junit_xml(report))
    if summary is not None:
        with writing(summary):
            summary.parent.mkdir(parents=True, exist_ok=True)
            with summary.open("a", encoding="utf-8") as file:
                file.write(printable(markdown(report)))
    if history is None:
        return
    append(history, report)
    if not history.exists():  # nothing was ever measured
        return
    entries = read(history)
    found = steps(entries)
    show_steps(err, history, entries, found)
    if history_plot is not None:
        from depthopt.report.history import history_svg  # noqa: PLC0415 - matplotlib takes a second

        write_bytes(history_plot, history_svg(entries, found))
