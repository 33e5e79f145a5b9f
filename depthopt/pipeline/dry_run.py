"""Check a recipe before hours are spent on it, and estimate what it will take.

Nothing is written into the run folder. What a stage's work is, the modules say that do it
(``core.workload``); how fast this machine is, ``pipeline.speed`` measures.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.counted import counted
from depthopt.core.metric import Metric
from depthopt.core.workload import Workload
from depthopt.data.dataset import Dataset
from depthopt.data.described import contents, described
from depthopt.errors import DepthoptError
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate_workload, scored
from depthopt.kinds.latency_keys import latency_keys
from depthopt.latency.profile import profile_workload
from depthopt.models.memory import copy_of
from depthopt.models.names import require_allowed
from depthopt.models.registry import create_model, model_arguments
from depthopt.pipeline.context import Context
from depthopt.pipeline.folder import RunFolder
from depthopt.pipeline.given import named
from depthopt.pipeline.listed import listed
from depthopt.pipeline.measure import result_workload
from depthopt.pipeline.methods import DEPTHOPT
from depthopt.pipeline.original import Start, start, teacher_is_trained
from depthopt.pipeline.overridden import AT_ODDS, Setting, at_odds, settings_of
from depthopt.pipeline.own_metric import require_function
from depthopt.pipeline.processes import Processes
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.requirements import shortcomings
from depthopt.pipeline.run import Silent
from depthopt.pipeline.sanity import Judged, glance
from depthopt.pipeline.short_training import remark, shares, short_training_workload
from depthopt.pipeline.speed import Speed, measured_speed
from depthopt.pipeline.stages import STAGES
from depthopt.pipeline.trials import most_tried
from depthopt.pipeline.work import starting_table
from depthopt.shallow.apply import apply_workload
from depthopt.train.config import TrainConfig
from depthopt.train.finetune import steps_of, training_workload


@dataclass(frozen=True, slots=True)
class StageForecast:
    """The estimate for a stage.

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
        outputs: numbers that the network gives for an example; None where that is not the data's
            to say.
        blocks: of the network's chain.
        candidates: how many of each kind.
        entries: latency entries to measure; None where the runtime is not available.
        stages: in order.
        problems: what would stop the run, one line each.
        contents: the data set in words: how many examples of what.
        inputs: the same of what a network is given: size and normalisation.
        original: how good the network is on some held-out images, where it need not be trained
            first; None else.
        metric: what its figure is.
        warnings: what would not stop the run, and may make its figures mean little.
        method: of the recipe.
        settings: what the method sets, and what the recipe has instead.
    """

    model: str
    images: dict[str, int]
    outputs: int | None
    blocks: int
    candidates: dict[str, int]
    entries: int | None
    stages: tuple[StageForecast, ...]
    problems: tuple[str, ...]
    contents: str
    inputs: str
    original: Judged | None
    metric: Metric
    warnings: tuple[str, ...]
    method: str = DEPTHOPT
    settings: tuple[Setting, ...] = ()


def dry_run(
    recipe: Recipe,
    folder: Path,
    *,
    batch: int = 8,
    allow_code: bool = False,
    model: nn.Module | None = None,
    data: Dataset | None = None,
) -> DryRun:
    """Load everything that a recipe names, and estimate what each stage will take.

    A network that need not be trained first is evaluated on some held-out images.

    Args:
        recipe: to look through.
        folder: of the run, which need not exist.
        batch: images that speeds are measured on.
        allow_code: whether code may run that the recipe says makes the network.
        model: the original in memory, as ``run`` takes it.
        data: in memory, as ``run`` takes it.

    Raises:
        DepthoptError: the network itself cannot be used.
    """
    recipe = named(recipe, model)
    require_allowed(recipe.network, allow_code=allow_code)
    if recipe.own_metric is not None:
        require_function(recipe.own_metric, allow_code=allow_code)
    unchecked = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"check": False, "workers": 0})}
    )
    run = Context(unchecked, RunFolder(folder), Silent(), Processes(), allow_code, model, data)
    problems, images = _problems(run), dict[str, int]()
    with suppress(DepthoptError):
        images = {s: len(getattr(run.data, s)) for s in ("train", "calibration", "test")}
    outputs = run.task.width(run.data) if images else None
    original, known, problem = _original(run, outputs, sound=bool(images) and not problems)
    warnings = [] if known is None else [known.warning(run.task.metric, "held-out images")]
    warnings += [run.task.unseen(run.data), remark(run)] if images else []
    settings = settings_of(recipe)
    warnings += [
        at_odds(recipe, each) for each in settings if each.is_overridden and each.key in AT_ODDS
    ]
    chain = extract(original, recipe.model.input_size, name=recipe.network_name)
    found = listed(recipe, original, chain)
    entries, timed = None, 0
    with suppress(DepthoptError):
        keys = {key for c in found for key in latency_keys(chain, c)}
        table = starting_table(run)
        entries = len(table.missing(keys))
        timed = 0 if table.has_footprints(chain) else recipe.footprint_plans
    speed = measured_speed(original, recipe.model.input_size, batch)
    forecast = _Forecast(run, chain, found, images, entries, timed, speed)
    return DryRun(
        recipe.network_name,
        images,
        outputs,
        len(chain.blocks),
        dict(Counter(c.kind for c in found)),
        entries,
        tuple(forecast.stages()),
        (*problems, *([] if problem is None else [problem])),
        contents(run.data) if images else "",
        described(run.data) if images else "",
        known,
        run.task.metric,
        tuple(filter(None, warnings)),
        recipe.method,
        settings,
    )


def _problems(run: Context) -> tuple[str, ...]:
    """What would stop the run."""
    checks: tuple[Callable[[], object], ...] = (
        run.require_runtime,
        lambda: [next(s.batches(8)) for s in (run.data.train, run.data.calibration, run.data.test)],
        lambda: starting_table(run),
    )
    found = []
    for check in checks:
        try:
            check()
        except DepthoptError as error:
            found.append(str(error))
    with suppress(DepthoptError):  # of data that cannot be read, which is told
        found += shortcomings(run)
    return tuple(dict.fromkeys(found))


def _original(
    run: Context, outputs: int | None, *, sound: bool
) -> tuple[nn.Module, Judged | None, str | None]:
    """The original network, how good it is if that can be said yet, and what is wrong with it.

    Args:
        run: with its recipe.
        outputs: that it gives for an example, if the data say so.
        sound: whether there is nothing wrong with the data.
    """
    first, checkpoint = STAGES[0], run.recipe.checkpoint
    made_from = run.folder.digest(first.settings(run.recipe), first.inputs)
    done = run.folder.is_done(first.name, made_from, first.outputs)
    if not sound:
        gone = checkpoint is not None and not checkpoint.is_file()
        told = f"model.checkpoint {checkpoint} does not exist" if gone else None
        return _untrained(run, outputs), None, told
    if not done and checkpoint is None and teacher_is_trained(run):
        return _untrained(run, outputs), None, None
    try:
        begun = Start(run.teacher, trained=False) if done else start(run)
        if begun.trained or run.task.imitates:
            return begun.model, None, None
        return begun.model, glance(run.task, begun.model, run.data.calibration, begun.figures), None
    except DepthoptError as error:
        what = "the original" if checkpoint is None else "model.checkpoint"
        return _untrained(run, outputs), None, f"{what} {error}"


def _untrained(run: Context, outputs: int | None) -> nn.Module:
    """The original network; without data, of as many outputs as it is made with."""
    name, section = run.recipe.network, run.recipe.model
    arguments = {**model_arguments(name, section.input_size, outputs), **section.arguments}
    if run.model is not None:
        return copy_of(run.model, arguments)
    return create_model(name, arguments, allow_code=run.allow_code)


_Known = tuple[Workload | None, str]
"""What a stage takes, None where that is not known; and what it will do."""


@dataclass(frozen=True, slots=True)
class _Forecast:
    run: Context
    chain: Chain
    candidates: Sequence[Candidate]
    images: dict[str, int]
    entries: int | None
    timed: int
    speed: Speed

    def stages(self) -> Iterator[StageForecast]:
        """Of all stages, in order; after the first that is to do, none is done."""
        forecasts: dict[str, Callable[[], _Known]] = {
            "teacher": self._teacher,
            "profile": self._profile,
            "estimate": self._estimate,
            "solve": self._solve,
            "apply": self._apply,
            "finetune": partial(self._training, self.run.recipe.finetune),
            "result": self._result,
        }
        done = True
        for stage in STAGES:
            folder = self.run.folder
            made_from = folder.digest(stage.settings(self.run.recipe), stage.inputs)
            done = done and folder.is_done(stage.name, made_from, stage.outputs)
            work, what = forecasts.get(stage.name, lambda: (None, "seconds"))()
            seconds, memory_gb = (None, None) if work is None else self.speed.of(work)
            yield StageForecast(stage.name, done, seconds, memory_gb, what)

    def _teacher(self) -> _Known:
        section = self.run.recipe.model
        if self.images and teacher_is_trained(self.run):
            start = "timm's weights (downloaded)" if section.pretrained else "scratch"
            work, what = self._training(self.run.recipe.teacher, of_teacher=True)
            return work, f"{what}, from {start}"
        if self.run.model is not None:
            what = "as given in memory"
        elif section.checkpoint is not None or section.pretrained:
            what = str(section.checkpoint or "timm's weights (downloaded)")
        else:
            return None, "trained from scratch; unknown without data"
        return Workload(forward_images=self.images.get("calibration", 0)), what

    def _training(self, config: TrainConfig, *, of_teacher: bool = False) -> _Known:
        if not self.images:
            return None, "unknown without data"
        images = self.images["train"]
        distilled = not of_teacher and bool(config.distillation or config.matching)
        parameters = sum(block.operator.parameters for block in self.chain.blocks)
        work = training_workload(config, images=images, parameters=parameters, distilled=distilled)
        what = f"{steps_of(config, images)} steps of {min(config.batch_size, images)} images"
        if not of_teacher:
            what += ", as of the original: a shallower network is faster"
        return work, what

    def _profile(self) -> _Known:
        if self.entries is None:
            return None, "unknown: the runtime is not available"
        what = f"{counted(self.entries, 'entry', 'entries')} to measure"
        if self.timed:
            what += f", {counted(self.timed, 'plan')} to time"
        if self.run.recipe.latency.device != "cpu":
            return None, f"{what}; nobody has timed one on a GPU yet"
        return profile_workload(self.entries, plans=self.timed), what

    def _estimate(self) -> _Known:
        section = self.run.recipe.importance
        wanted, train = scored(self.candidates, keep=section.kept), self.images.get("train", 0)
        work = estimate_workload(
            self.chain,
            wanted,
            estimator=section.estimator,
            images=self._seen(section.images),
            held_out=shares(section, train)[1] or self.images.get("calibration", 0),
            ridges=section.ridges,
            training=self._short_training(),
            form=self.run.recipe.apply.form,
            workers=section.workers,
            keep=section.kept,
        )
        return work, f"at most {len(wanted)} candidates by {section.estimator}"

    def _short_training(self) -> Workload | None:
        """Of ``finetune``, for each candidate."""
        if not self.images:
            return None
        return short_training_workload(
            self.run.recipe.importance,
            images=self.images["train"],
            parameters=sum(block.operator.parameters for block in self.chain.blocks),
        )

    def _seen(self, images: int) -> int:
        """Of so many training images, those that there are."""
        return min(images, self.images.get("train", images))

    def _solve(self) -> _Known:
        picked = self.run.recipe.picked
        if picked == "predicted":
            return None, "seconds"
        what = "plans built and timed, seconds each"
        if picked == "measured":
            return None, what
        most = most_tried(self.run.recipe.candidates.kinds)
        what += f"; at most {most} of them carried out"
        work = self._apply()[0]
        if steps := self.run.recipe.trials.steps:
            training, trained = self._training(replace(self.run.recipe.finetune, steps=steps))
            what += f" and finetuned for {trained}"
            if training is None:
                return None, what
            work += training
        return work * most, what

    def _apply(self) -> tuple[Workload, str]:
        recipe, images = self.run.recipe, self._seen(self.run.recipe.apply.images)
        work = apply_workload(
            self.chain, images, ridges=recipe.importance.ridges, compensated=recipe.apply.compensate
        )
        if recipe.apply.head and self.run.task.regress_head is not None:
            work += Workload(forward_images=images + self.images.get("calibration", 0))
        return work, f"at most {len(self.chain.blocks)} layers to regress"

    def _result(self) -> _Known:
        work = result_workload(self.images.get("test", 0))
        return work, f"{work.forward_images} forward passes"
