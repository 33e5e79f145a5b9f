"""Strengths of regularisation that regressions try on held-out images."""

from collections.abc import Iterable

from depthopt.core.numbers import Positive, require
from depthopt.errors import UsageError

FIT_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Of a new convolution, drawn to 0; relative to the mean variance of its inputs."""

COMPENSATION_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of a kept convolution, held to what it was; relative to the mean variance of its inputs."""


def checked_ridges(ridges: Iterable[float]) -> tuple[float, ...]:
    """Strengths to try.

    Raises:
        UsageError: there is none, or one is no positive number.
    """
    found = tuple(require(Positive, "a ridge", ridge) for ridge in ridges)
    if not found:
        raise UsageError("ridges is empty; give one regularisation or more")
    return found
