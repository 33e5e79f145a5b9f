"""Carry out plans within a time limit, to see how accurate they get, for ``explore``."""

import copy
import logging
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch

from depthopt.core import digests
from depthopt.core.artefacts import save_json
from depthopt.core.band import error_of
from depthopt.core.explored import Asked, Attempt, Explored, Finetuned, Found
from depthopt.core.plan import Frontier, Plan
from depthopt.core.progress import Progress, silent
from depthopt.core.training import EpochRecord
from depthopt.data.dataset import Split, strata, stratified
from depthopt.graph.network import TracedNetwork
from depthopt.latency.measure import Effort
from depthopt.latency.search import least_costly_index
from depthopt.latency.timing import plan_timer
from depthopt.pipeline.carried_out import carried_out
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.kept import read_kept
from depthopt.pipeline.pace import Lengths, lengths
from depthopt.pipeline.recommend import recommended
from depthopt.pipeline.solving import solved
from depthopt.pipeline.speed import Speed
from depthopt.shallow.segment_ends import segment_ends
from depthopt.tasks.evaluate import Evaluation, evaluate
from depthopt.train.finetune import TrainingDiverged, finetune, steps_of

logger = logging.getLogger(__name__)

EXPLORED = "explored.json"
"""File in a run's folder that holds what exploring has found."""

EFFORT = Effort(seconds=1.5, tolerance=0.02, warmup_s=0.2)
"""Effort per timed plan, with the original's share."""

_TIMING_SHARE = 0.2
"""Of the time, after which only plans that are taken are timed."""

_STEP = 1.03
"""Factor between speed-ups below which plans are not told apart."""

_JUDGING_SHARE = 0.2
"""Of the time, that evaluations may take."""

_LEAST_JUDGED, _MOST_JUDGED = 256, 2000
"""Held-out images that networks are evaluated on, where there are as many."""

_PACING_STEPS = 6
"""Of a training that shows how long one step takes."""

_SLACK = 0.9
"""Of the time that is left, which is planned with."""

_WORTH_GOING_ON = 0.1
"""Of the time, that must be left for more to be tried."""

_MOST_LONGS = 3
"""Plans that are finetuned longer in one go, as ``pace.lengths`` has it."""

_ANCHOR = 1.75
"""Plans of speed-ups near to this are finetuned longer before others are: it is asked for most."""


@dataclass(slots=True)
class Clock:
    """How much of the time is used.

    Attributes:
        seconds: to take in all.
        before: that earlier starts took.
        begin: when this one was, by the monotonic clock.
    """

    seconds: float
    before: float = 0.0
    begin: float = field(default_factory=time.monotonic)

    @property
    def gone(self) -> float:
        """Seconds that were taken, earlier starts included."""
        return self.before + time.monotonic() - self.begin

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - self.gone


def part_of(split: Split, images: int, seed: int) -> Split:
    """This many examples of a split, each class in proportion."""
    if images >= len(split):
        return split
    return split.subset(stratified(strata(split), images, seed=seed)[0])


def teacher_digest(run: Context) -> str:
    """A digest that tells one original from another."""
    return digests.of_file(run.path("teacher.safetensors"))


def worth_going_on(explored: Explored, seconds: float) -> bool:
    """Whether enough of the time is left for any plan to be finetuned for another length."""
    return seconds - explored.seconds >= _WORTH_GOING_ON * seconds


class Attempts:
    """Plans of rising speed-up, carried out one after another. Results are saved after each."""

    def __init__(
        self,
        run: Context,
        speed: Speed,
        clock: Clock,
        speedups: tuple[float, ...],
        *,
        reduction: int,
        made_from: str,
    ) -> None:
        """Begin, or go on.

        Args:
            run: whose tables are there.
            speed: of this machine.
            clock: runs already.
            speedups: to look for, rising.
            reduction: which it is, of the recipe.
            made_from: written into the file, and checked before exploring continues from it.
        """
        self._run, self._clock, self._wishes = run, clock, speedups
        self._networks: dict[int, TracedNetwork] = {}
        self._made_from = made_from
        self._step_s: float | None = None
        images = _JUDGING_SHARE * clock.seconds / (speed.forward_s * (2 * len(speedups) + 4))
        judged = int(min(max(images, _LEAST_JUDGED), _MOST_JUDGED))
        self._judging_s = judged * speed.forward_s
        self._judged = part_of(run.examples.calibration, judged, run.recipe.seed)
        self._config = replace(
            run.train_config(run.recipe.finetune),
            evaluate_epochs=False,
            target_metric=None,
            trackers=(),
        )
        kept = read_kept(Explored, run.path(EXPLORED), (made_from,))
        if kept is not None:
            clock.before = kept.seconds
        self._known = kept or Explored(
            model=run.chain.model,
            data=run.recipe.data.source,
            metric=run.task.metric,
            original=self._judge(run.teacher),
            test_images=len(run.data.test),
            steps=steps_of(self._config, len(run.data.train)),
            reduction=reduction,
            teacher=teacher_digest(run),
            objective=run.recipe.solver.said,
        )

    def explored(self) -> Explored:
        """Do what fits into the time, and recommend a speed-up."""
        self._run.reporter.started("explore")
        frontier = self._frontier()
        if {asked.speedup for asked in self._known.asked} != set(self._wishes):
            self._time(frontier)
        for index in self._order():
            if self._known.attempts[index].untrained is None:
                found = self._judge(self._network(index))
                self._keep(index, untrained=found)
        if self._known.attempts:
            self._finetune_all()
        best = recommended(self._known)
        self._save(replace(self._known, recommended=best.speedup, reason=best.reason))
        asked = len(self._known.asked)
        summary = f"{len(self._known.attempts)} plans carried out for {asked} speed-ups"
        said = "none" if best.speedup is None else f"{best.speedup:g}x"
        self._run.reporter.finished(
            "explore", self._clock.gone, f"{summary}; {said} is recommended"
        )
        return self._known

    def _save(self, known: Explored) -> None:
        self._known = replace(known, seconds=self._clock.gone)
        save_json(self._known, self._run.path(EXPLORED), made_from=self._made_from)

    def _keep(self, index: int, **found: object) -> None:
        attempts = list(self._known.attempts)
        attempts[index] = replace(attempts[index], **found)  # type: ignore[arg-type] # its fields
        self._save(replace(self._known, attempts=tuple(attempts)))

    def _frontier(self) -> Frontier:
        """Every good plan; kept for the report, unless the run has its own."""
        run = self._run
        frontier = solved(run)
        if "solve" not in run.folder.manifest.stages:
            save_json(frontier, run.path("frontier.json"))
        return frontier

    def _time(self, frontier: Frontier) -> None:
        """Find the least costly plan for each speed-up, by measuring."""
        run, indices = self._run, _thinned(frontier)
        predicted = [frontier.original_ms / frontier.points[i].latency_ms for i in indices]
        begin, limit = self._clock.gone, _TIMING_SHARE * self._clock.seconds
        timed: dict[int, float] = {}
        found: dict[int, float] = {}
        with plan_timer(
            run.teacher,
            run.chain,
            runtime=run.runtime,
            batch=run.recipe.latency.batch,
            effort=EFFORT,
        ) as timer:

            def measured(index: int) -> float:
                if index not in timed:
                    plan = frontier.plan(indices[index])
                    timed[index] = timer(plan) if plan.replaced else 1.0
                    run.reporter.progress(len(timed), len(indices), "plans timed")
                return timed[index]

            def measure(index: int) -> float:
                if self._clock.gone - begin < limit:
                    return measured(index)
                ratios = [timed[i] / predicted[i] for i in timed]
                return predicted[index] * statistics.median(ratios or [1.0])

            chosen = {
                wish: least_costly_index(predicted, measure, wish, known=found)
                for wish in self._wishes
            }
            attempts = [
                (index, Attempt(frontier.plan(indices[index]), measured(index)))
                for index in sorted({index for index in chosen.values() if index is not None})
            ]
        place = {index: i for i, (index, _) in enumerate(attempts)}
        self._save(
            replace(
                self._known,
                attempts=tuple(attempt for _, attempt in attempts),
                asked=tuple(Asked(w, None if i is None else place[i]) for w, i in chosen.items()),
                fastest=max([predicted[-1], *timed.values()]),
            )
        )

    def _network(self, index: int) -> TracedNetwork:
        """A plan's network with no training."""
        if index not in self._networks:
            self._networks[index] = carried_out(self._run, self._known.attempts[index].plan)
        return self._networks[index]

    def _judge(self, network: torch.nn.Module) -> Found:
        """How a network does on held-out images."""
        task, batches = self._run.judge, list(self._judged.batches(BATCH))
        parts = [evaluate(network, [batch], task=task) for batch in batches]
        images = sum(part.images for part in parts)
        metric = sum(part.metric * part.images for part in parts) / images
        error = error_of(task.metric, metric, images)
        return Found(metric, _error(parts) if error is None else error, images)

    def _order(self) -> list[int]:
        """The attempts, nearest to the anchor's speed-up first."""
        attempts = self._known.attempts
        return sorted(
            range(len(attempts)), key=lambda i: abs(math.log(attempts[i].speedup / _ANCHOR))
        )

    def _finetune_all(self) -> None:
        """Finetune every plan shortly, and those first in order longer, as far as time allows.

        Where that takes less time than was planned, some are finetuned longer still.
        """
        order = self._order()
        lacking = any(not one.finetuned and one.failure is None for one in self._known.attempts)
        while lacking or self._clock.left >= _WORTH_GOING_ON * self._clock.seconds:
            if not self._finetune_once(order):
                return
            lacking = False

    def _finetune_once(self, order: list[int]) -> bool:
        """Finetune as far as time is foreseen to allow; whether there was anything to do."""
        known = self._known
        shorts = [one.finetuned[0].steps for one in known.attempts if one.finetuned]
        done = {(i, each.steps) for i, one in enumerate(known.attempts) for each in one.finetuned}
        second = self._seconds_a_step(order[0])
        judging = self._judging_s * (_MOST_LONGS if done else len(order) + _MOST_LONGS)
        plan = lengths(
            known.steps,
            len(order),
            max(0.0, _SLACK * self._clock.left - judging) / second + sum(s for _, s in done),
            short=min(shorts, default=None),
        )
        logger.info("%.3f s a step, %.0f s left: %s", second, self._clock.left, plan)
        failed = {i for i, one in enumerate(known.attempts) if one.failure is not None}
        row = [each for each in _row(order, plan) if each not in done and each[0] not in failed]
        total, before = sum(steps for _, steps in row), 0
        for index, steps in row:
            self._finetune(index, steps, before, total)
            before += steps
        return bool(row)

    def _seconds_a_step(self, index: int) -> float:
        """How long a step of a finetune takes: of the last one, or by a few steps."""
        if self._step_s is None:
            attempt = self._known.attempts[index]
            _, records = self._trained(index, attempt.plan, _PACING_STEPS, silent)
            self._paced(records, _PACING_STEPS)
        return self._step_s or 1e-6

    def _paced(self, records: tuple[EpochRecord, ...], steps: int) -> None:
        """Learn from a training how long its steps took."""
        if steps >= _PACING_STEPS:
            self._step_s = max(sum(record.seconds for record in records) / steps, 1e-6)

    def _trained(
        self, index: int, plan: Plan, steps: int, progress: Progress
    ) -> tuple[TracedNetwork, tuple[EpochRecord, ...]]:
        network = copy.deepcopy(self._network(index))
        result = finetune(
            network,
            self._run.examples,
            task=self._run.judge,
            teacher=self._run.teacher,
            matched=segment_ends(self._run.chain, plan),
            config=replace(self._config, steps=steps),
            progress=progress,
        )
        return network, result.history

    def _finetune(self, index: int, steps: int, before: int, total: int) -> None:
        """Finetune one plan for so many steps, and keep how it does then."""
        attempt = self._known.attempts[index]

        def progress(done: int, _total: int, what: str) -> None:
            self._run.reporter.progress(before + done, total, f"{attempt.speedup:.2f}x, {what}")

        try:
            network, records = self._trained(index, attempt.plan, steps, progress)
        except TrainingDiverged as error:
            self._keep(index, failure=str(error))
            return
        self._paced(records, steps)
        found = Finetuned(steps, self._judge(network))
        finetuned = sorted((*attempt.finetuned, found), key=lambda each: each.steps)
        self._keep(index, finetuned=tuple(finetuned))
        logger.info("%.2fx: %s", attempt.speedup, found)


def _row(order: list[int], plan: Lengths) -> Iterator[tuple[int, int]]:
    """(attempt, steps) of every finetune: first the short ones."""
    for index in order:
        yield index, plan.short
    for index in order[: plan.longs]:
        yield index, plan.long


def _thinned(frontier: Frontier) -> list[int]:
    """Indices of plans, least costly first, each ``_STEP`` times as fast as the last or more."""
    found: list[int] = []
    for index in reversed(range(len(frontier.points))):
        ms = frontier.points[index].latency_ms
        if not found or ms * _STEP <= frontier.points[found[-1]].latency_ms:
            found.append(index)
    return found if found[-1] == 0 else [*found, 0]


def _error(parts: list[Evaluation]) -> float:
    """The standard error of a metric's mean, by how batches differ."""
    if len(parts) < 2:
        return 0.0
    return statistics.stdev(part.metric for part in parts) / math.sqrt(len(parts))
