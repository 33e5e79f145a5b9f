"""Explore what a network's compression is worth: time and try a few plans of rising speed-up.

What a whole run would give is then known well enough to choose a budget, long before one is
finished. All that is learned stays in the run's folder: the run goes on from it.
"""

import copy
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from torch import nn

from depthopt.core import numbers
from depthopt.core.artefacts import save_json
from depthopt.core.explored import Explored
from depthopt.core.old_words import without_later
from depthopt.data.dataset import Dataset
from depthopt.errors import UsageError
from depthopt.importance.estimate import estimate
from depthopt.models.names import require_allowed
from depthopt.models.outputs import require_outputs
from depthopt.pipeline.attempts import EXPLORED, Attempts, Clock, part_of, worth_going_on
from depthopt.pipeline.context import BATCH, Context, Reporter
from depthopt.pipeline.folder import RunFolder
from depthopt.pipeline.given import named, require_same
from depthopt.pipeline.kept import read_kept
from depthopt.pipeline.lock import lock
from depthopt.pipeline.methods import DEPTHOPT
from depthopt.pipeline.original import teacher_is_trained
from depthopt.pipeline.pace import REDUCTIONS, Reduction, reduction_for
from depthopt.pipeline.processes import Processes
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.run import Silent, run
from depthopt.pipeline.speed import measured_speed
from depthopt.pipeline.stages import STAGES, WITHOUT_EFFECT
from depthopt.tables.importance import ImportanceTable
from depthopt.train.finetune import steps_of, training_workload

logger = logging.getLogger(__name__)

SPEEDUPS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
"""Default speed-ups to look for."""

MINUTES = 5.0
"""Default number of minutes."""

_TABLES_SHARE = 0.5
"""Of the time, that tables and carrying plans out may take."""


def explore(
    recipe: Recipe,
    folder: Path,
    *,
    minutes: float = MINUTES,
    speedups: Sequence[float] = SPEEDUPS,
    reporter: Reporter | None = None,
    say: Callable[[str], None] | None = None,
    allow_code: bool = False,
    model: nn.Module | None = None,
    data: Dataset | None = None,
) -> Explored:
    """Find out how fast a recipe's network can get, and what that costs in accuracy.

    For each speed-up the least costly plan that is measured as fast is carried out, evaluated, and
    finetuned for a part of the recipe's steps; a few are finetuned longer. Stopped and started
    again, it goes on.

    Args:
        recipe: its budget does not matter.
        folder: of the run, which goes on from what is learned here.
        minutes: to take; the original's training comes on top.
        speedups: to look for.
        reporter: receives the progress.
        say: receives what to know beforehand, such as how long the original's training will take.
        allow_code: whether code may run that the recipe says makes the network.
        model: the original in memory, as ``run`` takes it.
        data: a data set in memory, as ``run`` takes it.

    Raises:
        UsageError: another run is at work in the folder, or the minutes or speed-ups are none.
        DepthoptError: whatever a stage could not do.
    """
    numbers.require(numbers.Positive, "minutes", minutes)
    if not speedups:
        raise UsageError("explore needs one speed-up or more, got none")
    for speedup in speedups:
        numbers.require(numbers.Positive, "speedup", speedup)
    reporter, say = reporter or Silent(), say or logger.info
    recipe = named(recipe, model)
    require_allowed(recipe.network, allow_code=allow_code)
    require_same(recipe, folder)
    walk = partial(run, folder=folder, allow_code=allow_code, model=model, data=data)
    first = Context(recipe, RunFolder(folder), reporter, Processes(), allow_code, model, data)
    first.processes.require_one("explore", "explore")
    _require_own_method(recipe)
    first.require_runtime()
    _say_before(first, say)
    walk(recipe, until="teacher", reporter=reporter)
    clock, wishes = Clock(60 * minutes), tuple(sorted(set(speedups)))
    made_from = _made_from(first)
    kept = read_kept(Explored, first.path(EXPLORED), (made_from,))
    if kept is not None and _suffices(kept, wishes, clock.seconds, first.folder):
        reporter.skipped("explore")
        return kept
    context = walk(recipe, until="extract", reporter=reporter)
    speed = measured_speed(copy.deepcopy(context.teacher), recipe.model.input_size)
    if kept is not None:
        index = min(kept.reduction, len(REDUCTIONS) - 1)
    else:
        index = reduction_for(context, speed, _TABLES_SHARE * clock.seconds, len(wishes))
    if (reduction := REDUCTIONS[index]) is None:
        context = walk(recipe, until="estimate", reporter=reporter)
    else:
        say(f"to fit into {minutes:g} minutes, less is tried than the recipe says: {reduction}")
        context = walk(reduction.of(recipe), until="profile", reporter=reporter)
        walk(recipe, until="teacher")  # recipe.yaml is the whole one again
    with lock(folder):
        if reduction is not None:
            _estimate(context, reduction)
        work = Attempts(context, speed, clock, wishes, reduction=index, made_from=made_from)
        return work.explored()


def _require_own_method(recipe: Recipe) -> None:
    """Refuse a method whose importances take a training each: none of that fits into minutes.

    Raises:
        UsageError: the recipe has such a method.
    """
    if recipe.method != DEPTHOPT:
        raise UsageError(
            f"explore is for method {DEPTHOPT}, which scores candidates in seconds; method "
            f"{recipe.method} trains the network for each: name a budget and run it"
        )


def _say_before(context: Context, say: Callable[[str], None]) -> None:
    """Say how long the original's training will take, if there is to be one."""
    teacher, folder = STAGES[0], context.folder
    made_from = folder.digest(teacher.settings(context.recipe), teacher.inputs)
    if folder.is_done(teacher.name, made_from, teacher.outputs):
        return
    if not teacher_is_trained(context):
        return
    model = context.new_model()
    if (width := context.task.width(context.data)) is not None:
        size, name = context.recipe.model.input_size, context.recipe.network_name
        require_outputs(model, size, width, name, maps=context.task.maps)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    speed = measured_speed(model, context.recipe.model.input_size)
    config, images = context.recipe.teacher, len(context.data.train)
    work = training_workload(config, images=images, parameters=parameters, distilled=False)
    say(
        f"the original is trained first: {steps_of(config, images)} steps, about "
        f"{speed.of(work)[0] / 60:.1f} minutes, which do not count"
    )


def _made_from(context: Context) -> str:
    """A digest of all of the recipe that exploring depends on, and of the original."""
    tables = {"model", "data", "task", "candidates", "latency", "importance", "solver"}
    settings = context.recipe.settings({*tables, "apply", "finetune", "seed"}, WITHOUT_EFFECT)
    return context.folder.digest(settings, ("teacher.safetensors",))


def _suffices(
    kept: Explored, speedups: tuple[float, ...], seconds: float, folder: RunFolder
) -> bool:
    """Whether what was explored is all that there is to find out.

    A run that went on from it has tables of its own by now, which are left alone.
    """
    if not kept.reason or {asked.speedup for asked in kept.asked} != set(speedups):
        return False
    return "solve" in folder.manifest.stages or not worth_going_on(kept, seconds)


def _estimate(context: Context, reduction: Reduction) -> None:
    """The importance table of what is left of the recipe, as far as it is not known."""
    section, path = context.recipe.importance, context.path("importance.json")
    made_from = context.folder.digest(
        [without_later("importance", section.model_dump(mode="json")), reduction.held_out],
        ("teacher.safetensors", "chain.json", "candidates.json", "latency.json"),
    )
    held_out = part_of(context.examples.calibration, reduction.held_out, context.recipe.seed)
    context.reporter.started("estimate")
    begin = time.monotonic()
    table = estimate(
        context.teacher,
        context.chain,
        context.worthwhile,
        fitting=context.train_inputs(section.images),
        held_out=held_out.batches(BATCH),
        task=context.judge,
        ridges=section.ridges,
        form=context.recipe.apply.form,
        latency_ms=context.latency_ms,
        table=read_kept(ImportanceTable, path, (made_from,)),
        on_update=lambda partial: save_json(partial, path, made_from=made_from),
        progress=context.reporter.progress,
    )
    save_json(table, path, made_from=made_from)
    scored = f"{len(table.entries)} of {len(context.candidates)} candidates are faster and scored"
    context.reporter.finished("estimate", time.monotonic() - begin, scored)
