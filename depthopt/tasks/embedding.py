"""The task ``embedding``: a row of numbers, of which it counts what lies near. It needs no targets.

Costs and trainings are those of ``matching``. The metric is the share of examples whose nearest
neighbour in their batch, by the cosine, is the one that it is by the original's rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from depthopt.core.metric import Metric
from depthopt.data.dataset import Batch
from depthopt.errors import DataError
from depthopt.graph.outputs import output_of
from depthopt.tasks import matching
from depthopt.tasks.task import Task


def _nearest(rows: Tensor) -> Tensor:
    """The nearest other row of each, (N,), of rows (N, numbers)."""
    directions = F.normalize(rows.double(), dim=1)
    return (directions @ directions.T).fill_diagonal_(-torch.inf).argmax(1)


@torch.no_grad()
def knn_accuracy(network: nn.Module, batches: Iterable[Batch], *, k: int = 5) -> float:
    """The share of examples, out of 100, whose label most of their nearest others have.

    A metric for data with labels (``metric: depthopt.tasks.embedding:knn_accuracy``): each example
    is classified by the ``k`` others whose rows are nearest by the cosine. Of labels that as many
    have, the one of the nearest counts.

    Args:
        network: in evaluation mode; it gives rows of numbers.
        batches: inputs, and labels (N,) int64.
        k: number of neighbours, fewer where there are not as many others.

    Raises:
        DataError: there are no labels, or fewer than two examples.
    """
    found = [(output_of(network, inputs), labels) for inputs, labels in batches]
    if any(labels is None or labels.dim() != 1 for _, labels in found):
        raise DataError("knn_accuracy needs a label for each example; leave out metric")
    labels = torch.cat([own for _, own in found if own is not None])
    if len(labels) < 2:
        raise DataError("knn_accuracy needs two examples or more")
    rows = F.normalize(torch.cat([own for own, _ in found]).double().flatten(1), dim=1)
    near = rows @ rows.T
    near.fill_diagonal_(-torch.inf)
    closest = labels[near.topk(min(k, len(labels) - 1), dim=1).indices]
    votes = (closest[:, :, None] == closest[:, None]).sum(2)  # of each neighbour's label
    answers = closest.gather(1, votes.argmax(1, keepdim=True)).squeeze(1)
    return 100 * float((answers == labels).double().mean())


def _kept(outputs: Tensor, original: Tensor) -> Tensor:
    return (_nearest(outputs) == _nearest(original)).sum()


def _check(outputs: Tensor, original: Tensor) -> None:
    matching.TASK.check_targets(outputs, original)
    if outputs.dim() != 2:
        raise DataError(
            f"task embedding compares rows of numbers, and the network gives outputs of shape "
            f"{tuple(outputs.shape)}; take task matching"
        )


def _scaled(answers: Iterable[Tensor], numbers: Sequence[int]) -> Task:
    return _task(matching.scaled(answers, numbers))


def _task(matched: Task) -> Task:
    return replace(
        matched,
        name="embedding",
        metric=Metric("neighbours kept", "%", scale=100),
        measure=_kept,
        output="embedding",
        check_targets=_check,
        scaled=_scaled,
    )


TASK = _task(matching.TASK)
