"""The regressions of many candidates at once, in one sweep over the fitting images.

Candidates of one start that share stride, grouping and centre share a Gram matrix, whatever
their ends and kernels (``depthopt.rewrite.regression``).
"""

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from itertools import starmap

import torch
from torch import Tensor, fx

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.inputs import Inputs, moved
from depthopt.core.operators import Convolution
from depthopt.core.window import Window
from depthopt.core.workload import Workload
from depthopt.errors import DataError
from depthopt.graph.partial import record
from depthopt.kinds.registry import kind_of
from depthopt.kinds.site import Weights
from depthopt.rewrite.factored import factored, factored_workload
from depthopt.rewrite.inner import Inner, inner_of
from depthopt.rewrite.narrowing import narrowed, narrowing_workload
from depthopt.rewrite.options import Form
from depthopt.rewrite.problem import Problem, sums_bytes
from depthopt.rewrite.regression import Regression, best_fits, error_of
from depthopt.rewrite.segment_tensors import SegmentTensors
from depthopt.rewrite.tokens import as_map, channels_first

logger = logging.getLogger(__name__)

_Member = tuple[Candidate, Problem]


@dataclass(frozen=True, slots=True)
class Group:
    """Problems that share one Gram matrix: same start, stride, centre and grouping.

    Attributes:
        start: block whose input they all read.
        candidates: whose problems they are.
        problems: one for each candidate.
    """

    start: int
    candidates: tuple[Candidate, ...]
    problems: tuple[Problem, ...]

    @property
    def largest(self) -> Convolution:
        """The kernel that holds all others."""
        return max((p.convolution for p in self.problems), key=lambda one: one.kernel_size)

    def tensors(self, chain: Chain, end: int) -> SegmentTensors:
        """The original's nodes that the problems of one end are regressed on."""
        if self.problems[0].hidden:
            return SegmentTensors.of_hidden(chain, self.start)
        return SegmentTensors.of(chain, self.start, end)

    def as_read(self, x: Tensor) -> Tensor:
        """What its problems read, as a map (N, C, H, W)."""
        return channels_first(x) if self.problems[0].hidden else as_map(x)

    @property
    def ends(self) -> tuple[int, ...]:
        """Where its segments end."""
        return tuple(dict.fromkeys(c.end for c in self.candidates))

    @property
    def memory_bytes(self) -> int:
        """What its normal equations take."""
        return sums_bytes(self.largest, self._out_channels)

    @property
    def _out_channels(self) -> int:
        """Of all its targets."""
        pairs = zip(self.candidates, self.problems, strict=True)
        return sum({c.end: p.convolution.out_channels for c, p in pairs}.values())

    def workload(self, chain: Chain, images: int, ridges: int = 0) -> Workload:
        """What it takes to accumulate so many images, and to try so many ridges on each kernel."""
        size = self.largest.output_size(chain.blocks[self.start].layout.input_size)
        regression = partial(Regression.workload, out_channels=self._out_channels)
        work = regression(self.largest, pixels=images * math.prod(size), solves=0)
        for spec, members in _by_spec(self).items():
            solves = ridges * any(problem.channels is None for _, problem in members)
            work += regression(spec, pixels=0, solves=solves)
            if counts := {problem.channels for _, problem in members if problem.channels}:
                work += narrowing_workload(spec, counts)
            for c, problem in members:
                if problem.inner is not None:
                    work += _inner_workload(chain, c, problem.inner, images)
                    break
            pairs = [(p.convolution, p.factors) for _, p in members if p.factors is not None]
            work = sum(starmap(factored_workload, pairs), work)
        return work


def _inner_workload(
    chain: Chain, candidate: Candidate, inner: Convolution, images: int
) -> Workload:
    """What it takes to accumulate, for so many images, what is regressed inside a branch."""
    blocks = chain.blocks[candidate.start : candidate.end]
    block = next(each for each in blocks if each.operator == inner)
    pixels = images * math.prod(block.layout.output_size)
    return Regression.workload(inner, inner.out_channels, pixels=pixels, solves=1)


def problems_of(candidates: Sequence[Candidate], form: Form) -> dict[Candidate, Problem]:
    """What is regressed in the place of those candidates that declare a problem."""
    declared = {candidate: kind_of(candidate).problem(candidate, form) for candidate in candidates}
    return {candidate: problem for candidate, problem in declared.items() if problem is not None}


def grouped(chain: Chain, problems: Mapping[Candidate, Problem]) -> list[Group]:
    """Problems by the Gram matrix that serves them, in order of starts."""
    groups: dict[tuple[object, ...], list[Candidate]] = defaultdict(list)
    first = {c: c.start if p.start is None else p.start for c, p in problems.items()}
    for candidate in sorted(problems, key=first.__getitem__):
        new, start = problems[candidate].convolution, first[candidate]
        window = Window.of(new)
        centre = tuple(2 * o + k for o, k in zip(window.offset, window.size, strict=True))
        size = chain.ending(start, candidate.end).size
        hidden = problems[candidate].hidden
        groups[start, new.stride, new.groups, centre, size, hidden].append(candidate)
    return [
        Group(first[members[0]], tuple(members), tuple(problems[c] for c in members))
        for members in groups.values()
    ]


def regress(
    teacher: fx.GraphModule,
    chain: Chain,
    groups: Sequence[Group],
    *,
    fitting: Collection[Inputs],
    held_out: Inputs,
    ridges: Sequence[float],
    starts: Mapping[Candidate, Weights],
    latency_ms: Mapping[Candidate, float],
    pool: Executor,
    step: Callable[[], None],
) -> dict[Candidate, Weights]:
    """Solve the problems of all candidates of some groups, but for those that are beaten.

    Two convolutions in a row are, where another candidate of their group gives the same tensor,
    is as fast, and comes as near to it on held-out images.

    Args:
        teacher: the original network, traced, its norms folded.
        chain: its chain.
        groups: whose normal equations are in memory together.
        fitting: batches of inputs to regress on.
        held_out: a batch to choose the regularisation on.
        ridges: relative regularisations to choose from.
        starts: weights that some start from, and keep if regression gains nothing, or are held to.
        latency_ms: of the candidates; none is beaten where it is not known.
        pool: works at several groups at a time.
        step: called after every batch.

    Raises:
        DataError: a tensor is not finite.
    """
    like = next(teacher.parameters())
    segments = {(g, end): g.tensors(chain, end) for g in groups for end in g.ends}
    read_by = {g: segments[g, g.ends[0]].input for g in groups}
    names = set[str]().union(*(segment.names for segment in segments.values()))
    regressions = {
        group: Regression(
            group.largest,
            {str(end): chain.ending(group.start, end).channels for end in group.ends},
            like.device,
        )
        for group in groups
    }
    inner = {g: own for g in groups if (own := _inner(chain, g, starts, like.device)) is not None}
    names.update(node for node, _ in inner.values())

    def wanted(group: Group, end: int, values: Mapping[str, Tensor]) -> Tensor:
        segment = segments[group, end]
        return as_map(segment.wanted(values[segment.target], values))

    def add(group: Group, values: Mapping[str, Tensor]) -> None:
        inputs = group.as_read(values[read_by[group]])
        targets = {str(end): wanted(group, end, values) for end in group.ends}
        regressions[group].add(inputs, targets)
        if group in inner:
            read, more = inner[group]
            more.add(values[read])

    def solve(group: Group) -> dict[Candidate, Weights]:
        regression = regressions.pop(group)  # and with it its memory
        targets = {str(end): wanted(group, end, values) for end in group.ends}
        inputs = group.as_read(values[read_by[group]])
        found = dict[Candidate, Weights]()
        read, more = inner.get(group, ("", None))
        if more is not None:
            more.hold_out(values[read])
        known = _Known(regression, inputs, targets, starts, more, {})
        for spec, members in _by_spec(group).items():
            found |= _whole(known, spec, [m for m in members if m[1].channels is None], ridges)
            found |= _narrowed(known, [m for m in members if m[1].channels is not None])
        beaten = _beaten(group, known.errors, latency_ms)
        return {c: weights for c, weights in found.items() if c not in beaten}

    for inputs in fitting:
        values = _finite(record(teacher, moved(inputs, like), names))
        for added in [pool.submit(add, group, values) for group in groups]:
            added.result()
        step()
        del values  # before the next batch's are there
    values = record(teacher, moved(held_out, like), names)
    _warn_if_few(regressions, len(fitting))
    solved = [pool.submit(solve, group) for group in groups]
    weights: dict[Candidate, Weights] = {}
    for found in solved:
        weights |= found.result()
    return weights


@dataclass(frozen=True, slots=True)
class _Known:
    """What a group's problems are solved from.

    Attributes:
        regression: their normal equations.
        inputs: held out (N, C, H, W).
        targets: for them (N, C', H', W'), by the segment's end.
        starts: weights that candidates start from.
        inner: what is regressed with them, if anything is.
        errors: what candidates come to on what is held out, filled in as they are solved.
    """

    regression: Regression
    inputs: Tensor
    targets: Mapping[str, Tensor]
    starts: Mapping[Candidate, Weights]
    inner: Inner | None
    errors: dict[Candidate, float]


def _beaten(
    group: Group, errors: Mapping[Candidate, float], latency_ms: Mapping[Candidate, float]
) -> set[Candidate]:
    """Two convolutions in a row than which another candidate is as fast and as near."""
    beaten, nearest = set[Candidate](), dict[tuple[int, int, str], float]()
    problems = dict(zip(group.candidates, group.problems, strict=True))
    known = [c for c in group.candidates if c in errors and c in latency_ms]
    # Of equally fast ones that come first that cannot be beaten, and then the nearer.
    order = {c: (latency_ms[c], problems[c].factors is not None, errors[c]) for c in known}
    for c in sorted(known, key=order.__getitem__):
        tensor = c.start, c.end, str(c.activation)
        if problems[c].factors is not None and errors[c] >= nearest.get(tensor, math.inf):
            beaten.add(c)
        nearest[tensor] = min(errors[c], nearest.get(tensor, math.inf))
    return beaten


def _inner(
    chain: Chain, group: Group, starts: Mapping[Candidate, Weights], device: torch.device
) -> tuple[str, Inner] | None:
    """What else is regressed with a group's problems, and the node of what that reads."""
    for candidate, problem in zip(group.candidates, group.problems, strict=True):
        if problem.inner is not None:
            weights = starts[candidate][1:]
            return inner_of(chain, candidate.start, candidate.end, weights, device)
    return None


def _whole(
    known: _Known, spec: Convolution, members: Sequence[_Member], ridges: Sequence[float]
) -> dict[Candidate, Weights]:
    """The weights of those that read all channels, by one kernel."""
    ends = {str(c.end) for c, _ in members}
    inputs = known.inputs
    targets = {end: target for end, target in known.targets.items() if end in ends}
    to_identity = any(problem.to_identity for _, problem in members)
    priors = known.regression.identities() if to_identity else None
    fits = best_fits(known.regression, spec, inputs, targets, ridges, priors) if ends else {}
    weights: dict[Candidate, Weights] = {}
    for c, problem in members:
        fitted, target = fits[str(c.end)], targets[str(c.end)]
        if problem.factors is not None:
            fitted = factored(
                known.regression, problem.convolution, problem.factors, fitted, inputs, target,
                target=str(c.end), to_identity=to_identity,
            )  # fmt: skip
        weights[c] = kind_of(c).realised(c, fitted)
        known.errors[c] = fitted.error
        if problem.keeps_start:
            ((weight, bias),) = known.starts[c]
            error = error_of(inputs, weight, bias, problem.convolution, target)
            weights[c] = known.starts[c] if error <= fitted.error else weights[c]
    return weights


def _narrowed(known: _Known, members: Sequence[_Member]) -> dict[Candidate, Weights]:
    """The weights of those that read fewer channels; the widths of a segment share a way back."""
    by_segment: dict[tuple[int, int, Problem], dict[int, Candidate]] = defaultdict(dict)
    for c, problem in members:
        assert problem.channels is not None  # noqa: S101 - narrows int | None: the caller chose them
        by_segment[c.start, c.end, replace(problem, channels=None)][problem.channels] = c
    weights: dict[Candidate, Weights] = {}
    for (_, end, problem), widths in by_segment.items():
        ((weight, _), *_) = known.starts[next(iter(widths.values()))]
        target = str(end)
        inner = known.inner.narrowed if known.inner and problem.inner else None
        found = narrowed(
            known.regression, problem.convolution, known.inputs, known.targets[target], weight,
            widths, target=target, together=problem.together, inner=inner,
        )  # fmt: skip
        weights |= {c: kind_of(c).realised(c, found[width]) for width, c in widths.items()}
    return weights


def _warn_if_few(regressions: Mapping[Group, Regression], batches: int) -> None:
    """Name the one that leans most on its regularisation, if any sees fewer pixels than weights."""
    missing = {
        group.start: (regression.features / regression.count, group, regression)
        for group, regression in regressions.items()
        if regression.count < regression.features
    }
    if missing:
        factor, group, regression = max(missing.values(), key=lambda found: found[0])
        logger.warning(
            "%s from block %d on is fitted to %d pixels and has %d weights per output: its "
            "regularisation decides; %.1f times the %d batches of fitting images would do",
            group.largest,
            group.start,
            regression.count,
            regression.features,
            factor,
            batches,
        )


def _by_spec(group: Group) -> dict[Convolution, list[_Member]]:
    """A group's problems by kernel; those of one kernel differ in their ends alone, and widths."""
    members: dict[Convolution, list[_Member]] = defaultdict(list)
    for candidate, problem in zip(group.candidates, group.problems, strict=True):
        new = problem.convolution
        members[replace(new, out_channels=new.in_channels)].append((candidate, problem))
    return members


def _finite(values: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, value in values.items():
        if not bool(torch.isfinite(value).all()):
            raise DataError(f"the tensor {name} holds NaN or infinite values on calibration images")
    return values
