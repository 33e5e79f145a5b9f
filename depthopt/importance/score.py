"""What a candidate's output in the segment's place does to the network's logits."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, fx

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.errors import DataError
from depthopt.graph.partial import Tail, record
from depthopt.graph.trace import nodes_by_name
from depthopt.kinds.kind import Weights
from depthopt.kinds.registry import kind_of
from depthopt.rewrite.segment_tensors import SegmentTensors
from depthopt.tables.importance import Importance

LabelledOrNot = tuple[Tensor, Tensor | None]
"""Images (N, C, H, W) and their labels (N,), or None."""

LOSS_WEIGHT = 3.0
"""Of a nat by which the loss on labels rises, against one of divergence, in a cost.

Divergence alone foretells less well how accurate a network with several replacements is once it
has been finetuned (tests/benchmarks/README.md, "What foretells a finetune"). That a loss falls
counts for nothing: a falling one may only say that the original answered too surely.
"""


@dataclass(slots=True)
class _Sums:
    divergence: float = 0.0
    loss: float = 0.0
    correct: int = 0

    def add(self, logits: Tensor, labels: Tensor | None, teacher: Tensor) -> None:
        log_p = logits.double().log_softmax(1)
        log_t = teacher.double().log_softmax(1)
        self.divergence += float((log_t.exp() * (log_t - log_p)).sum())
        if labels is None:
            return
        self.loss += float(F.nll_loss(log_p, labels, reduction="sum"))
        self.correct += int((logits.argmax(1) == labels).sum())


def score(
    teacher: fx.GraphModule,
    chain: Chain,
    candidates: Sequence[Candidate],
    weights: Mapping[Candidate, Weights],
    *,
    held_out: Collection[LabelledOrNot],
    pool: Executor,
    step: Callable[[int], None],
) -> dict[Candidate, Importance]:
    """Run the rest of the network behind every candidate on the held-out images.

    Args:
        teacher: the original network, traced, its norms folded.
        chain: its chain.
        candidates: that change something.
        weights: of those that have some.
        held_out: batches of images (N, C, H, W) and labels (N,), or None for labels.
        pool: works at several candidates at a time.
        step: called with the number of candidates after some of them are done.

    Raises:
        DataError: a label is no class of the network's.
    """
    nodes = nodes_by_name(teacher)
    segments = {c: SegmentTensors.of(chain, c.start, c.end) for c in candidates}
    by_target: dict[str, list[Candidate]] = defaultdict(list)
    for candidate, segment in segments.items():
        by_target[segment.target].append(candidate)
    tails = {name: Tail(teacher, nodes[name]) for name in by_target}
    kinds = {c: kind_of(c) for c in candidates}
    names = {"output"}.union(*(kinds[c].reads(chain, c) for c in candidates))
    names = names.union(*(s.names for s in segments.values()), *(t.needs for t in tails.values()))
    sums, original = {c: _Sums() for c in candidates}, _Sums()
    images = labelled = 0
    device = next(teacher.parameters()).device

    @torch.no_grad()
    def add(
        members: Sequence[Candidate], values: Mapping[str, Tensor], labels: Tensor | None
    ) -> int:
        for candidate in members:
            segment = segments[candidate]
            given = weights.get(candidate, ())
            output = kinds[candidate].output(chain, candidate, given, values)
            output = segment.completed(output, values)
            # No inserted activation: it starts as the identity.
            logits = tails[segment.target](output, values)
            sums[candidate].add(logits, labels, values["output"])
        return len(members)

    for batch, given in held_out:
        values = record(teacher, batch.to(device), names)
        labels = None if given is None else given.to(device)
        if labels is not None:
            _check_labels(values["output"], labels)
            labelled += len(labels)
        original.add(values["output"], labels, values["output"])
        images += len(batch)
        # One tail serves one thread at a time: it holds the values that it is at.
        for done in [pool.submit(add, c, values, labels) for c in by_target.values()]:
            step(done.result())
    if labelled not in {0, images}:
        raise DataError(f"{labelled} of {images} held-out images have labels; give all or none")
    return {c: _importance(total, original, images, labelled > 0) for c, total in sums.items()}


def _check_labels(logits: Tensor, labels: Tensor) -> None:
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise DataError(
            f"labels from {int(labels.min())} to {int(labels.max())} do not fit a network of "
            f"{logits.shape[1]} classes"
        )


def _importance(total: _Sums, original: _Sums, images: int, labelled: bool) -> Importance:
    divergence = total.divergence / images
    if not labelled:
        return Importance(divergence, divergence)
    loss_increase = (total.loss - original.loss) / images
    return Importance(
        cost=divergence + LOSS_WEIGHT * max(0.0, loss_increase),
        divergence=divergence,
        loss_increase=loss_increase,
        accuracy_change=100 * (total.correct - original.correct) / images,
    )
