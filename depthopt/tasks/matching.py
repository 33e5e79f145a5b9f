"""The task ``matching``: to give what the original network gives. It needs no targets.

A network's error is the share of the outputs' variance that it misses: its squared difference from
the original's outputs, over their squared difference from their mean. Mean and variance are over
the calibration examples, and over the pixels, where outputs are images, each channel apart. An
answer that does not depend on the inputs has an error of about 1 or more.
"""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from depthopt.core.metric import Metric
from depthopt.errors import DataError
from depthopt.tasks.task import Task

_CONSTANT = 1e-12
"""Variance, relative to the mean square, that counts as none."""


def _error(outputs: Tensor, original: Tensor, *, variance: float) -> Tensor:
    difference = (outputs - original).square().flatten(1).mean(1)
    return (difference / variance).sum()


def _check(outputs: Tensor, original: Tensor) -> None:
    if outputs.shape != original.shape:
        raise DataError(
            f"task matching holds outputs, {tuple(outputs.shape)}, against those of the original, "
            f"and got targets of shape {tuple(original.shape)}; give the original's outputs"
        )


def _task(variance: float) -> Task:
    error = partial(_error, variance=variance)
    return Task(
        name="matching",
        metric=Metric("relative error", higher_is_better=False),
        divergence=error,
        loss=error,
        measure=error,
        check_targets=_check,
        imitates=True,
        scaled=_scaled,
    )


def _scaled(answers: Iterable[Tensor]) -> Task:
    return _task(_variance(answers))


def _variance(answers: Iterable[Tensor]) -> float:
    """The variance of one number of the outputs (N, ...) or (N, C, ...), a mean over all."""
    seen, total, squares = 0, torch.zeros(()), torch.zeros(())
    for answer in answers:
        found = answer.double().unsqueeze(-1).flatten(2)  # (N, C, pixels), (N, numbers, 1)
        seen += found.shape[0] * found.shape[-1]
        total, squares = total + found.sum((0, -1)), squares + found.square().sum((0, -1))
    mean_square = squares / seen
    variance = float((mean_square - (total / seen).square()).mean())
    if not variance > _CONSTANT * float(mean_square.mean()):
        raise DataError(
            "the original gives the same outputs for all calibration examples, so nothing can be "
            "told from them; check its weights and the normalisation"
        )
    return variance


TASK = _task(1.0)
