"""Methods that solve for a plan: each is a name, and what it changes of a network's recipe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from contest.family import Family
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.plan import Frontier, Plan
from depthopt.frontier.solve import solve
from depthopt.pipeline.carried_out import carried_out
from depthopt.pipeline.context import Context
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.run import run
from depthopt.pipeline.solving import solving
from depthopt.shallow.build import build

RecipeOf = Callable[[Sequence[str]], Recipe]
"""A network's recipe, with more overrides behind its own."""


@dataclass(frozen=True, slots=True)
class Method:
    """How a network is made shallower. Whatever it leaves out is the recipe's.

    Attributes:
        name: in tables.
        overrides: of the recipe, KEY.PATH=VALUE.
        like: the method whose tables it goes on from, as far as they hold.
    """

    name: str
    overrides: tuple[str, ...] = ()
    like: str = "depthopt"


REDUCED = (
    "importance.score_images=null",
    "importance.train.batch_size=32",
    "importance.train.optimizer=sgd",
    "importance.train.learning_rate=0.0125",
    "importance.train.weight_decay=1e-5",
    "importance.train.augment=false",
)
"""The papers' importance on few images: batches, and with them the learning rate, are an eighth of
theirs, and candidates are scored on the calibration images."""

DEFAULT = Method("depthopt")
LAYER_MERGE = Method("LayerMerge", ("method=layermerge", *REDUCED))
TWO_STAGE = Method("two-stage", ("method=depth", *REDUCED), like=LAYER_MERGE.name)
UNTOUCHED = ("apply.compensate=false", "apply.head=false")
"""Kept layers and the classifier stay as they were."""

METHODS = (
    DEFAULT,
    LAYER_MERGE,
    TWO_STAGE,
    Method("block dropping", ("candidates.kinds=[drop]", "pick=measured", *UNTOUCHED)),
)

_NARROW = "candidates.kinds=[drop, fit, narrow]"
_PAIRS = "candidates.fits=[dense, depthwise, separable, low_rank]"
_MERGES = "candidates.kinds=[drop, merge]"

ABLATIONS = (
    Method("least costly, none tried", ("pick=measured",)),
    Method("narrow too", (_NARROW,)),
    Method("fits of two too", (_PAIRS,)),
    Method("narrow and fits of two", (_NARROW, _PAIRS)),
    Method("merges regressed, not fits", (_MERGES,)),
    Method("merges composed, expanded", (_MERGES, "apply.form=expanded")),
    Method("kept layers not compensated", ("apply.compensate=false",)),
    Method("classifier left alone", ("apply.head=false",)),
    Method("activations inserted", ("candidates.inserted=usual",)),
    Method("bucketed at 4 us", ("solver.mode=bucketed", "solver.resolution_ms=0.004")),
    Method("bucketed at 0.4 us", ("solver.mode=bucketed", "solver.resolution_ms=0.0004")),
    Method("importance by magnitude", ("importance.estimator=magnitude",)),
    Method(
        "importance by the papers'",
        (
            "importance.estimator=finetune",
            *REDUCED,
            "importance.train.warmup=0",
            "importance.train.clip_norm=null",
            "importance.train.label_smoothing=0",
            "importance.train.distillation=0",
            "solver.objective=exp_metric",
        ),
    ),
    Method(
        "LayerMerge, classifier regressed",
        (*LAYER_MERGE.overrides, "apply.head=true"),
        like=LAYER_MERGE.name,
    ),
)  # fmt: skip
"""This project's default with one thing changed, and one thing of it given to a rival."""

SINGLE_KINDS = tuple(
    Method(f"{kind} only", (f"candidates.kinds=[{kind}]",))
    for kind in ("drop", "fit", "narrow", "share")
)
"""The default with one kind of replacement; ``fit`` alone is ReplaceMe's manner on transformers."""

_MKA = ("method=mka", "candidates.kinds=[share]")

AVERAGES = (
    Method("share too", ("candidates.kinds=[drop, fit, narrow, share]",)),
    Method("MKA", _MKA),
    Method("MKA by the programme", (*_MKA, "candidates.segments=all"), like="MKA"),
)
"""On transformers: the recipe's kinds and ``share``, MKA's method, and its averages of any run of
blocks."""


def solved(method: Method, recipe_of: RecipeOf, base: Context) -> Family:
    """The plans of a method's frontier, its tables made or gone on with in a folder of its own."""
    context = context_of(method, recipe_of, base, until="estimate")
    frontier = solve(
        context.chain,
        context.worthwhile,
        context.latency,
        context.importance,
        **solving(context.recipe, context.latency.network(context.chain).total.median_ms),
    )
    plans = plans_of(frontier)
    if context.recipe.picked != "tried":
        return planned(plans, context)
    return _tried(method, recipe_of, context, plans)


def _tried(
    method: Method, recipe_of: RecipeOf, context: Context, plans: tuple[Plan, ...]
) -> Family:
    """The same plans, and behind them those that runs pick by carrying some out.

    What was picked is kept, so that its index is the same when a match goes on.
    """
    kept = context.path("picked")
    listed = [*plans, *(load_json(Plan, path) for path in sorted(kept.glob("*.json")))]

    def choose(speedup: float) -> int:
        recipe = recipe_of((*method.overrides, f"budget.speedup={speedup}"))
        plan = run(recipe, context.folder.path, until="solve", reporter=context.reporter).plan
        if plan not in listed:
            kept.mkdir(exist_ok=True)
            save_json(plan, kept / f"{len(listed):06}.json")
            listed.append(plan)
        return listed.index(plan)

    return replace(planned(listed, context), choose=choose)


def context_of(method: Method, recipe_of: RecipeOf, base: Context, *, until: str) -> Context:
    """The run of a method, which takes over from ``base`` what holds: the original, above all."""
    folder = _folder(base, method.name)
    like = _folder(base, method.like)
    other = like if like != folder and (like / "manifest.json").exists() else base.folder.path
    return run(
        recipe_of(method.overrides),
        folder,
        until=until,
        reporter=base.reporter,
        start_from=None if (folder / "manifest.json").exists() else other,
    )


def _folder(base: Context, name: str) -> Path:
    return base.path(f"methods/{name}-{base.recipe.latency.runtime}".replace(" ", "_"))


def plans_of(frontier: Frontier) -> tuple[Plan, ...]:
    """The frontier's plans that change something, least costly first."""
    plans = (frontier.plan(i) for i in reversed(range(len(frontier.points))))
    return tuple(plan for plan in plans if plan.replaced)


def planned(plans: Sequence[Plan], context: Context) -> Family:
    """Plans, least costly first, as a family whose networks start as the context's recipe says."""

    def structure(index: int) -> nn.Module:
        return build(context.teacher, context.chain, plans[index], context.recipe.apply.form)[0]

    predicted = tuple(plan.speedup for plan in plans)
    return Family(predicted, structure, lambda index: carried_out(context, plans[index]))
