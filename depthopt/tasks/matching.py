"""The task ``matching``: to give what the original network gives. It needs no targets.

A network's error is the share of the outputs' variance that it misses: its squared difference from
the original's outputs, over their squared difference from their mean, which is each number's own
over the calibration examples. An answer that does not depend on the inputs has an error of about 1
or more. Of several outputs, which may be of other units, it is the mean of each one's error. The
cosine is told too: of the angle between all numbers for an example and the original's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from depthopt.core.metric import Metric
from depthopt.errors import DataError
from depthopt.tasks.task import Task

_CONSTANT = 1e-12
"""Variance, relative to the mean square, that counts as none."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One of several outputs that are one tensor.

    Attributes:
        numbers: that it has for an example; None for all.
        variance: of one of them, a mean over all.
    """

    numbers: int | None = None
    variance: float = 1.0


def _error(outputs: Tensor, original: Tensor, *, parts: Sequence[_Part]) -> Tensor:
    """Summed over the examples, of outputs (N, ...)."""
    squares, begin, total = (outputs - original).square().flatten(1), 0, outputs.new_zeros(())
    for part in parts:
        end = squares.shape[1] if part.numbers is None else begin + part.numbers
        total, begin = total + squares[:, begin:end].mean(1).sum() / part.variance, end
    return total / len(parts)


def _cosine(outputs: Tensor, original: Tensor) -> Tensor:
    """Of the angle between all of an example's numbers and the original's, summed."""
    return F.cosine_similarity(outputs.flatten(1), original.flatten(1)).sum()


def _check(outputs: Tensor, original: Tensor) -> None:
    if outputs.shape != original.shape:
        raise DataError(
            f"task matching holds outputs, {tuple(outputs.shape)}, against those of the original, "
            f"and got targets of shape {tuple(original.shape)}; give the original's outputs"
        )


def _task(parts: Sequence[_Part]) -> Task:
    error = partial(_error, parts=parts)
    return Task(
        name="matching",
        metric=Metric("relative error", higher_is_better=False),
        divergence=error,
        loss=error,
        measure=error,
        further={"cosine": _cosine},
        check_targets=_check,
        imitates=True,
        scaled=scaled,
    )


def scaled(answers: Iterable[Tensor], numbers: Sequence[int]) -> Task:
    """The task by the variance of each output (``Task.scaled``)."""
    seen, total, squares = 0, torch.zeros(()), torch.zeros(())
    for answer in answers:
        found = answer.double().flatten(1)
        seen += len(found)
        total, squares = total + found.sum(0), squares + found.square().sum(0)
    parts, sizes = list[_Part](), list(numbers)
    means, mean_squares = (torch.split(sums / seen, sizes) for sums in (total, squares))
    for mean, square in zip(means, mean_squares, strict=True):
        variance = float((square - mean.square()).mean())
        if not variance > _CONSTANT * float(square.mean()):
            which = f"output {len(parts) + 1}" if len(numbers) > 1 else "outputs"
            raise DataError(
                f"the original gives the same {which} for all calibration examples, so nothing can "
                "be told from it; check its weights and the normalisation"
            )
        parts.append(_Part(len(mean), variance))
    return _task(parts)


TASK = _task([_Part()])
