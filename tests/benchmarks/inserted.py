"""Activations behind what replaces several blocks: none, there at once, or annealed.

A recipe's network, with the candidates and the training that the options say, is compressed
three times to the same predicted speed-up and finetuned; accuracy on the test images, over seeds
of the finetuning.

    python tests/benchmarks/inserted.py recipes/mobilenetv2_100_fashion_onnxruntime.yaml
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from depthopt.pipeline.context import BATCH
from depthopt.pipeline.recipe import Recipe, load_recipe
from depthopt.pipeline.run import run
from depthopt.tasks.evaluate import evaluate
from depthopt.workflow.progress import ConsoleReporter

WAYS = {
    "none": (None, "annealed"),
    "at once": ("relu6", "at_once"),
    "annealed": ("relu6", "annealed"),
}


def varied(recipe: Recipe, way: str, seed: int) -> Recipe:
    inserted, start = WAYS[way]
    return recipe.model_copy(
        update={
            "candidates": recipe.candidates.model_copy(update={"inserted": inserted}),
            "apply": recipe.apply.model_copy(update={"start": start}),
            "finetune": replace(recipe.finetune, seed=seed),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/inserted"))
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, ["candidates.kinds=[drop, merge]", *options.overrides])
    for way in WAYS:
        accuracies = []
        for seed in range(options.seeds):
            with ConsoleReporter(Console()) as reporter:
                context = run(varied(recipe, way, seed), options.run_dir, until="finetune",
                              reporter=reporter)  # fmt: skip
            found = evaluate(context.network("finetuned"), context.data.test.batches(BATCH))
            accuracies.append(found.metric)
        inserted = sum(c.activation is not None for c in context.plan.replaced)
        print(
            f"| {way} | {context.plan.speedup:.2f}x predicted | {inserted} with an activation | "
            f"{statistics.mean(accuracies):.2f} % | {accuracies} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
