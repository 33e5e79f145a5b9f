"""Methods that solve for a plan: this project's default, the papers', and ablations of it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch.fx import GraphModule

from contest.family import Family, original_onnx
from contest.subsets import subset_merges
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.candidate import Candidate
from depthopt.core.plan import Frontier, Plan
from depthopt.frontier.lookup import Objective
from depthopt.frontier.solve import solve
from depthopt.importance.estimate import Estimator, estimate
from depthopt.kinds.candidates import candidates
from depthopt.latency.profile import profile
from depthopt.latency.worthwhile import worthwhile
from depthopt.pipeline.context import Context
from depthopt.rewrite.options import Form, Start
from depthopt.shallow.apply import apply
from depthopt.shallow.build import build
from depthopt.solver.stages import Bucketed
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable
from depthopt.tasks.classifier import regress_classifier
from depthopt.train.config import TrainConfig
from depthopt.train.finetune import finetune


@dataclass(frozen=True, slots=True)
class Method:
    """How a network is made shallower. Whatever is left out is the recipe's.

    Attributes:
        name: in tables.
        kinds: of the candidates.
        subsets: list LayerMerge's merges of fewer than all convolutions too.
        inserted: put the network's usual activation behind linear replacements.
        estimator: of importances.
        objective: that the solver adds up.
        form: how merges are trained.
        compensate: regress the kept convolutions too.
        classifier: regress the classifier on labels.
        start: of inserted activations.
        bucket: the solver's resolution, as a share of the original's latency; 0 is exact.
    """

    name: str
    kinds: tuple[str, ...] | None = None
    subsets: bool = False
    inserted: bool = False
    estimator: Estimator | None = None
    objective: Objective = "cost"
    form: Form | None = None
    compensate: bool | None = None
    classifier: bool | None = None
    start: Start | None = None
    bucket: float = 0.0


DEFAULT = Method("depthopt")

LAYER_MERGE = Method(
    "LayerMerge",
    kinds=("drop", "merge"),
    subsets=True,
    inserted=True,
    estimator="finetune",
    objective="exp_metric",
    form="expanded",
    compensate=False,
    classifier=False,
    start="at_once",
)

METHODS = (
    DEFAULT,
    LAYER_MERGE,
    replace(LAYER_MERGE, name="no convolution removed", kinds=("merge",), subsets=False,
            inserted=False),
    Method("block dropping", kinds=("drop",), compensate=False, classifier=False),
)  # fmt: skip

_MERGES: tuple[str, ...] = ("drop", "merge")

ABLATIONS = (
    Method("merges regressed, not fits", kinds=_MERGES),
    Method("merges composed, expanded", kinds=_MERGES, form="expanded"),
    Method("kept layers not compensated", compensate=False),
    Method("classifier left alone", classifier=False),
    Method("activations inserted", inserted=True),
    Method("bucketed at 1/100", bucket=0.01),
    Method("bucketed at 1/1000", bucket=0.001),
    Method("importance by magnitude", estimator="magnitude"),
    Method("importance by the papers'", estimator="finetune", objective="exp_metric"),
    replace(LAYER_MERGE, name="LayerMerge, classifier regressed", classifier=True),
)
"""This project's default with one thing changed, and one thing of it given to a rival."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """The short trainings of the papers' importance.

    Attributes:
        images: that each candidate is trained on, once.
        workers: processes, to spread the work over; None works in this process.
    """

    images: int
    workers: int | None = None


def solved(method: Method, context: Context, scoring: Scoring) -> Family:
    """The plans of a method's frontier, tables made or gone on with in the run's folder."""
    listed = _listed(method, context)
    latency = _latencies(context, listed)
    faster = worthwhile(context.chain, listed, latency)
    frontier = solve(
        context.chain,
        faster,
        latency,
        _importances(method, context, faster, scoring),
        mode=Bucketed(_original_ms(context, latency) * method.bucket) if method.bucket else None,
        objective=method.objective,
    )
    return planned(plans_of(frontier), method, context)


def plans_of(frontier: Frontier) -> tuple[Plan, ...]:
    """The frontier's plans that change something, mildest first."""
    plans = (frontier.plan(i) for i in reversed(range(len(frontier.points))))
    return tuple(plan for plan in plans if plan.replaced)


def planned(plans: tuple[Plan, ...], method: Method, context: Context) -> Family:
    """Plans, mildest first, as a family."""
    section = context.recipe.apply

    def started(index: int) -> object:
        network = apply(
            context.teacher,
            context.chain,
            plans[index],
            fitting=context.train_inputs(section.images),
            form=method.form or section.form,
            ridges=context.recipe.importance.ridges,
            compensated=_or(method.compensate, section.compensate),
            start=method.start or section.start,
        )
        if _or(method.classifier, section.classifier):
            with_classifier(network, context)
        return network

    def structure(index: int) -> object:
        form = method.form or section.form
        return build(context.teacher, context.chain, plans[index], form)[0]

    return Family(tuple(plan.speedup for plan in plans), structure, started)


def with_classifier(network: GraphModule, context: Context) -> None:
    """Regress a network's classifier as a run does, in place."""
    regress_classifier(
        network,
        context.train_batches(context.recipe.apply.images),
        context.held_out(),
        label_smoothing=context.recipe.finetune.label_smoothing,
    )


def _or(value: bool | None, default: bool) -> bool:
    return default if value is None else value


def _listed(method: Method, context: Context) -> tuple[Candidate, ...]:
    section, chain = context.recipe.candidates, context.chain
    usual = Counter(str(block.activation) for block in chain.blocks if block.activation)
    inserted = usual.most_common(1)[0][0] if method.inserted and usual else section.inserted
    listed = candidates(
        chain,
        kinds=method.kinds or section.kinds,
        kernel_sizes=section.kernel_sizes,
        max_length=section.max_length,
        inserted=inserted,
    )
    if not method.subsets:
        return listed
    length = section.max_length
    more = subset_merges(context.teacher, chain, max_length=length, inserted=inserted)
    return (*listed, *more)


def _latencies(context: Context, listed: tuple[Candidate, ...]) -> LatencyTable:
    path = context.path(f"latency-{context.recipe.latency.runtime}.json")
    table = profile(
        context.chain,
        listed,
        runtime=context.runtime,
        network=original_onnx(context),
        table=load_json(LatencyTable, path) if path.exists() else None,
        progress=context.reporter.progress,
        on_update=lambda table: save_json(table, path),
    )
    save_json(table, path)
    return table


def _original_ms(context: Context, latency: LatencyTable) -> float:
    return latency.network(context.chain).total.median_ms


def _importances(
    method: Method, context: Context, faster: tuple[Candidate, ...], scoring: Scoring
) -> ImportanceTable:
    """All entries of one estimator are kept in one file, whichever method asked for them."""
    section = context.recipe.importance
    estimator = method.estimator or section.estimator
    form = method.form or context.recipe.apply.form
    images = scoring.images if estimator == "finetune" else section.images
    path = context.path(f"importance-{estimator}-{form}-{images}.json")
    return estimate(
        context.teacher,
        context.chain,
        faster,
        estimator=estimator,
        fitting=context.train_inputs(section.images),
        held_out=context.held_out(),
        ridges=section.ridges,
        train=_short_training(context, scoring),
        form=form,
        workers=scoring.workers,
        table=load_json(ImportanceTable, path) if path.exists() else None,
        on_update=lambda table: save_json(table, path),
        progress=context.reporter.progress,
    )


def _short_training(context: Context, scoring: Scoring) -> Callable[..., object]:
    config = TrainConfig(
        epochs=1, batch_size=32, learning_rate=3e-4, distillation=0.0, augment=False
    )
    return partial(finetune, data=context.train_data(scoring.images), config=config)
