"""Importance by regression: fit each new convolution, then run what lies behind it.

Two sweeps over data. The first accumulates, for every start of a segment, the normal
equations of all ends and kernels at once (``depthopt.rewrite.regression``), and solves
them. The second runs the original on held-out images, puts each candidate's output
in the place of the segment's, and runs only the rest of the network: the
divergence of its outputs from the original's is the candidate's cost.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, fx, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.spec import ConvSpec
from depthopt.core.tables import Importance, ImportanceTable
from depthopt.core.window import Window
from depthopt.errors import DataError
from depthopt.graph.activations import make_activation
from depthopt.graph.partial import Tail, record
from depthopt.graph.trace import nodes_by_name, trace
from depthopt.rewrite.build import check_chain
from depthopt.rewrite.expanded import ExpandedSegment
from depthopt.rewrite.fold import fold_norms
from depthopt.rewrite.regression import Fitted, Regression, best_fits, convolve

Weights = tuple[Tensor, Tensor]


def fit_importance(
    model: nn.Module,
    chain: Chain,
    candidates: Sequence[Candidate],
    *,
    fitting: Collection[Tensor],
    held_out: Collection[tuple[Tensor, Tensor]],
    ridges: Sequence[float],
    memory_bytes: int,
    progress: Callable[[int, int], None] | None,
) -> ImportanceTable:
    """See ``depthopt.importance.estimate``."""
    if not fitting or not held_out:
        raise DataError(
            f"the fit estimator needs images to fit on and held-out images to score on; got "
            f"{len(fitting)} and {len(held_out)} batches"
        )
    teacher = trace(model, chain.input_size)
    check_chain(teacher, chain)
    scored = [candidate for candidate in candidates if candidate.kind != "keep"]
    weights = _composed(teacher, chain, scored)
    fold_norms(teacher, keep_nodes=True)
    groups = _group(chain, [c for c in scored if c.kind == "fit"])
    passes = list(_passes(groups, memory_bytes))
    steps = _Steps(progress, len(passes) * len(fitting) + len(scored) * len(held_out))
    first, _ = next(iter(held_out))
    for part in passes:
        weights |= _fit(teacher, chain, part, fitting, first, ridges, steps)
    scores = _score(teacher, chain, scored, weights, held_out, steps)
    images = sum(len(labels) for _, labels in held_out)
    return ImportanceTable(chain.model, "fit", images, scores)


class _Steps:
    """Counts steps for a progress callback."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, steps: int = 1) -> None:
        self._done += steps
        if self._progress is not None:
            self._progress(self._done, self._total)


@dataclass(frozen=True, slots=True)
class _Group:
    """Fits that share one Gram matrix: same start, stride, centre and grouping."""

    start: int
    candidates: tuple[Candidate, ...]

    @property
    def largest(self) -> ConvSpec:
        """The kernel that holds all others."""
        specs = [c.spec for c in self.candidates if c.spec is not None]
        return max(specs, key=lambda spec: spec.kernel_size)

    @property
    def ends(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(c.end for c in self.candidates))


def _group(chain: Chain, fits: Sequence[Candidate]) -> list[_Group]:
    groups: dict[tuple[object, ...], list[Candidate]] = defaultdict(list)
    for candidate in fits:
        assert candidate.spec is not None  # noqa: S101 - fits always have one
        spec, window = candidate.spec, Window.of(candidate.spec)
        centre = tuple(2 * o + k for o, k in zip(window.offset, window.size, strict=True))
        size = chain.ending(candidate.start, candidate.end).size
        groups[candidate.start, spec.stride, spec.groups, centre, size].append(candidate)
    return [_Group(members[0].start, tuple(members)) for members in groups.values()]


def _passes(groups: Sequence[_Group], memory_bytes: int) -> Iterator[list[_Group]]:
    """Groups that fit into memory together, at least one at a time."""
    part: list[_Group] = []
    used = 0
    for group in groups:
        outputs = {c.end: c.spec.out_channels for c in group.candidates if c.spec is not None}
        need = Regression.bytes_needed(group.largest, sum(outputs.values()))
        if part and used + need > memory_bytes:
            yield part
            part, used = [], 0
        part.append(group)
        used += need
    if part:
        yield part


class _Segment:
    """Names of the tensors at a segment's start and end."""

    def __init__(self, chain: Chain, start: int, end: int) -> None:
        ending = chain.ending(start, end)
        self.input = chain.blocks[start].input
        self.target = ending.preactivation
        self.activation = ending.activation
        self.added = tuple(skip.branch for skip in chain.open_skips(start, end))
        self.names = {self.input, self.target, *self.added}

    def wanted(self, values: Mapping[str, Tensor]) -> Tensor:
        """What a convolution in the segment's place should give."""
        target = values[self.target]
        for name in self.added:
            target = target - values[name]
        return target

    def completed(self, output: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """The pre-activation tensor at the end, given the convolution's output."""
        for name in self.added:
            output = output + values[name]
        return output


def _fit(
    teacher: fx.GraphModule,
    chain: Chain,
    groups: Sequence[_Group],
    fitting: Collection[Tensor],
    held_out: Tensor,
    ridges: Sequence[float],
    steps: _Steps,
) -> dict[Candidate, Weights]:
    """Regress all candidates of some groups in one sweep over the fitting images."""
    segments = {(g.start, end): _Segment(chain, g.start, end) for g in groups for end in g.ends}
    names = set[str]().union(*(segment.names for segment in segments.values()))
    regressions = [
        Regression(
            group.largest,
            {str(end): chain.ending(group.start, end).channels for end in group.ends},
        )
        for group in groups
    ]
    for images in fitting:
        values = _finite(record(teacher, images, names))
        for group, regression in zip(groups, regressions, strict=True):
            inputs = values[chain.blocks[group.start].input]
            regression.add(
                inputs, {str(end): segments[group.start, end].wanted(values) for end in group.ends}
            )
        steps()
    values = record(teacher, held_out, names)
    weights: dict[Candidate, Weights] = {}
    while regressions:
        group, regression = groups[len(regressions) - 1], regressions.pop()
        inputs = values[chain.blocks[group.start].input]
        for spec, members in _by_spec(group).items():
            wanted = {str(c.end): segments[c.start, c.end].wanted(values) for c in members}
            fits: dict[str, Fitted] = best_fits(regression, spec, inputs, wanted, ridges)
            weights |= {c: (fits[str(c.end)].weight, fits[str(c.end)].bias) for c in members}
    return weights


def _by_spec(group: _Group) -> dict[ConvSpec, list[Candidate]]:
    """A group's candidates by kernel; those of one kernel differ in their ends alone."""
    members: dict[ConvSpec, list[Candidate]] = defaultdict(list)
    for candidate in group.candidates:
        assert candidate.spec is not None  # noqa: S101 - fits always have one
        channels = candidate.spec.in_channels
        members[replace(candidate.spec, out_channels=channels)].append(candidate)
    return members


def _finite(values: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, value in values.items():
        if not bool(torch.isfinite(value).all()):
            raise DataError(f"the tensor {name} holds NaN or infinite values on calibration images")
    return values


def _composed(
    teacher: fx.GraphModule, chain: Chain, candidates: Sequence[Candidate]
) -> dict[Candidate, Weights]:
    """Weights of the candidates of kind ``merge``."""
    weights: dict[Candidate, Weights] = {}
    for candidate in candidates:
        if candidate.kind == "merge":
            operator = ExpandedSegment(teacher, chain, candidate).operator()
            weights[candidate] = operator.weight.float(), operator.bias.float()
    return weights


@dataclass(slots=True)
class _Sums:
    divergence: float = 0.0
    loss: float = 0.0
    correct: int = 0

    def add(self, logits: Tensor, labels: Tensor, teacher: Tensor) -> None:
        log_p = logits.double().log_softmax(1)
        log_t = teacher.double().log_softmax(1)
        self.divergence += float((log_t.exp() * (log_t - log_p)).sum())
        self.loss += float(F.nll_loss(log_p, labels, reduction="sum"))
        self.correct += int((logits.argmax(1) == labels).sum())


@torch.no_grad()
def _score(
    teacher: fx.GraphModule,
    chain: Chain,
    candidates: Sequence[Candidate],
    weights: Mapping[Candidate, Weights],
    held_out: Collection[tuple[Tensor, Tensor]],
    steps: _Steps,
) -> dict[str, Importance]:
    """Run the rest of the network behind every candidate on the held-out images."""
    nodes = nodes_by_name(teacher)
    segments = {c: _Segment(chain, c.start, c.end) for c in candidates}
    targets = dict.fromkeys(segment.target for segment in segments.values())
    tails = {name: Tail(teacher, nodes[name]) for name in targets}
    sources = {c: _drop_source(chain, c) for c in candidates if c.kind == "drop"}
    names = {"output", *sources.values()}
    names = names.union(*(s.names for s in segments.values()), *(t.needs for t in tails.values()))
    sums, original, images = {c: _Sums() for c in candidates}, _Sums(), 0
    for batch, labels in held_out:
        values = record(teacher, batch, names)
        logits = values["output"]
        _check_labels(logits, labels)
        original.add(logits, labels, logits)
        images += len(labels)
        for candidate, segment in segments.items():
            if candidate in sources:
                output = values[sources[candidate]]
            else:
                assert candidate.spec is not None  # noqa: S101 - only drops have none
                output = convolve(values[segment.input], *weights[candidate], candidate.spec)
            output = segment.completed(output, values)
            if candidate.activation != segment.activation:
                output = _activated(output, candidate.activation)
            sums[candidate].add(tails[segment.target](output, values), labels, logits)
            steps()
    return {c.key: _importance(total, original, images) for c, total in sums.items()}


def _drop_source(chain: Chain, candidate: Candidate) -> str:
    """The node that remains of a skip whose branch is dropped."""
    return next(
        skip.branch
        for skip in chain.skips
        if (skip.source, skip.target) == (candidate.start, candidate.end)
    )


def _activated(output: Tensor, activation: str | None) -> Tensor:
    if activation is None:
        return output
    result: Tensor = make_activation(activation)(output)
    return result


def _check_labels(logits: Tensor, labels: Tensor) -> None:
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise DataError(
            f"labels from {int(labels.min())} to {int(labels.max())} do not fit a network of "
            f"{logits.shape[1]} classes"
        )


def _importance(total: _Sums, original: _Sums, images: int) -> Importance:
    divergence = total.divergence / images
    return Importance(
        cost=divergence,
        divergence=divergence,
        loss_increase=(total.loss - original.loss) / images,
        accuracy_change=100 * (total.correct - original.correct) / images,
    )
