"""A recipe looked through before hours are spent on it: what it needs and what it will take.

Nothing is written into the run folder. Times come from short measurements on this machine:
a forward pass, a training step, and a matrix product in float64.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.operators import Convolution
from depthopt.data.dataset import training_steps
from depthopt.errors import DepthoptError
from depthopt.extraction.extract import extract
from depthopt.importance.regress import grouped
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import latency_keys
from depthopt.pipeline.context import Context
from depthopt.pipeline.folder import RunFolder
from depthopt.pipeline.processes import Processes
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.run import Silent
from depthopt.pipeline.stages import STAGES
from depthopt.pipeline.trials import MOST_TRIED
from depthopt.pipeline.work import starting_table, teacher_is_trained
from depthopt.rewrite.regression import Regression
from depthopt.shallow.build import is_regressed
from depthopt.train.config import TrainConfig

_ENTRY_S = 0.35
"""A latency entry takes: 69 s for 197 of them (latency_tables/README.md)."""

_PASSES = 4
"""Over the images that are regressed on, one for each part of the candidates."""

_SIDE = 1024
"""Of the matrices that are multiplied to see how fast that is."""


@dataclass(frozen=True, slots=True)
class StageForecast:
    """What a stage will take.

    Attributes:
        stage: its name.
        done: whether an earlier run has finished it, from just this.
        seconds: estimated; None where nothing is known.
        memory_gb: estimated, for tensors alone; None where it is little or unknown.
        what: that it will do.
    """

    stage: str
    done: bool
    seconds: float | None
    memory_gb: float | None
    what: str


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a recipe needs and will take.

    Attributes:
        model: timm name.
        images: per split of the data; empty where it could not be read.
        classes: of the data.
        blocks: of the network's chain.
        candidates: how many of each kind.
        entries: latency entries to measure; None where the runtime is not available.
        stages: in order.
        problems: what would stop the run, one line each.
    """

    model: str
    images: dict[str, int]
    classes: int
    blocks: int
    candidates: dict[str, int]
    entries: int | None
    stages: tuple[StageForecast, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Speed:
    """What this machine does with the original network, measured.

    Attributes:
        forward_s: of one image, in a batch.
        step_s: the same, forward and backward.
        step_bytes: kept for the backward pass, per image.
        macs64: multiply-accumulates a second, in float64.
    """

    forward_s: float
    step_s: float
    step_bytes: float
    macs64: float


def dry_run(recipe: Recipe, folder: Path, *, batch: int = 8) -> DryRun:
    """Load everything that a recipe names, and estimate what each stage will take.

    Args:
        recipe: to look through.
        folder: of the run, which need not exist.
        batch: images that speeds are measured on.

    Raises:
        DepthoptError: the network itself cannot be used.
    """
    unchecked = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"check": False, "workers": 0})}
    )
    run = Context(unchecked, RunFolder(folder), Silent(), Processes())
    problems = list(_problems(run))
    images = {}
    with suppress(DepthoptError):
        images = {s: len(getattr(run.data, s)) for s in ("train", "calibration", "test")}
    classes = len(run.data.class_names) if images else 1000
    model = _untrained(run, classes)
    chain = extract(model, recipe.model.input_size, name=recipe.model.name)
    found = candidates(chain, **dict(recipe.candidates))
    entries = None
    with suppress(DepthoptError):
        keys = {key for c in found for key in latency_keys(chain, c)}
        entries = len(starting_table(run).missing(keys))
    speed = _measured(model, recipe.model.input_size, batch)
    forecast = _Forecast(run, chain, found, images, entries, speed)
    return DryRun(
        recipe.model.name,
        images,
        classes if images else 0,
        len(chain.blocks),
        dict(Counter(c.kind for c in found)),
        entries,
        tuple(forecast.stages()),
        tuple(problems),
    )


def _problems(run: Context) -> Iterator[str]:
    """What would stop the run."""
    checks: tuple[Callable[[], object], ...] = (
        lambda: run.runtime,
        lambda: [next(s.batches(8)) for s in (run.data.train, run.data.calibration, run.data.test)],
        lambda: starting_table(run),
    )
    told = set()
    for check in checks:
        try:
            check()
        except DepthoptError as error:
            if str(error) not in told:
                yield str(error)
            told.add(str(error))
    checkpoint = run.recipe.model.checkpoint
    if checkpoint is not None and not checkpoint.is_file():
        yield f"model.checkpoint {checkpoint} does not exist"


def _untrained(run: Context, classes: int) -> nn.Module:
    """The original network; without data, of as many classes as there might be."""
    from depthopt.models.timm import create_timm_model  # noqa: PLC0415 - used here alone

    channels = run.recipe.model.input_size[0]
    arguments = {"in_chans": channels, "num_classes": classes, **run.recipe.model.arguments}
    return create_timm_model(run.recipe.model.name, arguments)


def _measured(model: nn.Module, size: tuple[int, int, int], batch: int) -> Speed:
    device = torch.device("cpu")
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator() or device
    model = model.to(device).to(memory_format=torch.channels_last)
    images = torch.randn(batch, *size, device=device).to(memory_format=torch.channels_last)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    def forward() -> None:
        with torch.no_grad():
            model.eval()(images)

    def step() -> None:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.train()(images).square().mean().backward()

    matrix = torch.randn(_SIDE, _SIDE, dtype=torch.float64, device=device)
    weights = {p.data_ptr() for p in model.parameters()}
    forward_s, step_s = _seconds(forward) / batch, _seconds(step) / batch
    saved = sum(size for pointer, size in kept.items() if pointer not in weights)
    model.zero_grad()
    return Speed(forward_s, step_s, saved / 2 / batch, _SIDE**3 / _seconds(lambda: matrix @ matrix))


def _seconds(work: Callable[[], object]) -> float:
    """Of the fastest of four runs."""
    times = []
    for _ in range(4):
        begin = time.perf_counter()
        work()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - begin)
    return min(times)


class _Estimate(NamedTuple):
    seconds: float | None
    memory_gb: float | None
    what: str


@dataclass(frozen=True, slots=True)
class _Forecast:
    run: Context
    chain: Chain
    candidates: Sequence[Candidate]
    images: dict[str, int]
    entries: int | None
    speed: Speed

    def stages(self) -> Iterator[StageForecast]:
        """Of all stages, in order; after the first that is to do, none is done."""
        forecasts: dict[str, Callable[[], _Estimate]] = {
            "teacher": self._teacher,
            "profile": self._profile,
            "estimate": self._estimate,
            "solve": self._solve,
            "apply": self._apply,
            "finetune": partial(self._training, self.run.recipe.finetune, distilled=True),
            "result": self._result,
        }
        unmeasured = partial(_Estimate, None, None, "seconds")
        done = True
        for stage in STAGES:
            folder = self.run.folder
            made_from = folder.digest(stage.settings(self.run.recipe), stage.inputs)
            done = done and folder.is_done(stage.name, made_from, stage.outputs)
            seconds, memory, what = forecasts.get(stage.name, unmeasured)()
            yield StageForecast(stage.name, done, seconds, memory, what)

    def _teacher(self) -> _Estimate:
        section = self.run.recipe.model
        if self.images and teacher_is_trained(self.run):
            start = "timm's weights (downloaded)" if section.pretrained else "scratch"
            seconds, memory, what = self._training(self.run.recipe.teacher, distilled=False)
            return _Estimate(seconds, memory, f"{what}, from {start}")
        seconds = self.images.get("calibration", 0) * self.speed.forward_s
        return _Estimate(seconds, None, str(section.checkpoint or "timm's weights (downloaded)"))

    def _training(self, config: TrainConfig, *, distilled: bool) -> _Estimate:
        if not self.images:
            return _Estimate(None, None, "unknown without data")
        epoch = training_steps(self.images["train"], config.batch_size)
        steps = config.steps or config.epochs * epoch
        image_s = self.speed.step_s + (self.speed.forward_s if distilled else 0)
        weights = 4 * sum(b.operator.parameters for b in self.chain.blocks)
        held = self.speed.step_bytes * config.batch_size / config.accumulation
        what = f"{steps} steps of {config.batch_size} images"
        if distilled:
            what += ", as of the original: a shallower network is faster"
        return _Estimate(steps * config.batch_size * image_s, (held + 5 * weights) / 1e9, what)

    def _profile(self) -> _Estimate:
        if self.entries is None:
            return _Estimate(None, None, "unknown: the runtime is not available")
        if self.run.recipe.latency.device != "cpu":
            what = f"{self.entries} entries to measure; nobody has timed one on a GPU yet"
            return _Estimate(None, None, what)
        return _Estimate(self.entries * _ENTRY_S, None, f"{self.entries} entries to measure")

    def _estimate(self) -> _Estimate:
        section, form = self.run.recipe.importance, self.run.recipe.apply.form
        scored = [c for c in self.candidates if c.kind != "keep"]
        what = f"at most {len(scored)} candidates by {section.estimator}"
        if section.estimator == "magnitude":
            return _Estimate(0.0, None, what)
        if section.estimator == "finetune":
            each = self._training(section.train, distilled=True)
            total = each.seconds and each.seconds * len(scored)
            return _Estimate(total, each.memory_gb, what)
        groups = grouped(self.chain, [c for c in scored if is_regressed(c, form)])
        macs: float = sum(g.macs(self.chain) for g in groups) * section.images
        macs += sum(_solving(g.largest, len(section.ridges)) for g in groups)
        left = self._share_behind()
        forwards: float = _PASSES * section.images
        forwards += self.images.get("calibration", 0) * sum(left[c.end] for c in scored)
        needed = [g.memory_bytes for g in groups]
        memory = max(min(2**29, sum(needed)), *needed) if needed else 0
        return _Estimate(
            macs / self.speed.macs64 + forwards * self.speed.forward_s, 2 * memory / 1e9, what
        )

    def _solve(self) -> _Estimate:
        budget = self.run.recipe.budget
        if not budget.measured or budget.cost is not None:
            return _Estimate(None, None, "seconds")
        what = "plans built and timed, seconds each"
        steps = self.run.recipe.trials.steps
        if not steps:
            return _Estimate(None, None, what)
        config = replace(self.run.recipe.finetune, steps=steps)
        training, applied = self._training(config, distilled=True), self._apply()
        what += f"; at most {MOST_TRIED} of them carried out and finetuned for {training.what}"
        each = training.seconds and training.seconds + (applied.seconds or 0.0)
        return _Estimate(each and MOST_TRIED * each, training.memory_gb, what)

    def _apply(self) -> _Estimate:
        section = self.run.recipe.apply
        blocks = self.chain.blocks
        specs = [(b.operator, math.prod(b.layout.output_size)) for b in blocks]
        needed = [Regression.bytes_needed(spec, spec.out_channels) for spec, _ in specs]
        macs = sum(
            section.images * pixels * need / 8 + _solving(spec, 5)
            for (spec, pixels), need in zip(specs, needed, strict=True)
        )
        forwards = 2 * section.images * len(blocks)
        if section.classifier:
            forwards += section.images + self.images.get("calibration", 0)
        seconds = macs / self.speed.macs64 + forwards * self.speed.forward_s
        return _Estimate(seconds, 2 * max(needed) / 1e9, f"at most {len(blocks)} layers to regress")

    def _result(self) -> _Estimate:
        images = 3 * self.images.get("test", 0)
        return _Estimate(images * self.speed.forward_s, None, f"{images} forward passes")

    def _share_behind(self) -> list[float]:
        """Per position, the share of the network's multiply-accumulates behind it."""
        macs = [block.macs for block in self.chain.blocks]
        total = sum(macs)
        return [sum(macs[i:]) / total for i in range(len(macs) + 1)]


def _solving(spec: Convolution, ridges: int) -> float:
    """Multiply-accumulates of a Cholesky factorisation for each ridge."""
    kh, kw = spec.kernel_size
    features = spec.in_channels // spec.groups * kh * kw
    return ridges * spec.groups * features**3 / 6
