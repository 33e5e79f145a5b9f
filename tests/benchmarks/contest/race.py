"""Networks finetuned for the same minutes each, turned into steps by each one's own speed."""

import math
import statistics
from collections.abc import Callable, Collection
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

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
        of: accuracies on test images, and seconds a step.
        held_out: losses on held-out images.
        failed: why a training ended early.
    """

    of: dict[str, float]
    held_out: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contestant:
    """A network to be finetuned for some minutes.

    Attributes:
        name: of its results.
        note: its measured speed-up, and its accuracy with no training.
        network: untrained; it is copied for each training.
        matched: its tensors and the original's, for a config that weighs them.
        group: those of one group train at one learning rate.
    """

    name: str
    note: str
    network: nn.Module
    matched: Matched = ()
    group: str = ""


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
        learning_rate: that it was trained at.
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
        rates: learning rates, of which each group gets the one that serves it best on held-out
            images; none: the config's.
    """
    known = load_json(Accuracies, path) if path.exists() else Accuracies({})
    known = _paced(contestants, context, config, known, pace)
    save_json(known, path)
    configs = [
        replace(config, steps=max(1, int(60 * minutes / known.of[_pace_key(c)])))
        for c in contestants
    ]
    if rates:
        best = _best_rates(contestants, configs, context, rates, known, path)
        configs = [
            replace(mine, learning_rate=best[contestant.group])
            for mine, contestant in zip(configs, contestants, strict=True)
        ]
    keys: list[list[str]] = [[] for _ in contestants]
    for seed in range(seeds):
        for contestant, mine, done in zip(contestants, configs, keys, strict=True):
            key = _trained(contestant, context, replace(mine, seed=seed), known, path)
            said = known.failed.get(key) or f"{known.of[key]:.1f} %"
            print(f"{contestant.note}, {mine.steps} steps, seed {seed}: {said}", flush=True)
            done.append(key)
    outcomes = [_outcome(c, done, known) for c, done in zip(configs, keys, strict=True)]
    for contestant, outcome in zip(contestants, outcomes, strict=True):
        if outcome.accuracies:
            mean = statistics.mean(outcome.accuracies)
            print(
                f"| {contestant.note} | {outcome.steps} steps | {mean:.2f} % "
                f"| {list(outcome.accuracies)} |",
                flush=True,
            )
    return outcomes


def _outcome(config: TrainConfig, keys: list[str], known: Accuracies) -> Outcome:
    accuracies = tuple(known.of[key] for key in keys if key in known.of)
    failure = next((known.failed[key] for key in keys if key in known.failed), "")
    return Outcome(config.steps or 0, config.learning_rate, accuracies, failure)


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


def _best_rates(
    contestants: list[Contestant],
    configs: list[TrainConfig],
    context: Context,
    rates: Collection[float],
    known: Accuracies,
    path: Path,
) -> dict[str, float]:
    """By group, the learning rate at which its middle one ends at the least held-out loss."""
    chosen: dict[str, float] = {}
    for group in dict.fromkeys(contestant.group for contestant in contestants):
        mine = [i for i, contestant in enumerate(contestants) if contestant.group == group]
        middle = mine[len(mine) // 2]
        losses = {}
        for rate in rates:
            config = replace(configs[middle], learning_rate=rate, seed=0)
            key = _trained(contestants[middle], context, config, known, path)
            losses[rate] = known.held_out.get(key, math.inf)
        chosen[group] = min(losses, key=losses.__getitem__)
        print(f"{contestants[middle].name}: held-out loss by learning rate {losses}", flush=True)
    return chosen


def _trained(
    contestant: Contestant, context: Context, config: TrainConfig, known: Accuracies, path: Path
) -> str:
    """The key of a training's results, which are known behind this call."""
    key = f"{contestant.name} {config}"
    if key in known.of or key in known.failed:
        return key
    try:
        model, _ = train(contestant, context, config)
    except DepthoptError as error:
        known.failed[key] = str(error)
    else:
        known.of[key] = evaluate(model, context.data.test.batches(BATCH)).accuracy
        known.held_out[key] = evaluate(model, context.data.calibration.batches(BATCH)).loss
    save_json(known, path)
    return key


def train(
    contestant: Contestant,
    context: Context,
    config: TrainConfig,
    *,
    progress: Callable[..., None] | None = None,
) -> tuple[nn.Module, TrainResult]:
    """Its network finetuned, with the original as teacher where the config weighs it."""
    model, matched = deepcopy(contestant.network), contestant.matched
    if not matched:
        config = replace(config, matching=0.0)
    teacher = context.teacher if config.distillation or config.matching else None
    result = finetune(
        model, context.data, teacher=teacher, matched=matched, config=config, progress=progress
    )
    return model, result


def step_seconds(
    contestants: list[Contestant], context: Context, config: TrainConfig, pace: Pace = Pace()
) -> list[float]:
    """Seconds a training step of each takes, in turn, the median of some rounds.

    One whose training diverges at once counts as one that takes for ever.
    """

    def step(contestant: Contestant) -> float:
        ends: list[float] = []
        every = replace(config, steps=pace.first + pace.counted)
        try:
            train(contestant, context, every, progress=lambda *_: ends.append(perf_counter()))
        except DepthoptError:
            return math.inf
        return (ends[-1] - ends[-1 - pace.counted]) / pace.counted

    times = [[step(contestant) for contestant in contestants] for _ in range(pace.rounds)]
    print("seconds a step, by rounds:", times, flush=True)
    return [statistics.median(column) for column in zip(*times, strict=True)]
