"""The context of stages: a recipe, its folder, and the artefacts in it as values."""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from depthopt.core.artefacts import load_json
from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.inputs import Inputs
from depthopt.core.plan import Frontier, Plan
from depthopt.data.answered import answered
from depthopt.data.dataset import (
    Batch,
    Dataset,
    Repeated,
    Split,
    batch_indices,
    strata,
    stratified,
    training_steps,
)
from depthopt.data.given import IN_MEMORY, require_given
from depthopt.data.load import load_dataset
from depthopt.export.saved import load
from depthopt.graph.network import TracedNetwork
from depthopt.graph.outputs import AsOne, numbers_of
from depthopt.kinds.latency_keys import candidate_ms
from depthopt.latency.worthwhile import worthwhile
from depthopt.models.code import callable_named
from depthopt.models.memory import Original, copy_of
from depthopt.models.names import runs_code
from depthopt.models.registry import create_model, model_arguments
from depthopt.models.source import Argument
from depthopt.models.weights import load_weights
from depthopt.pipeline.folder import RunFolder
from depthopt.pipeline.processes import Processes
from depthopt.pipeline.recipe import Recipe
from depthopt.runtimes.base import Runtime
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable
from depthopt.tasks.registry import task_of
from depthopt.tasks.task import Task
from depthopt.train.config import TrainConfig

BATCH = 64
"""Images per forward pass, unless the recipe sets it."""


class Reporter(Protocol):
    """Receives the progress of a run."""

    def started(self, stage: str) -> None:
        """A stage has begun."""

    def progress(self, done: int, total: int, what: str) -> None:
        """The stage has done this many steps."""

    def finished(self, stage: str, seconds: float, summary: str) -> None:
        """The stage is done. ``summary`` is one line."""

    def skipped(self, stage: str) -> None:
        """The stage was done in an earlier run and still holds."""


@dataclass(frozen=True, slots=True)
class CandidateList:
    """The candidates of a chain, as one artefact."""

    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Context:
    """One run. Artefacts are read when first asked for, after their stages are done.

    Attributes:
        recipe: what to do.
        folder: where artefacts are.
        reporter: receives the progress.
        processes: that take part.
        allow_code: whether the recipe's code may run.
        model: the original, where it was given in memory.
        given: the data set, where the recipe's ``data.source`` is one in memory.
    """

    recipe: Recipe
    folder: RunFolder
    reporter: Reporter
    processes: Processes
    allow_code: bool = False
    model: nn.Module | None = None
    given: Dataset | None = None

    def path(self, name: str) -> Path:
        """The path of an artefact."""
        return self.folder.file(name)

    @cached_property
    def task(self) -> Task:
        """The network's task. ``judge`` tells how good a network is."""
        return task_of(self.recipe.task)

    @cached_property
    def judge(self) -> Task:
        """The task as it judges this run's networks, once there is a trained original."""
        if not self.task.imitates or self.task.scaled is None:
            return self.task
        batches = self.examples.calibration.batches(BATCH)
        answers = (answers for _, answers in batches if answers is not None)
        return self.task.scaled(answers, numbers_of(self.teacher, self.recipe.model.input_size))

    @property
    def arguments(self) -> dict[str, Argument]:
        """The arguments that the original is made with, besides its name."""
        model = self.recipe.model
        own = model_arguments(self.recipe.network, model.input_size, self.task.width(self.data))
        return {**own, **model.arguments}

    @cached_property
    def runtime(self) -> Runtime:
        """The runtime that latencies are measured on."""
        latency = self.recipe.latency
        return get_runtime(
            latency.runtime,
            threads=latency.threads,
            device=latency.device,
            dtype=latency.dtype,
            build=latency.build,
        )

    def require_runtime(self) -> Runtime:
        """Refuse a runtime that is not available, before hours of training.

        Raises:
            RuntimeUnavailable: it is unknown, not installed, or not for this machine.
        """
        return self.runtime

    @cached_property
    def data(self) -> Dataset:
        """The data set, checked."""
        data, model = self.recipe.data, self.recipe.model
        if data.source.startswith(IN_MEMORY):
            return require_given(self.given, data.source, model.input_size)
        skips = data.damaged == "skip"  # then all processes must leave out the same
        return load_dataset(
            data.source,
            input_size=model.input_size,
            calibration_images=data.calibration_images,
            seed=self.recipe.seed,
            root=data.root,
            mean=data.mean,
            std=data.std,
            interpolation=data.interpolation,
            crop_pct=data.crop_pct,
            workers=data.workers,
            check=data.check and (self.processes.is_main or skips),
            skip_damaged=skips,
            progress=self.reporter.progress,
        )

    @cached_property
    def examples(self) -> Dataset:
        """The data set as ``judge`` needs it: ``data``, or with the trained original's answers."""
        return self._as_judged(self.data)

    def _as_judged(self, data: Dataset) -> Dataset:
        return answered(data, AsOne(self.teacher).eval()) if self.task.imitates else data

    def new_model(self, *, pretrained: bool = False) -> nn.Module:
        """The original network with fresh weights, initialised from the recipe's seed.

        One that was given in memory has the weights that it was given with.
        """
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed)
            if self.model is not None:
                return copy_of(self.model, self.arguments)
            extra = {"pretrained": True} if pretrained else {}
            arguments = {**self.arguments, **extra}
            return create_model(self.recipe.network, arguments, allow_code=self.allow_code)

    @cached_property
    def teacher(self) -> nn.Module:
        """The trained original network."""
        model = self.new_model()
        load_weights(
            model, self.path("teacher.safetensors"), own=True, instead="start the run again"
        )
        return model

    @cached_property
    def chain(self) -> Chain:
        """The original network's chain."""
        return load_json(Chain, self.path("chain.json"))

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates."""
        return load_json(CandidateList, self.path("candidates.json")).candidates

    @cached_property
    def latency(self) -> LatencyTable:
        """The measured latencies."""
        return load_json(LatencyTable, self.path("latency.json"))

    @cached_property
    def worthwhile(self) -> tuple[Candidate, ...]:
        """The candidates that are faster than what they replace. If keeping costs, all."""
        free = self.recipe.keeping_is_free
        return worthwhile(self.chain, self.candidates, self.latency, keeping_is_free=free)

    @property
    def latency_ms(self) -> dict[Candidate, float]:
        """The latency of each of these."""
        return {c: candidate_ms(self.chain, c, self.latency) for c in self.worthwhile}

    @cached_property
    def importance(self) -> ImportanceTable:
        """The estimated importances."""
        return load_json(ImportanceTable, self.path("importance.json"))

    @cached_property
    def frontier(self) -> Frontier:
        """Every Pareto-optimal plan."""
        return load_json(Frontier, self.path("frontier.json"))

    @cached_property
    def plan(self) -> Plan:
        """The picked plan."""
        return load_json(Plan, self.path("plan.json"))

    def network(self, folder: str) -> TracedNetwork:
        """A saved network: ``applied``, ``finetuned`` or ``fused``."""
        return load(self.path(folder), model=self.original)

    @cached_property
    def original(self) -> Original | None:
        """The original or the callable that makes it, if its name alone is not enough."""
        if self.model is not None or not runs_code(self.recipe.network):
            return self.model
        return callable_named(self.recipe.network, allow_code=self.allow_code)

    def train_config(self, config: TrainConfig) -> TrainConfig:
        """A training section with the recipe's seed."""
        return replace(config, seed=config.seed + self.recipe.seed)

    def train_data(self, images: int | None, data: Dataset | None = None) -> Dataset:
        """A data set, by default the run's, with a smaller train split, classes in proportion."""
        data = data or self.examples
        if images is None or images >= len(data.train):
            return data
        chosen, _ = self._divided(data.train, images)
        return replace(data, train=chosen)

    def without(self, images: int) -> tuple[Dataset, Split]:
        """Take this many images out of the train split, classes in proportion, and return both."""
        chosen, others = self._divided(self.data.train, images)
        divided = self._as_judged(replace(self.data, train=others, test=chosen))
        return replace(self.examples, train=divided.train), divided.test

    def _divided(self, split: Split, images: int) -> tuple[Split, Split]:
        chosen, others = stratified(strata(split), images, seed=self.recipe.seed)
        return split.subset(chosen), split.subset(others)

    def train_batches(
        self, images: int, *, least: int = 1, split: Split | None = None
    ) -> Repeated[Batch]:
        """Batches of training examples, not augmented, the same every time.

        Args:
            images: number of examples, rounded up to whole batches.
            least: number of batches; they are smaller where the examples make fewer.
            split: training examples; the run's if left out.
        """
        split = self.data.train if split is None else split
        size = max(1, min(BATCH, images // least, len(split) // least))
        if min(-(-images // BATCH), training_steps(len(split), BATCH)) >= least:
            size = BATCH
        count = min(-(-images // size), training_steps(len(split), size))
        order = batch_indices(len(split), size, shuffle_seed=self.recipe.seed, skip=0, part=(0, 1))[
            :count
        ]
        # A pass that is gone through to its end leaves no worker process at its work.
        chosen = split.subset(torch.cat(list(order)))
        return Repeated(partial(chosen.batches, size), count)

    def train_inputs(
        self, images: int, *, least: int = 1, split: Split | None = None
    ) -> Repeated[Inputs]:
        """The inputs alone of the same batches."""
        batches = self.train_batches(images, least=least, split=split)
        return Repeated(lambda: (inputs for inputs, _ in batches), len(batches))

    def held_out(self, split: Split | None = None) -> Repeated[Batch]:
        """Batches of calibration examples, or of others, as ``judge`` needs them."""
        split = self.examples.calibration if split is None else split
        return Repeated(partial(split.batches, BATCH), -(-len(split) // BATCH))
