"""Estimate the importance table of a network's candidates, with one of several estimators."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from torch import nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.inputs import Inputs, count
from depthopt.core.progress import Progress, silent
from depthopt.core.workload import Workload
from depthopt.data.dataset import Batch
from depthopt.data.repeatable import repeatable
from depthopt.errors import DataError, TableError, UsageError
from depthopt.importance.finetune import Finetune, Train, evaluated
from depthopt.importance.magnitude import magnitude_importance
from depthopt.importance.regression import (
    MEMORY_BYTES,
    ByRegression,
    parts_of,
    regression_workload,
)
from depthopt.importance.workers import Workers, one_thread
from depthopt.kinds.registry import is_part
from depthopt.rewrite.options import Form, Start, check_form
from depthopt.rewrite.ridges import FIT_RIDGES, checked_ridges
from depthopt.tables.importance import ImportanceTable, Unit
from depthopt.tasks.registry import DEFAULT, task_of
from depthopt.tasks.task import Task

Estimator = Literal["regression", "finetune", "magnitude"]

_UNITS: dict[tuple[str, float], Unit] = {("%", 100.0): "points", ("", 1.0): "fraction"}
"""Units of changes of a metric, by the metric's unit and scale."""


def estimate(
    model: nn.Module,
    chain: Chain,
    candidates: Sequence[Candidate],
    *,
    estimator: Estimator = "regression",
    fitting: Iterable[Inputs] = (),
    held_out: Iterable[Batch] = (),
    task: Task | str = DEFAULT,
    ridges: Sequence[float] = FIT_RIDGES,
    memory_bytes: int = MEMORY_BYTES,
    train: Train | None = None,
    form: Form = "fused",
    start: Start = "annealed",
    compensated: bool = True,
    keep: bool = False,
    protocol: str = "",
    seed: int = 0,
    workers: Workers | int | None = None,
    latency_ms: Mapping[Candidate, float] | None = None,
    table: ImportanceTable | None = None,
    on_update: Callable[[ImportanceTable], None] | None = None,
    progress: Progress = silent,
) -> ImportanceTable:
    """Estimate what each candidate alone costs in accuracy.

    Args:
        model: the original network; it is not changed.
        chain: its chain.
        candidates: what may replace its segments, and the blocks kept.
        estimator: ``regression`` solves for each new convolution on data and runs the rest
            of the network behind it; ``finetune`` trains the network briefly with each candidate
            in place, as the papers do; ``magnitude`` adds up the weights that go.
        fitting: batches of images (N, C, H, W), or of named inputs, to regress on, gone through
            once or more.
            Memory does not grow with their number where they are made again for each
            pass: see ``depthopt.data.repeatable.repeatable``.
        held_out: batches of images and targets, such as labels (N,), to score on, likewise. For
            ``regression`` targets may be None: what it costs is the divergence from the
            original's outputs.
        task: what the network is for, which says how far outputs are from the original's.
        ridges: relative regularisations to choose from on held-out images.
        memory_bytes: bound on the accumulated Gram matrices, of each worker.
        train: for ``finetune``, the short training, for instance
            ``lambda network: depthopt.finetune(network, data, config=config)``.
        form: whether a ``merge`` is trained as one convolution, which ``regression`` then
            regresses too, or ``expanded``.
        start: for ``finetune``, whether activations that a candidate inserts begin as the
            identity, or are there ``at_once``, as in the papers.
        compensated: for ``regression``, whether plans regress the last layers of what stays
            (``depthopt.apply``). The last layer of an averaged block is regressed then.
        keep: for ``finetune``, whether a kept block gets an entry too: what is lost when its layer
            is initialised again (``importance.finetune``). Without an entry it costs nothing.
        protocol: the short training and the scoring, in words. The table holds it. A table with
            another protocol is not continued.
        seed: seed of layers that are initialised again.
        workers: how many processes to spread the work over; None works in this process. The
            table is the same, bit for bit, for any number of workers, and without.
        latency_ms: of candidates: for ``regression``, which then does not score a ``fit`` of two
            convolutions where another ``fit`` gives the same tensor, is as fast, and comes as near
            to the original's on held-out images. The table names it as beaten.
        table: entries that are known already; they are not estimated again.
        on_update: called with the table whenever entries have come in, to be stored.
        progress: receives the steps, an image batch or a candidate each.

    Raises:
        UsageError: an unknown estimator or form, ``finetune`` without ``train``, or entries of
            kept blocks by another estimator.
        DataError: no images, or tensors that are not finite.
        ModelError: the chain was made for another model.
        TableError: ``table`` is of another network, estimator or number of images, or of another
            protocol, unit or form, where it says so.
        RuntimeUnavailable: a cluster's workers are asked for and Ray is not installed.
    """
    check_form(form)
    ridges = checked_ridges(ridges)
    if keep and estimator != "finetune":
        raise UsageError(
            f"kept blocks have entries only with estimator finetune, not with {estimator}"
        )
    if estimator == "magnitude":
        return magnitude_importance(model, chain, candidates)
    where = workers if isinstance(workers, Workers) else Workers(workers)
    fitting, held_out = repeatable(fitting), repeatable(held_out)
    task, wanted = task_of(task), scored(candidates, keep=keep)
    empty = ImportanceTable(
        chain.model,
        estimator,
        sum(count(inputs) for inputs, _ in held_out),
        protocol=protocol,
        unit=_UNITS.get((task.metric.unit, task.metric.scale), ""),
        form=form,
    )
    known = _known(table, empty)
    todo = [c for c in wanted if c not in known.entries and c not in known.beaten]
    steps = _Steps(progress)
    if estimator == "regression":
        _check_begun(wanted)
        told = steps if where.here else None
        regression = ByRegression(
            model, chain, fitting, held_out, task, ridges, form, compensated, latency_ms or {}, told
        )
        parts = parts_of(chain, todo, form, workers=where.count or 1, memory_bytes=memory_bytes)
        work: ByRegression | Finetune = regression
        lengths = [regression.steps(part) for part in parts]
    elif estimator == "finetune":
        if train is None:
            raise UsageError("the finetune estimator needs a short training; give train=")
        if not held_out:
            raise DataError("the finetune estimator needs held-out images and labels; got none")
        with one_thread():
            original = evaluated(model, held_out, task)
        work = Finetune(
            model, chain, train, fitting, held_out, form, task, original, start, seed, keep
        )
        parts, lengths = [(candidate,) for candidate in todo], [1] * len(todo)
    else:
        raise UsageError(
            f"estimator {estimator!r} is unknown; known: regression, finetune, magnitude"
        )
    steps.total = sum(lengths)
    of = dict(zip(parts, lengths, strict=True))
    steps(0)
    for part, entries in where.each(work, parts):
        beaten = tuple(c for c in part if c not in entries)
        known = replace(known, entries=known.entries | entries, beaten=known.beaten + beaten)
        if not (where.here and estimator == "regression"):
            steps(of[part])
        if on_update is not None:
            on_update(known)
    entries = {c: known.entries[c] for c in wanted if c in known.entries}
    return replace(known, entries=entries, beaten=tuple(c for c in wanted if c not in entries))


def _check_begun(candidates: Iterable[Candidate]) -> None:
    """Refuse candidates that regression cannot tell from others."""
    if begun := [c for c in candidates if c.entry]:
        raise UsageError(
            f"{begun[0].key} begins in another state than the original, which estimator "
            "regression cannot tell apart; use estimator finetune"
        )


def scored(candidates: Iterable[Candidate], *, keep: bool = False) -> tuple[Candidate, ...]:
    """The candidates that get an entry: those that change something, parts of merges left out.

    With ``keep`` the kept blocks too, as in the papers but for those that nothing listed may
    replace, such as stem and head: of these every plan has the same.
    """
    wanted = [candidate for candidate in candidates if not is_part(candidate)]
    replaced = {i for c in wanted if c.replaces for i in range(c.start, c.end)}
    return tuple(
        c for c in wanted if c.replaces or (keep and (c.start in replaced or not replaced))
    )


def estimate_workload(
    chain: Chain,
    candidates: Sequence[Candidate],
    *,
    estimator: Estimator,
    images: int,
    held_out: int,
    ridges: Sequence[float],
    training: Workload | None,
    form: Form,
    workers: int | None,
    keep: bool = False,
) -> Workload | None:
    """The work of ``estimate`` for this many fitting and held-out images. None if unknown.

    That depends on ``training``, what the short one of ``finetune`` takes. With workers the work is
    that of all together, the memory that of each.
    """
    wanted = scored(candidates, keep=keep)
    if estimator == "magnitude":
        return Workload()
    if estimator == "finetune":
        scoring = Workload(forward_images=held_out)
        return None if training is None else (training + scoring) * len(wanted)
    parts = parts_of(chain, wanted, form, workers=workers or 1, memory_bytes=MEMORY_BYTES)
    works = (
        regression_workload(chain, p, form, images, held_out, ridges=len(ridges)) for p in parts
    )
    return sum(works, Workload())


class _Steps:
    """Counts steps to be told of."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._done = progress, 0
        self.total = 0

    def __call__(self, steps: int) -> None:
        self._done += steps
        self._progress(self._done, self.total, "steps")


def _known(table: ImportanceTable | None, wanted: ImportanceTable) -> ImportanceTable:
    """The table to continue."""
    if table is None:
        return wanted
    if (unlike := table.unlike(wanted)) is not None:
        raise TableError(f"the importance table to continue is {unlike}; move it away")
    return replace(wanted, entries=table.entries, beaten=table.beaten)
