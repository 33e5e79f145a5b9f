"""Importance by regression: regress each new convolution, then run what lies behind it.

Two sweeps over data. The first accumulates, for every start of a segment, the normal
equations of all ends and kernels at once (``depthopt.importance.regress``), and solves
them. The second runs the original on held-out images, puts each candidate's output
in the place of the segment's, and runs only the rest of the network
(``depthopt.importance.score``): the divergence of its outputs from the original's is the
candidate's cost, and with labels also what the loss on them rises by.

Every regression and every score is worked at on one thread, several of them at a time, so
that the table's bits depend neither on the number of cores nor on that of workers.
"""

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import torch
from torch import fx, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.inputs import Inputs
from depthopt.core.workload import Workload
from depthopt.data.dataset import Batch
from depthopt.errors import DataError
from depthopt.graph.heap import kept_heap
from depthopt.graph.trace import trace
from depthopt.importance.regress import Group, grouped, problems_of, regress
from depthopt.importance.score import score
from depthopt.importance.stand_ins import (
    alternatives,
    last_layer,
    regress_stand_ins,
    stand_ins_of,
    sums_of,
)
from depthopt.importance.workers import one_thread
from depthopt.kinds.registry import kind_of
from depthopt.kinds.site import Weights
from depthopt.rewrite.fold import fold_norms
from depthopt.rewrite.options import Form
from depthopt.rewrite.regression import Regression
from depthopt.rewrite.ridges import COMPENSATION_RIDGES
from depthopt.rewrite.stand_in import StandIn
from depthopt.shallow.build import check_chain
from depthopt.tables.importance import Importance
from depthopt.tasks.task import Task

Part = tuple[Candidate, ...]

MEMORY_BYTES = 2**29
"""Maximum bytes of the Gram matrices that one worker accumulates together."""

_PARTS = 3
"""Parts per worker; more lose less when a worker dies, but run the original more often."""

_WORTHWHILE = 10
"""Least work of a part, in multiples of running the original over all images."""


@dataclass(frozen=True, slots=True)
class ByRegression:
    """Scores a part of the candidates.

    Attributes:
        model: the original network; it is not changed.
        chain: its chain.
        fitting: batches of inputs to regress on.
        held_out: batches of inputs and targets, or None for targets, to score on.
        task: what the network is for.
        ridges: relative regularisations to choose from.
        form: a ``merge`` that is trained as one convolution is regressed too.
        compensated: whether plans regress the last layers of what stays, which a stand-in has too.
        latency_ms: of the candidates, where those that others beat are not to be scored.
        step: called with steps done: one per fitting batch, and one per candidate and
            held-out batch.
    """

    model: nn.Module
    chain: Chain
    fitting: Collection[Inputs]
    held_out: Collection[Batch]
    task: Task
    ridges: Sequence[float]
    form: Form = "fused"
    compensated: bool = True
    latency_ms: Mapping[Candidate, float] = field(default_factory=dict)
    step: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        if not self.fitting or not self.held_out:
            raise DataError(
                "the regression estimator needs images to fit on and held-out images to score on; "
                f"got {len(self.fitting)} and {len(self.held_out)} batches"
            )

    @kept_heap()
    def __call__(self, part: Part) -> dict[Candidate, Importance]:
        """Score candidates, none of kind ``keep``; those that are beaten are left out.

        Raises:
            DataError: tensors that are not finite, or targets that the task refuses.
        """
        step = self.step or (lambda _: None)
        teacher = trace(self.model, self.chain.input_size)
        check_chain(teacher, self.chain)
        teacher.to("cuda" if torch.cuda.is_available() else "cpu")
        weights = _starts(teacher, self.chain, part)
        fold_norms(teacher, keep_nodes=True)
        stand_ins = stand_ins_of(teacher, self.chain, part)
        with _pool() as pool:
            problems = problems_of(part, self.form)
            regressed = self._regressed(teacher, grouped(self.chain, problems), weights, pool, step)
            if stand_ins:
                regressed |= self._standing_in(teacher, stand_ins, pool, step)
            weights |= regressed
            left = [c for c in part if c in regressed or c not in problems.keys() | stand_ins]
            step((len(part) - len(left)) * len(self.held_out))
            return score(
                teacher,
                self.chain,
                left,
                weights,
                stand_ins,
                task=self.task,
                held_out=self.held_out,
                pool=pool,
                step=step,
            )

    def _regressed(
        self,
        teacher: fx.GraphModule,
        groups: Sequence[Group],
        starts: Mapping[Candidate, Weights],
        pool: Executor,
        step: Callable[[int], None],
    ) -> dict[Candidate, Weights]:
        if not groups:
            step(len(self.fitting))
            return {}
        first, _ = next(iter(self.held_out))
        return regress(
            teacher,
            self.chain,
            groups,
            fitting=self.fitting,
            held_out=first,
            ridges=self.ridges,
            starts=starts,
            latency_ms=self.latency_ms,
            pool=pool,
            step=lambda: step(1),
        )

    def _standing_in(
        self,
        teacher: fx.GraphModule,
        stand_ins: Mapping[Candidate, StandIn],
        pool: Executor,
        step: Callable[[int], None],
    ) -> dict[Candidate, Weights]:
        first, _ = next(iter(self.held_out))
        return regress_stand_ins(
            stand_ins,
            teacher,
            self.chain,
            fitting=self.fitting,
            held_out=first,
            adjusted=self.compensated,
            pool=pool,
            step=lambda: step(1),
        )

    def steps(self, part: Part) -> int:
        """How many steps a part takes."""
        standing_in = any(kind_of(candidate).stand_in is not None for candidate in part)
        sweeps = 1 + (self.compensated and standing_in)
        return sweeps * len(self.fitting) + len(part) * len(self.held_out)


def parts_of(
    chain: Chain, candidates: Sequence[Candidate], form: Form, *, workers: int, memory_bytes: int
) -> list[Part]:
    """Divide candidates into parts of like effort, a few for each worker, within a memory bound.

    Every part runs the original over all images again. So each part is to do some multiple of
    that work, where there are enough candidates. Candidates that share a Gram matrix stay
    together. A part's candidates start near one another, so that it runs no more of the original
    than it needs. The longest part comes first, so that workers end together.

    Args:
        chain: the network.
        candidates: none of kind ``keep``.
        form: see ``ByRegression``.
        workers: that share them.
        memory_bytes: bound on the Gram matrices in memory together; one at least is.
    """
    problems = problems_of(candidates, form)
    groups = grouped(chain, problems)
    units = [(g.candidates, g.memory_bytes, 4 * g.workload(chain, 1).macs64) for g in groups]
    standing_in = list(alternatives(candidates))
    units += [(members, sums_of(members[0]), 0) for members in standing_in]
    others = problems.keys() | {c for members in standing_in for c in members}
    units += [((c,), 0, 0) for c in candidates if c not in others]
    units.sort(key=lambda unit: unit[0][0].start)
    left = _macs_behind(chain)
    efforts = [macs + sum(left[c.end] for c in members) for members, _, macs in units]
    each = sum(efforts) / workers
    enough = max(each / _PARTS, min(each, _WORTHWHILE * left[0]))
    parts: list[list[Candidate]] = []
    spent: list[float] = []
    used = 0
    for (members, need, _), own in zip(units, efforts, strict=True):
        if not parts or used + need > memory_bytes or spent[-1] + own / 2 > enough:
            parts.append([])
            spent.append(0)
            used = 0
        parts[-1] += members
        spent[-1] += own
        used += need
    longest_first = sorted(range(len(parts)), key=lambda i: -spent[i])
    return [tuple(parts[i]) for i in longest_first]


def regression_workload(
    chain: Chain, part: Part, form: Form, images: int, held_out: int, *, ridges: int
) -> Workload:
    """What ``ByRegression`` takes for a part, on so many images fitted on and held out.

    It runs the original on the former as far as a segment reaches that is regressed, and on those
    held out to its end; then, for each candidate, what lies behind it.
    """
    left, problems = _macs_behind(chain), problems_of(part, form)
    standing_in = list(alternatives(part))
    chosen = [members[0] for members in standing_in]
    scored = chosen + [c for c in part if kind_of(c).stand_in is None]
    macs = images * (left[0] - min((left[c.end] for c in problems), default=left[0]))
    macs += images * (left[0] - min((left[c.end] for c in chosen), default=left[0]))
    macs += held_out * (left[0] + sum(left[c.end] for c in scored))
    for members in standing_in:
        macs += (images + len(members) * held_out) * sum(
            operator.macs(chain.blocks[members[0].start].layout.input_size)
            for operator in members[0].operators
        )
    regressions = [group.workload(chain, images, ridges) for group in grouped(chain, problems)]
    for c in chosen:
        if (layer := last_layer(c)) is not None:
            pixels = images * math.prod(chain.blocks[c.start].layout.input_size)
            solves = len(COMPENSATION_RIDGES)
            regressions.append(
                Regression.workload(layer, layer.out_channels, pixels=pixels, solves=solves)
            )
    work = sum(regressions, Workload(forward_images=macs / left[0]))
    return replace(work, memory_bytes=sum(each.memory_bytes for each in regressions))


def _macs_behind(chain: Chain) -> list[int]:
    """Multiply-accumulates of the blocks behind each position."""
    behind = [0]
    for block in reversed(chain.blocks):
        behind.append(behind[-1] + block.macs)
    return behind[::-1]


@contextlib.contextmanager
def _pool() -> Iterator[Executor]:
    """As many threads as torch has, each of which runs torch on one."""
    threads = torch.get_num_threads()
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        yield pool


def _starts(
    teacher: fx.GraphModule, chain: Chain, candidates: Sequence[Candidate]
) -> dict[Candidate, Weights]:
    """The weights of those candidates that start from some."""
    starts = {c: kind_of(c).start(teacher, chain, c) for c in candidates}
    return {candidate: weights for candidate, weights in starts.items() if weights is not None}
