"""The task ``embedding``: a row of numbers, of which it counts what lies near. It needs no targets.

Costs and trainings are those of ``matching``. The metric is the share of examples whose nearest
neighbour in their batch, by the cosine, is the one that it is by the original's rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from depthopt.core.metric import Metric
from depthopt.errors import DataError
from depthopt.tasks import matching
from depthopt.tasks.task import Task


def _nearest(rows: Tensor) -> Tensor:
    """The nearest other row of each, (N,), of rows (N, numbers)."""
    directions = F.normalize(rows.double(), dim=1)
    return (directions @ directions.T).fill_diagonal_(-torch.inf).argmax(1)


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
