"""Networks finetuned for the same minutes each, turned into steps by each one's own speed."""

import math
import statistics
from collections.abc import Callable, Collection, Iterable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from depthopt.core.artefacts import load_json, save_json
from depthopt.core.progress import Progress, silent
from depthopt.core.training import TrainResult
from depthopt.data.dataset import Batch, Dataset
from depthopt.errors import DepthoptError
from depthopt.importance.workers import Workers
from depthopt.pipeline.context import BATCH, Context
from depthopt.tasks.evaluate import evaluate
from depthopt.train.config import TrainConfig
from depthopt.train.finetune import finetune
from depthopt.train.trainer import Matched

Found = tuple[float, float, str]
"""Behind a training: accuracy on test images, loss on held-out ones, and which test images are
answered rightly, a digit an image."""


@dataclass(frozen=True, slots=True)
class Accuracies:
    """What is known of a race, by contestant and settings, so that a stopped one goes on.

    Attributes:
        of: accuracies on test images, and seconds a step.
        held_out: losses on held-out images.
        failed: why a training ended early.
        right: which test images each answers rightly, a digit an image.
    """

    of: dict[str, float]
    held_out: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    right: dict[str, str] = field(default_factory=dict)

    def has(self, key: str) -> bool:
        """Whether a training's end is known."""
        return key in self.of or key in self.failed

    def enter(self, key: str, found: Found | str) -> None:
        """Keep what became of a training, or why it ended early."""
        if isinstance(found, str):
            self.failed[key] = found
        else:
            self.of[key], self.held_out[key], self.right[key] = found


@dataclass(frozen=True, slots=True)
class Contestant:
    """A network to be finetuned for some minutes.

    Attributes:
        name: of its results.
        note: its measured speed-up, and its accuracy with no training.
        network: untrained; it is copied for each training.
        matched: its tensors and the original's, for a config that weighs them.
        group: those of one group train at one learning rate.
        config: of its trainings, but for steps and seed; None: the race's.
    """

    name: str
    note: str
    network: nn.Module
    matched: Matched = ()
    group: str = ""
    config: TrainConfig | None = None


Entry = tuple[Contestant, TrainConfig]
"""One training: of whom, and how."""


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
        right: which test images each of them answers rightly, where that is known.
        failure: why a training ended early, if one did.
    """

    steps: int
    learning_rate: float
    accuracies: tuple[float, ...]
    failure: str = ""
    right: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Course:
    """What all are trained and scored on; called with an entry, it trains it.

    Attributes:
        data: of the run.
        teacher: the original.
    """

    data: Dataset
    teacher: nn.Module

    def __call__(self, entry: Entry) -> Found | str:
        """What is found behind a training, or why it ended early."""
        try:
            model, _ = train(entry[0], self, entry[1])
        except DepthoptError as error:
            return str(error)
        accuracy = evaluate(model, self.data.test.batches(BATCH)).metric
        loss = evaluate(model, self.data.calibration.batches(BATCH)).loss
        return accuracy, loss, rightly(model, self.data.test.batches(BATCH))


@torch.no_grad()
def rightly(model: nn.Module, batches: Iterable[Batch]) -> str:
    """Which images a network answers rightly, a digit an image: 1 if it does."""
    model.eval()
    return "".join(
        str(int(right))
        for images, labels in batches
        for right in (model(images).argmax(1) == labels).tolist()
    )


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
    workers: int | None = None,
) -> list[Outcome]:
    """Finetune each for the same minutes, with the recipe's teacher if the config has one.

    Args:
        contestants: no two of one name.
        context: of the data and the teacher.
        config: of all trainings, but for steps and seed, where a contestant has none of its own.
        path: of what is known, written after every training.
        minutes: of each training, by the pace that it has with all cores to itself.
        seeds: trainings of each.
        pace: how their speeds are measured.
        rates: learning rates, of which each group gets the one that serves it best on held-out
            images, in the mean over the seeds; none: the config's.
        workers: trainings at a time, of one core each, by Ray; None: one, of all cores, here.
    """
    course = Course(context.data, context.teacher)
    known = load_json(Accuracies, path) if path.exists() else Accuracies({})
    known = _paced(contestants, course, config, known, pace)
    save_json(known, path)
    configs = [
        replace(c.config or config, steps=max(1, int(60 * minutes / known.of[_pace_key(c)])))
        for c in contestants
    ]

    def trained(entries: list[Entry]) -> None:
        """All entries' results are known behind this call."""
        todo = {_key(*e): e for e in entries if not known.has(_key(*e))}
        for entry, found in Workers(workers).each(course, list(todo.values())):
            known.enter(_key(*entry), found)
            save_json(known, path)
            print(f"{entry[0].note}, {_said(entry[1])}: {_result(found)}", flush=True)

    if rates:
        configs = _at_best_rates(contestants, configs, rates, seeds, known, trained)
    entries = [
        _seeded(contestant, mine, seeds)
        for contestant, mine in zip(contestants, configs, strict=True)
    ]
    trained([row[seed] for seed in range(seeds) for row in entries])
    outcomes = [
        _outcome(mine, [_key(*entry) for entry in row], known)
        for mine, row in zip(configs, entries, strict=True)
    ]
    for contestant, outcome in zip(contestants, outcomes, strict=True):
        if outcome.accuracies:
            mean = statistics.mean(outcome.accuracies)
            print(
                f"| {contestant.note} | {outcome.steps} steps | {mean:.2f} % "
                f"| {list(outcome.accuracies)} |",
                flush=True,
            )
    return outcomes


def _seeded(contestant: Contestant, config: TrainConfig, seeds: int) -> list[Entry]:
    return [(contestant, replace(config, seed=seed)) for seed in range(seeds)]


def _key(contestant: Contestant, config: TrainConfig) -> str:
    return f"{contestant.name} {config}"


def _said(config: TrainConfig) -> str:
    return f"{config.steps} steps at {config.learning_rate:g}, seed {config.seed}"


def _result(found: Found | str) -> str:
    return found if isinstance(found, str) else f"{found[0]:.1f} %, held-out loss {found[1]:.4f}"


def _outcome(config: TrainConfig, keys: list[str], known: Accuracies) -> Outcome:
    accuracies = tuple(known.of[key] for key in keys if key in known.of)
    failure = next((known.failed[key] for key in keys if key in known.failed), "")
    right = tuple(known.right[key] for key in keys if key in known.right)
    return Outcome(config.steps or 0, config.learning_rate, accuracies, failure, right)


def _paced(
    contestants: list[Contestant],
    course: Course,
    config: TrainConfig,
    known: Accuracies,
    pace: Pace,
) -> Accuracies:
    """With the seconds a step of each. All are measured again, in turn, if one is not known."""
    keys = [_pace_key(contestant) for contestant in contestants]
    if all(key in known.of for key in keys):
        return known
    seconds = step_seconds(contestants, course, config, pace)
    return replace(known, of=known.of | dict(zip(keys, seconds, strict=True)))


def _pace_key(contestant: Contestant) -> str:
    return f"{contestant.name}, seconds a step"


def _at_best_rates(
    contestants: list[Contestant],
    configs: list[TrainConfig],
    rates: Collection[float],
    seeds: int,
    known: Accuracies,
    trained: Callable[[list[Entry]], None],
) -> list[TrainConfig]:
    """The configs with the learning rates that serve their groups' middle ones best in the mean."""
    groups = list(dict.fromkeys(contestant.group for contestant in contestants))
    trials: dict[str, dict[float, list[Entry]]] = {}
    for group in groups:
        mine = [i for i, contestant in enumerate(contestants) if contestant.group == group]
        middle = mine[len(mine) // 2]
        trials[group] = {
            rate: _seeded(contestants[middle], replace(configs[middle], learning_rate=rate), seeds)
            for rate in rates
        }
    trained([e for by_rate in trials.values() for entries in by_rate.values() for e in entries])

    def loss(entries: list[Entry]) -> float:
        return statistics.mean(known.held_out.get(_key(*entry), math.inf) for entry in entries)

    best = {
        group: min(by_rate, key=lambda rate, of=by_rate: loss(of[rate]))
        for group, by_rate in trials.items()
    }
    return [
        replace(config, learning_rate=best[contestant.group])
        for config, contestant in zip(configs, contestants, strict=True)
    ]


def train(
    contestant: Contestant,
    course: Course,
    config: TrainConfig,
    *,
    progress: Progress = silent,
) -> tuple[nn.Module, TrainResult]:
    """Its network finetuned, with the original as teacher where the config weighs it."""
    model, matched = deepcopy(contestant.network), contestant.matched
    if not matched:
        config = replace(config, matching=0.0)
    teacher = course.teacher if config.distillation or config.matching else None
    result = finetune(
        model, course.data, teacher=teacher, matched=matched, config=config, progress=progress
    )
    return model, result


def step_seconds(
    contestants: list[Contestant], course: Course, config: TrainConfig, pace: Pace = Pace()
) -> list[float]:
    """Seconds a training step of each takes, in turn, the median of some rounds.

    One whose training diverges at once counts as one that takes for ever.
    """

    def step(contestant: Contestant) -> float:
        ends: list[float] = []
        every = replace(contestant.config or config, steps=pace.first + pace.counted)
        try:
            train(contestant, course, every, progress=lambda *_: ends.append(perf_counter()))
        except DepthoptError:
            return math.inf
        return (ends[-1] - ends[-1 - pace.counted]) / pace.counted

    times = [[step(contestant) for contestant in contestants] for _ in range(pace.rounds)]
    print("seconds a step, by rounds:", times, flush=True)
    return [statistics.median(column) for column in zip(*times, strict=True)]
