"""The papers' methods as plain settings, beside the default: one network, one speed-up, one table.

Each method is a recipe, carried out by ``run`` up to the network with no training; all networks
are timed in turn with the original, and finetuned for the same minutes, turned into steps by
their own speeds, each as its recipe says. Plans are picked when measured, so that all are as fast
as asked; ``--by-table`` picks the papers' as the papers do. Where the papers' importance is
reduced, the table says so. What is done is kept in the run's folder, where the same command goes
on.

    python tests/benchmarks/papers.py data.root=FOLDER
    python tests/benchmarks/papers.py --recipe quickstart importance.train_images=64 --minutes 0.1
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

from contest.family import ORIGINAL, Stopwatch
from contest.race import Contestant, Pace, race
from contest.report import Results, Row, table
from rich.console import Console
from torch import nn

from depthopt.core import digests
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.writing import write_bytes
from depthopt.errors import DepthoptError, UsageError
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.recipe import Recipe, load_recipe
from depthopt.pipeline.run import run
from depthopt.tasks.evaluate import evaluate
from depthopt.workflow.progress import ConsoleReporter

METHODS = ("depthopt", "layermerge", "depth")

OF_FASHION = {
    "depthopt": "mobilenetv2_100_fashion_onnxruntime",
    "layermerge": "mobilenetv2_100_fashion_layermerge",
    "depth": "mobilenetv2_100_fashion_depth",
}
"""The recipe of each method where none is named."""

TIMINGS = 2
"""How often all networks are timed in turn."""


def overrides_of(method: str, options: argparse.Namespace) -> list[str]:
    """What a method's recipe is given, behind its own keys.

    Overrides of ``importance`` are the papers' alone: the default has other images to regress on.
    """
    named = [] if options.recipe is None else [f"method={method}"]
    asked = [f"budget.speedup={options.speedup:g}", *named]
    if not options.by_table:
        asked.append("pick=measured")
    of_papers = [o for o in options.overrides if o.startswith(("importance.", "solver."))]
    others = [o for o in options.overrides if o not in of_papers]
    return [*asked, *others, *(of_papers if method != METHODS[0] else [])]


def recipe_of(method: str, options: argparse.Namespace) -> Recipe:
    """The recipe of a method."""
    return load_recipe(Path(options.recipe or OF_FASHION[method]), overrides_of(method, options))


def carried_out(method: str, options: argparse.Namespace, reporter: ConsoleReporter) -> Context:
    """The run of a method up to the network with no training."""
    folder, first = options.run_dir / method, options.run_dir / METHODS[0]
    begun, other = ((f / "manifest.json").exists() for f in (folder, first))
    taken = first if other and not begun else None
    return run(
        recipe_of(method, options), folder, until="apply", reporter=reporter, start_from=taken
    )


def described(context: Context) -> str:
    """What a method did, in words: its prediction, candidates and importance."""
    importance = context.importance
    seconds = context.folder.manifest.stages["estimate"].seconds
    took = "" if seconds is None else f" in {seconds / 60:.0f} min"
    protocol = importance.protocol or importance.estimator
    return (
        f"{context.plan.speedup:.2f}x predicted; {len(importance.entries)} of "
        f"{len(context.candidates)} candidates scored{took}; {protocol}"
    )


def accuracy(context: Context, network: nn.Module) -> float:
    return evaluate(network, context.data.test.batches(BATCH)).metric


def row_of(method: str, context: Context, network: nn.Module, options: argparse.Namespace) -> Row:
    """A method's row, before any training."""
    asked, note = (1.0, "") if method == ORIGINAL else (options.speedup, described(context))
    return Row(
        context.recipe.model.name,
        context.recipe.latency.runtime,
        method,
        asked,
        index=0,
        untrained=accuracy(context, network),
        note=note,
    )


def main() -> None:
    options = parsed()
    contexts, failed = all_carried_out(options)
    first = next(iter(contexts.values()))
    networks = {ORIGINAL: first.teacher}
    networks |= {method: context.network("applied") for method, context in contexts.items()}
    of = {ORIGINAL: first} | contexts
    path = options.run_dir / "papers.json"
    results = results_of(path, options)
    rows = {
        name: gone_on_with(results, row_of(name, of[name], network, options))
        for name, network in networks.items()
    }
    timed(rows, networks, first, options.seconds)
    keep(results, rows, path)
    finetuned(rows, networks, of, options)
    conditions = first.runtime.conditions(first.recipe.latency.batch)
    results.conditions[conditions.runtime] = (
        f"{conditions.device}, {conditions.runtime} {conditions.runtime_version}, "
        f"{conditions.threads} thread, batch {conditions.batch}, {conditions.dtype}; "
        f"finetuned on {os.cpu_count()} cores; {time.strftime('%Y-%m-%d')}"
    )
    keep(results, rows | failed, path)
    write_bytes(options.run_dir / "papers.md", table(results).encode())
    print(table(results))


def all_carried_out(options: argparse.Namespace) -> tuple[dict[str, Context], dict[str, Row]]:
    """The runs by method, and the rows of those that got to no network.

    Raises:
        UsageError: none got to one.
    """
    contexts: dict[str, Context] = {}
    failed: dict[str, Row] = {}
    with ConsoleReporter(Console()) as reporter:
        for method in options.methods:
            try:
                contexts[method] = carried_out(method, options, reporter)
            except DepthoptError as error:
                recipe = recipe_of(method, options)
                network, runtime = recipe.model.name, recipe.latency.runtime
                note = f"failed: {error}"
                failed[method] = Row(network, runtime, method, options.speedup, note=note)
                print(f"{method} {note}", flush=True)
    if not contexts:
        raise UsageError("no method got as far as a network; see above")
    return contexts, failed


def gone_on_with(results: Results, row: Row) -> Row:
    """A row as it is known, if it is known of the same network."""
    known = results.rows.get(row.key, row)
    begun = replace(known, speedups=(), steps=None, learning_rate=None, accuracies=())
    return known if begun == row else row


def results_of(path: Path, options: argparse.Namespace) -> Results:
    """The results to go on with.

    Raises:
        UsageError: they are of other settings.
    """
    picked = "the papers' plans picked by table" if options.by_table else "all plans measured"
    words = ", ".join(
        [f"{options.minutes:g} minutes of finetuning each", picked, *options.overrides]
    )
    if not path.exists():
        return Results({}, {}, words)
    results = load_json(Results, path)
    if results.settings != words:
        raise UsageError(
            f"{path} holds results of {results.settings!r}, expected {words!r}; give another "
            "--run-dir"
        )
    return results


def keep(results: Results, rows: dict[str, Row], path: Path) -> None:
    """Store the rows."""
    results.rows.update({row.key: row for row in rows.values()})
    save_json(results, path)


def timed(
    rows: dict[str, Row], networks: dict[str, nn.Module], context: Context, seconds: float
) -> None:
    """Time all networks in turn, until each has been timed some times; the original is 1x."""
    stopwatch = Stopwatch(context, seconds)
    rows[ORIGINAL] = replace(rows[ORIGINAL], speedups=(1.0,))
    others = {name: network for name, network in networks.items() if name != ORIGINAL}
    while any(len(rows[name].speedups) < TIMINGS for name in others):
        measured = stopwatch.speedups({n: lambda of=network: of for n, network in others.items()})
        for name, speedup in measured.items():
            rows[name] = replace(rows[name], speedups=(*rows[name].speedups, speedup))


def finetuned(
    rows: dict[str, Row],
    networks: dict[str, nn.Module],
    contexts: dict[str, Context],
    options: argparse.Namespace,
) -> None:
    """Finetune all for the same minutes, each as its own recipe says."""
    if options.minutes == 0:
        return
    contestants = {}
    for name, network in networks.items():
        context = contexts[name]
        config = context.train_config(context.recipe.finetune)
        told = f"{rows[name].key}, {rows[name].untrained:.1f} % untrained"
        plan = "" if name == ORIGINAL else digests.of_file(context.path("plan.json"))[:8]
        contestants[name] = Contestant(f"{name} {plan}", told, network, config=config)
    first = contexts[ORIGINAL]
    outcomes = race(
        list(contestants.values()),
        first,
        first.train_config(first.recipe.finetune),
        path=options.run_dir / "race.json",
        minutes=options.minutes,
        seeds=options.seeds,
        pace=Pace(first=3, counted=10, rounds=options.rounds),
    )
    for name, outcome in zip(contestants, outcomes, strict=True):
        row = rows[name]
        rows[name] = replace(
            row,
            steps=outcome.steps,
            learning_rate=outcome.learning_rate,
            accuracies=outcome.accuracies,
            note=f"{row.note}; {outcome.failure}" if outcome.failure else row.note,
        )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="KEY.PATH=VALUE of the recipes")
    parser.add_argument("--recipe", help="of all, in place of Fashion-MNIST's own recipes")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--speedup", type=float, default=2.0)
    parser.add_argument("--by-table", action="store_true", help="the papers' plans, as they do")
    parser.add_argument("--minutes", type=float, default=1.0, help="of finetuning, each; 0: none")
    parser.add_argument("--seeds", type=int, default=1, help="of finetuning")
    parser.add_argument("--rounds", type=int, default=2, help="to measure training speeds in")
    parser.add_argument("--seconds", type=float, default=2.0, help="to time one network for")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/papers"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
