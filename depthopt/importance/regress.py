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
from depthopt.rewrite.options import Form
from depthopt.rewrite.problem import Problem, sums_bytes
from depthopt.rewrite.regression import Regression, best_fits, error_of
from depthopt.rewrite.segment_tensors import SegmentTensors

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Group:
    """Problems that share one Gram matrix: same start, stride, centre and grouping.

    Attributes:
        start: first block of all their segments.
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
        for spec in _by_spec(self):
            work += regression(spec, pixels=0, solves=ridges)
        return work


def problems_of(candidates: Sequence[Candidate], form: Form) -> dict[Candidate, Problem]:
    """What is regressed in the place of those candidates that declare a problem."""
    declared = {candidate: kind_of(candidate).problem(candidate, form) for candidate in candidates}
    return {candidate: problem for candidate, problem in declared.items() if problem is not None}


def grouped(chain: Chain, problems: Mapping[Candidate, Problem]) -> list[Group]:
    """Problems by the Gram matrix that serves them, in order of starts."""
    groups: dict[tuple[object, ...], list[Candidate]] = defaultdict(list)
    for candidate in sorted(problems, key=lambda c: c.start):
        new = problems[candidate].convolution
        window = Window.of(new)
        centre = tuple(2 * o + k for o, k in zip(window.offset, window.size, strict=True))
        size = chain.ending(candidate.start, candidate.end).size
        groups[candidate.start, new.stride, new.groups, centre, size].append(candidate)
    return [
        Group(members[0].start, tuple(members), tuple(problems[c] for c in members))
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
    pool: Executor,
    step: Callable[[], None],
) -> dict[Candidate, Weights]:
    """Solve the problems of all candidates of some groups.

    Args:
        teacher: the original network, traced, its norms folded.
        chain: its chain.
        groups: whose normal equations are in memory together.
        fitting: batches of inputs to regress on.
        held_out: a batch to choose the regularisation on.
        ridges: relative regularisations to choose from.
        starts: weights that some start from, and keep if regression gains nothing.
        pool: works at several groups at a time.
        step: called after every batch.

    Raises:
        DataError: a tensor is not finite.
    """
    like = next(teacher.parameters())
    segments = {
        (g.start, end): SegmentTensors.of(chain, g.start, end) for g in groups for end in g.ends
    }
    names = set[str]().union(*(segment.names for segment in segments.values()))
    regressions = {
        group: Regression(
            group.largest,
            {str(end): chain.ending(group.start, end).channels for end in group.ends},
            like.device,
        )
        for group in groups
    }

    def wanted(start: int, end: int, values: Mapping[str, Tensor]) -> Tensor:
        segment = segments[start, end]
        return segment.wanted(values[segment.target], values)

    def add(group: Group, values: Mapping[str, Tensor]) -> None:
        inputs = values[chain.blocks[group.start].input]
        targets = {str(end): wanted(group.start, end, values) for end in group.ends}
        regressions[group].add(inputs, targets)

    def solve(group: Group) -> dict[Candidate, Weights]:
        regression = regressions.pop(group)  # and with it its memory
        problems = dict(zip(group.candidates, group.problems, strict=True))
        weights: dict[Candidate, Weights] = {}
        inputs = values[chain.blocks[group.start].input]
        for spec, members in _by_spec(group).items():
            targets = {str(c.end): wanted(c.start, c.end, values) for c in members}
            fits = best_fits(regression, spec, inputs, targets, ridges)
            for c in members:
                fitted, target = fits[str(c.end)], targets[str(c.end)]
                weights[c] = kind_of(c).realised(c, fitted)
                if problems[c].keeps_start:
                    ((weight, bias),) = starts[c]
                    error = error_of(inputs, weight, bias, problems[c].convolution, target)
                    weights[c] = starts[c] if error <= fitted.error else weights[c]
        return weights

    for inputs in fitting:
        values = _finite(record(teacher, moved(inputs, like), names))
        for done in [pool.submit(add, group, values) for group in groups]:
            done.result()
        step()
    values = record(teacher, moved(held_out, like), names)
    _warn_if_few(regressions, len(fitting))
    solved = [pool.submit(solve, group) for group in groups]
    weights: dict[Candidate, Weights] = {}
    for found in solved:
        weights |= found.result()
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


def _by_spec(group: Group) -> dict[Convolution, list[Candidate]]:
    """A group's candidates by kernel; those of one kernel differ in their ends alone."""
    members: dict[Convolution, list[Candidate]] = defaultdict(list)
    for candidate, problem in zip(group.candidates, group.problems, strict=True):
        new = problem.convolution
        members[replace(new, out_channels=new.in_channels)].append(candidate)
    return members


def _finite(values: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, value in values.items():
        if not bool(torch.isfinite(value).all()):
            raise DataError(f"the tensor {name} holds NaN or infinite values on calibration images")
    return values
