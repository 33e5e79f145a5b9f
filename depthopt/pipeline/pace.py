"""Fit exploring into its minutes: what is left out, and how long finetunes may be."""

from dataclasses import dataclass

from depthopt.importance.estimate import estimate_workload
from depthopt.kinds.latency_keys import latency_keys
from depthopt.latency.profile import profile_workload
from depthopt.pipeline.context import Context
from depthopt.pipeline.listed import listed
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.short_training import shares, short_training_workload
from depthopt.pipeline.speed import Speed
from depthopt.pipeline.stages import STAGES
from depthopt.pipeline.work import starting_table
from depthopt.shallow.apply import apply_workload


@dataclass(frozen=True, slots=True)
class Reduction:
    """A reduction of a recipe's work.

    Attributes:
        kernel_sizes: that ``fit`` tries.
        max_length: longest segment, in blocks.
        images: that candidates are regressed on.
        held_out: that they are scored on.
        apply_images: that a plan is carried out with.
    """

    kernel_sizes: tuple[int, ...]
    max_length: int
    images: int
    held_out: int
    apply_images: int

    def of(self, recipe: Recipe) -> Recipe:
        """The recipe with its work reduced to this."""
        given = recipe.candidates
        sizes = tuple(size for size in given.kernel_sizes if size in self.kernel_sizes)
        length = min(given.max_length or self.max_length, self.max_length)
        listed = {"kernel_sizes": sizes or given.kernel_sizes[:1], "max_length": length}
        scored = {
            "estimator": "regression",
            "images": min(recipe.importance.images, self.images),
        }
        fitted = {"images": min(recipe.apply.images, self.apply_images)}
        return recipe.model_copy(
            update={
                "candidates": given.model_copy(update=listed),
                "importance": recipe.importance.model_copy(update=scored),
                "apply": recipe.apply.model_copy(update=fitted),
            }
        )


REDUCTIONS = (
    None,
    Reduction((1, 3), 12, 512, 256, 1024),
    Reduction((1, 3), 12, 256, 128, 512),
    Reduction((3,), 12, 192, 96, 384),
    Reduction((3,), 8, 128, 64, 384),
)
"""Reductions, from none to the least that is still useful. Segments stay long for as long
as they can: without long ones no plan is much faster."""


def reduction_for(context: Context, speed: Speed, seconds: float, plans: int) -> int:
    """The first of ``REDUCTIONS`` whose work fits, with this many plans carried out.

    A run that has its tables is not reduced: they would be made again, in place of the run's own.

    Args:
        context: of the whole recipe, its chain extracted.
        speed: of this machine.
        seconds: that they may take.
        plans: to carry out.
    """
    if _is_estimated(context):
        return 0
    for index, reduction in enumerate(REDUCTIONS):
        if _forecast(context, reduction, speed, plans) <= seconds:
            return index
    return len(REDUCTIONS) - 1


def _forecast(context: Context, reduction: Reduction | None, speed: Speed, plans: int) -> float:
    """Seconds that tables, and carrying out so many plans, will take; known entries take none."""
    whole = context.recipe
    recipe = whole if reduction is None else reduction.of(whole)
    found = listed(recipe, context.teacher, context.chain)
    carrying = apply_workload(
        context.chain,
        recipe.apply.images,
        ridges=recipe.importance.ridges,
        compensated=recipe.apply.compensate,
    )
    work = carrying * plans
    keys = {key for c in found for key in latency_keys(context.chain, c)}
    table = starting_table(context)
    plans = 0 if table.has_footprints(context.chain) else recipe.footprint_plans
    work += profile_workload(len(table.missing(keys)), plans=plans)
    section = recipe.importance
    held_out = shares(section, len(context.data.train))[1] or len(context.data.calibration)
    training = short_training_workload(section, images=len(context.data.train), parameters=0)
    estimating = estimate_workload(
        context.chain,
        found,
        estimator=section.estimator,
        images=section.images,
        held_out=held_out if reduction is None else min(held_out, reduction.held_out),
        ridges=section.ridges,
        training=training,
        form=recipe.apply.form,
        workers=section.workers,
        keep=section.kept,
    )
    return speed.of(work if estimating is None else work + estimating)[0]


def _is_estimated(context: Context) -> bool:
    """Whether the run has its importance table already."""
    (stage,) = (stage for stage in STAGES if stage.name == "estimate")
    made_from = context.folder.digest(stage.settings(context.recipe), stage.inputs)
    return context.folder.is_done(stage.name, made_from, stage.outputs)


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long plans are finetuned.

    Attributes:
        short: steps that every plan is finetuned for.
        long: steps that some are finetuned for besides, to see what more steps give back.
        longs: how many of them.
    """

    short: int
    long: int
    longs: int


_WISHES = (
    (1, 1, 0),
    (1 / 2, 1, 3),
    (1 / 4, 1, 3),
    (1 / 4, 1, 2),
    (1 / 8, 1, 2),
    (1 / 16, 1, 2),
    (1 / 8, 1, 1),
    (1 / 16, 1, 1),
    (1 / 8, 1 / 2, 1),
    (1 / 16, 1 / 2, 1),
    (1 / 16, 1 / 4, 1),
    (1 / 32, 1 / 4, 1),
    (1 / 32, 1 / 8, 1),
    (1 / 64, 1 / 16, 1),
)
"""(short, long, longs) as shares of a whole finetune, the best first. A few whole ones tell more
than many half ones: what is measured need not be guessed."""

LEAST_STEPS = 4
"""Fewest steps of a finetune that tells something."""


def lengths(whole: int, plans: int, affordable: float, *, short: int | None = None) -> Lengths:
    """How long to finetune a number of plans within a number of steps.

    Args:
        whole: steps of a whole finetune.
        plans: how many there are.
        affordable: steps that fit into the time.
        short: steps of those that are done already, if some are: all shall have as many.
    """
    for one, other, longs in _WISHES:
        steps, more = round(one * whole), round(other * whole)
        if short is not None and steps != short:
            continue
        if steps >= LEAST_STEPS and plans * steps + min(longs, plans) * more <= affordable:
            return Lengths(steps, more, min(longs, plans))
    least = min(whole, max(1, int(affordable / max(1, plans))))
    return Lengths(short or least, 0, 0)
