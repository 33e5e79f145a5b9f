"""Networks finetuned for the same minutes each, turned into steps by each one's own speed."""

import math
import statistics
from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from depthopt.core.artefacts import load_json, save_json
from depthopt.errors import DepthoptError
from depthopt.pipeline.context import BATCH, Context
from depthopt.train import TrainConfig, TrainResult, finetune
from depthopt.train.evaluate import evaluate
from depthopt.train.trainer import Matched


@dataclass(frozen=True, slots=True)
class Accuracies:
    """What is known of a race, by contestant and settings, so that a stopped one goes on.

    Attributes:
        of: accuracies, seconds a step, and held-out losses by learning rate.
        failed: why a training ended early.
    """

    of: dict[str, float]
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contestant:
    """A network to be finetuned for some minutes.

    Attributes:
        name: of its results.
        note: its measured speed-up, and its accuracy with no training.
        network: untrained; it is copied for each training.
        matched: its tensors and the original's, for a config that weighs them.
    """

    name: str
    note: str
    network: nn.Module
    matched: Matched = ()


@dataclass(frozen=True, slots=True)
class Pace:
    """How the seconds of a training step are measured.

    Attributes:
        first: steps that do not count; they wait for the workers that load images.
        counted: steps behind them that do.
        rounds: of all networks in turn; each one's median counts.
    """

    first: int = 5
    counted: int = 15
    rounds: int = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a contestant.

    Attributes:
        steps: that its minutes allowed.
        learning_rate: of all contestants.
        accuracies: on the test images, one per seed that was trained to the end.
        failure: why a training ended early, if one did.
    """

    steps: int
    learning_rate: float
    accuracies: tuple[float, ...]
    failure: str = ""


def race(
    contestants: list[Contestant],
    context: Context,
    config: TrainConfig,
    *,
    path: Path,
    minutes: float,
    seeds: int,
    pace: Pace = Pace(),
    rates: Collection[float] = (),
) -> list[Outcome]:
    """Finetune each for the same minutes, with the recipe's teacher if the config has one.

    Args:
        contestants: no two of one name.
        context: of the data and the teacher.
        config: of all trainings, but for steps and seed.
        path: of what is known, written after every training.
        minutes: of each training.
        seeds: trainings of each.
        pace: how their speeds are measured.
        rates: learning rates, of which all get the one that serves the first contestant best on
            held-out images; none: the config's.
    """
    known = load_json(Accuracies, path) if path.exists() else Accuracies({})
    known = _paced(contestants, context, config, known, pace)
    save_json(known, path)
    steps = [max(1, int(60 * minutes / known.of[_pace_key(c)])) for c in contestants]
    if rates:
        tried = replace(config, steps=steps[0])
        rate = _best_rate(contestants[0], context, tried, rates, known, path)
        config = replace(config, learning_rate=rate)
    found: list[list[float]] = [[] for _ in contestants]
    for seed in range(seeds):
        for contestant, count, accuracies in zip(contestants, steps, found, strict=True):
            settings = replace(config, steps=count, seed=seed)
            key = f"{contestant.name} {settings}"
            if key not in known.of and key not in known.failed:
                _run(contestant, key, context, settings, known)
                save_json(known, path)
            said = known.failed.get(key)
            if said is None:
                accuracies.append(known.of[key])
                said = f"{known.of[key]:.1f} %"
            print(f"{contestant.note}, {count} steps, seed {seed}: {said}", flush=True)
    for contestant, count, accuracies in zip(contestants, steps, found, strict=True):
        if accuracies:
            mean = statistics.mean(accuracies)
            print(
                f"| {contestant.note} | {count} steps | {mean:.2f} % | {accuracies} |", flush=True
            )
    return [
        Outcome(count, config.learning_rate, tuple(accuracies), _failure(contestant, known))
        for contestant, count, accuracies in zip(contestants, steps, found, strict=True)
    ]


def _paced(
    contestants: list[Contestant],
    context: Context,
    config: TrainConfig,
    known: Accuracies,
    pace: Pace,
) -> Accuracies:
    """With the seconds a step of each; all are measured anew, in turn, if one is not known."""
    keys = [_pace_key(contestant) for contestant in contestants]
    if all(key in known.of for key in keys):
        return known
    seconds = step_seconds(contestants, context, config, pace)
    return replace(known, of=known.of | dict(zip(keys, seconds, strict=True)))


def _pace_key(contestant: Contestant) -> str:
    return f"{contestant.name}, seconds a step"


def _best_rate(
    contestant: Contestant,
    context: Context,
    config: TrainConfig,
    rates: Collection[float],
    known: Accuracies,
    path: Path,
) -> float:
    """The learning rate that ends at the least loss on held-out images."""
    losses = {}
    for rate in rates:
        key = f"{contestant.name}, held-out loss at {rate:g} for {config.steps} steps"
        if key not in known.of:
            model, _ = train(contestant, context, replace(config, learning_rate=rate))
            known.of[key] = evaluate(model, context.held_out()).loss
            save_json(known, path)
        losses[rate] = known.of[key]
    best = min(losses, key=losses.__getitem__)
    print(f"held-out loss by learning rate: {losses}; all train at {best:g}", flush=True)
    return best


def _run(
    contestant: Contestant, key: str, context: Context, settings: TrainConfig, known: Accuracies
) -> None:
    try:
        model, _ = train(contestant, context, settings)
    except DepthoptError as error:
        known.failed[key] = str(error)
        return
    known.of[key] = evaluate(model, context.data.test.batches(BATCH)).accuracy


def _failure(contestant: Contestant, known: Accuracies) -> str:
    mine = (why for key, why in known.failed.items() if key.startswith(f"{contestant.name} "))
    return next(mine, "")


def train(
    contestant: Contestant, context: Context, config: TrainConfig
) -> tuple[nn.Module, TrainResult]:
    """Its network finetuned, with the original as teacher where the config weighs it."""
    model, matched = deepcopy(contestant.network), contestant.matched
    if not matched:
        config = replace(config, matching=0.0)
    teacher = context.teacher if config.distillation or config.matching else None
    result = finetune(model, context.data, teacher=teacher, matched=matched, config=config)
    return model, result


def step_seconds(
    contestants: list[Contestant], context: Context, config: TrainConfig, pace: Pace = Pace()
) -> list[float]:
    """Seconds a training step of each takes, in turn, the median of some rounds.

    One whose training diverges at once counts as one that takes for ever.
    """

    def seconds(contestant: Contestant, steps: int) -> float:
        _, result = train(contestant, context, replace(config, steps=steps))
        return sum(record.seconds for record in result.history)

    def step(contestant: Contestant) -> float:
        try:
            every = seconds(contestant, pace.first + pace.counted)
            return (every - seconds(contestant, pace.first)) / pace.counted
        except DepthoptError:
            return math.inf

    times = [[step(contestant) for contestant in contestants] for _ in range(pace.rounds)]
    print("seconds a step, by rounds:", times, flush=True)
    return [statistics.median(column) for column in zip(*times, strict=True)]
