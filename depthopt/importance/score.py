"""How a candidate's output, in the segment's place, changes the network's output."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.inputs import count, moved
from depthopt.data.dataset import Batch
from depthopt.errors import DataError
from depthopt.graph.outputs import one_tensor
from depthopt.graph.partial import Tail, record
from depthopt.graph.trace import nodes_by_name
from depthopt.kinds.registry import kind_of
from depthopt.kinds.site import Weights
from depthopt.rewrite.segment_tensors import SegmentTensors
from depthopt.rewrite.stand_in import StandIn
from depthopt.tables.importance import Importance
from depthopt.tasks.task import Task

LOSS_WEIGHT = 3.0
"""Weight of the rise of the loss on targets in a cost, beside the divergence.

The divergence alone is a weaker sign of how accurate a network with several replacements is after
finetuning (docs/results/foretelling.md). A fall of the loss counts for nothing: it may only mean
that the original was too sure of its answers.
"""


@dataclass(slots=True)
class _Sums:
    divergence: float = 0.0
    loss: float = 0.0
    measured: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def add(self, task: Task, outputs: Tensor, targets: Tensor | None, original: Tensor) -> None:
        found = outputs.double()
        self.divergence += float(task.divergence(found, original.double()))
        if targets is None:
            return
        self.loss += float(task.loss(found, targets))
        self.measured = self.measured + task.measure(outputs, targets).double().cpu()


def score(
    teacher: fx.GraphModule,
    chain: Chain,
    candidates: Sequence[Candidate],
    weights: Mapping[Candidate, Weights],
    stand_ins: Mapping[Candidate, StandIn],
    *,
    task: Task,
    held_out: Collection[Batch],
    pool: Executor,
    step: Callable[[int], None],
) -> dict[Candidate, Importance]:
    """Run the rest of the network behind every candidate on the held-out images.

    Args:
        teacher: the original network, traced, its norms folded.
        chain: its chain.
        candidates: that change something.
        weights: of those that have some.
        stand_ins: of those that are more than operators in a row; their weights are those of the
            last layer, if any.
        task: what the network is for.
        held_out: batches of inputs and targets (N, ...), or None for targets.
        pool: works at several candidates at a time.
        step: called with the number of candidates after some of them are done.

    Raises:
        DataError: a target is not something that the network can give.
    """
    nodes = nodes_by_name(teacher)
    segments = {c: SegmentTensors.of(chain, c.start, c.end) for c in candidates}
    by_target: dict[str, list[Candidate]] = defaultdict(list)
    for candidate, segment in segments.items():
        by_target[segment.target].append(candidate)
    tails = {name: Tail(teacher, nodes[name]) for name in by_target}
    kinds = {c: kind_of(c) for c in candidates}
    names = {"output"}.union(*(kinds[c].reads(chain, c) for c in candidates))
    names = names.union(*(stand_ins[c].reads for c in candidates if c in stand_ins))
    names = names.union(*(s.names for s in segments.values()), *(t.needs for t in tails.values()))
    sums, original = {c: _Sums() for c in candidates}, _Sums()
    images = labelled = 0
    like = next(teacher.parameters())

    @torch.no_grad()
    def add(
        members: Sequence[Candidate], values: Mapping[str, Tensor], targets: Tensor | None
    ) -> int:
        for candidate in members:
            segment = segments[candidate]
            given = weights.get(candidate, ())
            if (stand_in := stand_ins.get(candidate)) is not None:
                output = stand_in.output(values, *given)
            else:
                output = kinds[candidate].output(chain, candidate, given, values)
            output = segment.completed(output, values)
            # No inserted activation: it starts as the identity.
            found = one_tensor(teacher, tails[segment.target](output, values))
            sums[candidate].add(task, found, targets, values["output"])
        return len(members)

    for inputs, given in held_out:
        values = record(teacher, moved(inputs, like), names)
        values["output"] = one_tensor(teacher, values["output"])
        targets = None if given is None else given.to(like.device)
        if targets is not None:
            task.check_targets(values["output"], targets)
            labelled += len(targets)
        original.add(task, values["output"], targets, values["output"])
        images += count(inputs)
        # One tail serves one thread at a time: it holds the values that it is at.
        for done in [pool.submit(add, c, values, targets) for c in by_target.values()]:
            step(done.result())
        del values  # before the next batch's are there
    if labelled not in {0, images}:
        raise DataError(f"{labelled} of {images} held-out images have labels; give all or none")
    return {
        c: _importance(task, total, original, images, labelled > 0) for c, total in sums.items()
    }


def _importance(
    task: Task, total: _Sums, original: _Sums, images: int, labelled: bool
) -> Importance:
    divergence, metric = total.divergence / images, task.metric
    if not labelled:
        return Importance(divergence, divergence)
    loss_increase = (total.loss - original.loss) / images
    more = 0.0 if task.imitates else LOSS_WEIGHT * max(0.0, loss_increase)  # the same once more
    return Importance(
        cost=divergence + more,
        divergence=divergence,
        loss_increase=loss_increase,
        metric_change=metric.gain(
            *(task.figure(sums.measured, images) for sums in (original, total))
        ),
    )
