"""Whether the ranges that ``explore`` gives hold what whole finetunes come to.

    python tests/benchmarks/explore_range.py recipes/quickstart.yaml --run-dir runs/explore
    python tests/benchmarks/explore_range.py --photographs tiny_imagenet_20.tar --run-dir runs/photo

A network is explored; then the recipe is carried out at 1.5x and 2x in copies of the folder. The
plans that exploring found for these are finetuned wholly, and others, spread over the frontier
between the cheapest and the dearest that it carried out. What comes is accuracy on test images.
Stopped and started again, it goes on. The figures are kept in ``ranges.json`` of the run's folder.
"""

import argparse
import json
import math
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from depthopt.core.artefacts import load_json
from depthopt.core.band import Band
from depthopt.core.explored import Explored
from depthopt.core.plan import Frontier, Plan
from depthopt.pipeline.carried_out import carried_out
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.explore import SPEEDUPS as LOOKED_FOR
from depthopt.pipeline.explore import explore
from depthopt.pipeline.pace import REDUCTIONS
from depthopt.pipeline.recipe import Recipe, load_recipe
from depthopt.pipeline.recommend import band_of
from depthopt.pipeline.result import Result
from depthopt.pipeline.run import run
from depthopt.shallow.segment_ends import segment_ends
from depthopt.tasks.evaluate import evaluate
from depthopt.train.finetune import finetune
from depthopt.workflow.progress import ConsoleReporter

SPEEDUPS = (1.5, 2.0)
"""That whole runs are carried out at."""


def photographs(tar: Path, overrides: list[str]) -> Recipe:
    """torchvision's ResNet-18 at 64x64, trained in the run."""
    content: dict[str, Any] = {
        "model": {"name": "torchvision:resnet18", "input_size": [3, 64, 64]},
        "data": {"source": f"folder:{tar.resolve()}", "calibration_images": 2000, "check": False},
        "teacher": {"epochs": 6, "batch_size": 64, "mixed_precision": "bf16"},
        "candidates": {"kernel_sizes": [1, 3], "max_length": 6},
        "budget": {"speedup": 2.0},
        "importance": {"images": 512},
        "apply": {"images": 768},
        "finetune": {
            "epochs": 2,
            "batch_size": 64,
            "learning_rate": 1e-3,
            "mixed_precision": "bf16",
        },
    }
    for override in overrides:
        key, _, value = override.partition("=")
        *parents, last = key.split(".")
        inner = content
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = json.loads(value)
    return Recipe.model_validate(content)


def others(explored: Explored, frontier: Frontier, count: int) -> list[Plan]:
    """Plans that exploring did not carry out, evenly by speed-up between those that it did."""
    tried = {one.plan.replaced for one in explored.attempts}
    costs = [one.plan.cost for one in explored.attempts]
    plans = [frontier.plan(i) for i in range(len(frontier.points))]
    plans = [p for p in plans if min(costs) < p.cost < max(costs) and p.replaced not in tried]
    low, high = (math.log(f(p.speedup for p in plans)) for f in (min, max))
    chosen: list[Plan] = []
    for i in range(count):
        wish = low + (high - low) * (i + 0.5) / count
        left = [plan for plan in plans if plan not in chosen]
        chosen.append(min(left, key=lambda plan: abs(math.log(plan.speedup) - wish)))
    return sorted(chosen, key=lambda plan: 0.618 * chosen.index(plan) % 1)  # wherever it is stopped


def finetuned(context: Context, plan: Plan, reporter: ConsoleReporter) -> dict[str, float]:
    """The test accuracy of a plan, wholly finetuned."""
    begin = time.monotonic()
    network = carried_out(context, plan)
    untrained = evaluate(network, context.data.test.batches(BATCH), task=context.task).metric
    finetune(
        network,
        context.data,
        task=context.task,
        teacher=context.teacher,
        matched=segment_ends(context.chain, plan),
        config=context.train_config(context.recipe.finetune),
        progress=reporter.progress,
    )
    got = evaluate(network, context.data.test.batches(BATCH), task=context.task).metric
    return {"untrained": untrained, "metric": got, "seconds": time.monotonic() - begin}


def whole(recipe: Recipe, folder: Path, speedup: float, reporter: ConsoleReporter) -> Result:
    """What a whole run at a speed-up comes to, in a copy of the folder."""
    copy = folder.with_name(f"{folder.name}-{speedup:g}x")
    if not copy.exists():
        shutil.copytree(folder, copy)
    budget = recipe.budget.model_copy(update={"speedup": speedup, "ms": None, "cost": None})
    run(recipe.model_copy(update={"budget": budget}), copy, reporter=reporter)
    return load_json(Result, copy / "result.json")


def show(known: Band, explored: Explored, runs: dict[str, Any], plans: dict[str, Any]) -> None:
    """Print the tables."""
    print(
        f"original: {explored.original.metric:.2f} % of {explored.original.images} held-out images"
    )
    print("| asked | measured | untrained | range | width | a whole run gave | inside |")
    print("|---|---|---|---|---|---|---|")
    widths = []
    for asked in explored.asked:
        if asked.attempt is None:
            print(f"| {asked.speedup:g}x | none is as fast | | | | | |")
            continue
        one = explored.attempts[asked.attempt]
        expected = known.at(one.plan.cost)
        got = runs.get(f"{asked.speedup:g}")
        if got is not None:
            widths.append(expected.width)
        came = "" if got is None else f"{got['metric']:.2f} at {got['speedup']:.2f}x"
        inside = "" if got is None else "yes" if expected.holds(got["metric"]) else "NO"
        print(
            f"| {asked.speedup:g}x | {one.speedup:.2f}x | {one.untrained.metric:.1f} | "
            f"{expected.text(known.metric)} | {expected.width:.1f} | {came} | {inside} |"
        )
    if widths:
        print(f"mean width at the speed-ups of whole runs: {statistics.mean(widths):.2f} points\n")
    print("| predicted | cost | untrained | range | width | wholly finetuned | inside |")
    print("|---|---|---|---|---|---|---|")
    held, widths = 0, []
    for one in sorted(plans.values(), key=lambda one: one["cost"]):
        expected = known.at(one["cost"])
        inside = expected.holds(one["metric"])
        if not one["own"]:
            held += inside
            widths.append(expected.width)
        own = " (explored)" if one["own"] else ""
        print(
            f"| {one['speedup']:.2f}x{own} | {one['cost']:.3g} | {one['untrained']:.1f} | "
            f"{expected.text(known.metric)} | {expected.width:.1f} | {one['metric']:.2f} | "
            f"{'yes' if inside else 'NO'} |"
        )
    if widths:
        mean = statistics.mean(widths)
        print(f"of the others {held} of {len(widths)} inside, mean width {mean:.2f} points")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path, nargs="?")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--photographs", type=Path, help="a tar of an image folder")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--plans", type=int, default=12)
    parser.add_argument("--speedups", type=float, nargs="+", default=LOOKED_FOR)
    parser.add_argument("--until", choices=("teacher", "explore", "plans", "runs"), default="runs")
    parser.add_argument("--set", action="append", default=[], help="of the photographs' recipe")
    options = parser.parse_args()
    if options.photographs is not None:
        recipe = photographs(options.photographs, options.set)
    else:
        recipe = load_recipe(options.recipe, options.overrides)
    folder = options.run_dir
    kept = folder / "ranges.json"
    with ConsoleReporter(Console()) as reporter:
        if options.until == "teacher":
            run(recipe, folder, until="teacher", reporter=reporter)
            return
        explored = explore(
            recipe,
            folder,
            minutes=options.minutes,
            speedups=options.speedups,
            reporter=reporter,
            say=print,
        )
        known = band_of(explored)
        found = json.loads(kept.read_text()) if kept.exists() else {"plans": {}, "runs": {}}
        show(known, explored, found["runs"], found["plans"])
        reduction = REDUCTIONS[explored.reduction]
        tried = recipe if reduction is None else reduction.of(recipe)
        if options.until in {"plans", "runs"}:
            context = run(tried, folder, until="profile")
            frontier = load_json(Frontier, folder / "frontier.json")
            own = [
                explored.attempts[asked.attempt].plan
                for asked in explored.asked
                if asked.speedup in SPEEDUPS and asked.attempt is not None
            ]
            for plan in (*own, *others(explored, frontier, options.plans)):
                key = f"{plan.cost!r}"
                if key in found["plans"]:
                    continue
                figures = {"cost": plan.cost, "speedup": plan.speedup, "own": plan in own}
                found["plans"][key] = figures | finetuned(context, plan, reporter)
                kept.write_text(json.dumps(found, indent=1))
                print(f"{plan.speedup:.2f}x: {found['plans'][key]}", flush=True)
        for speedup in SPEEDUPS if options.until == "runs" else ():
            if f"{speedup:g}" not in found["runs"]:
                result = whole(recipe, folder, speedup, reporter)
                figures = {"metric": result.compressed.metric, "speedup": result.speedup}
                found["runs"][f"{speedup:g}"] = figures
                kept.write_text(json.dumps(found, indent=1))
    show(known, explored, found["runs"], found["plans"])


if __name__ == "__main__":
    main()
