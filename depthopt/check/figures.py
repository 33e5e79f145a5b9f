"""The figures checked beside the latency: size, parameters, peak memory and metric."""

import logging
from dataclasses import dataclass

from depthopt.check.judge import Judge
from depthopt.check.memory import SLACK_BYTES, peak_memory_bytes
from depthopt.check.network_files import Side
from depthopt.check.verdict import Outcome
from depthopt.core import numbers
from depthopt.core.metric import Metric
from depthopt.errors import UsageError
from depthopt.runtimes.base import Runtime

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Largest accepted changes.

    Attributes:
        latency: as a fraction.
        size: of the file, as a fraction.
        parameters: as a fraction.
        memory: of peak memory, as a fraction.
        metric: by how much the task's metric may get worse; of the accuracy, in points of 100.
    """

    latency: float = 0.05
    size: float = 0.05
    parameters: float = 0.05
    memory: float = 0.15
    metric: float = 0.5


def fraction(text: str) -> float:
    """A tolerance such as ``5%`` or ``0.05``.

    Raises:
        UsageError: it is neither.
    """
    try:
        return numbers.fraction(text)
    except ValueError as error:
        raise UsageError(f"tolerance {error}") from None


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that is watched beside the latency.

    Attributes:
        name: ``size``, ``parameters``, ``peak memory``, or the metric's.
        unit: ``bytes``, ``points`` or nothing.
        baseline: of the baseline.
        current: of the current network.
        limit: the worst accepted value.
        outcome: ``pass`` or ``regression``.
    """

    name: str
    unit: str
    baseline: float
    current: float
    limit: float
    outcome: Outcome


def growing(
    name: str, unit: str, values: tuple[float, float], tolerance: float, slack: float = 0.0
) -> Figure:
    """A figure that may grow by a fraction plus ``slack``, and may shrink by any amount."""
    baseline, current = values
    limit = baseline * (1 + tolerance) + slack
    outcome: Outcome = "regression" if current > limit else "pass"
    return Figure(name, unit, baseline, current, limit, outcome)


def metric_figure(metric: Metric, baseline: float, current: float, tolerance: float) -> Figure:
    """The task's metric as a figure, which may get worse by ``tolerance`` at most."""
    limit = baseline - tolerance if metric.higher_is_better else baseline + tolerance
    outcome: Outcome = "pass" if metric.reached(current, limit) else "regression"
    unit = "points" if metric.unit == "%" else metric.unit
    return Figure(metric.name, unit, baseline, current, limit, outcome)


def figures_of(
    baseline: Side,
    current: Side,
    *,
    runtime: Runtime,
    batch: int,
    tolerances: Tolerances,
    judge: Judge | None = None,
) -> tuple[Figure, ...]:
    """All figures that can be read for both sides.

    Args:
        baseline: the one side.
        current: the other side.
        runtime: what runs them.
        batch: images per inference.
        tolerances: largest accepted changes.
        judge: gives a side's metric; None without a data set.
    """
    found = [growing("size", "bytes", (baseline.size_bytes, current.size_bytes), tolerances.size)]
    if baseline.parameters is not None and current.parameters is not None:
        counts = baseline.parameters, current.parameters
        found.append(growing("parameters", "", counts, tolerances.parameters))
    peaks = [peak_memory_bytes(side.path, runtime, batch) for side in (baseline, current)]
    if peaks[0] is not None and peaks[1] is not None:
        both = float(peaks[0]), float(peaks[1])
        found.append(growing("peak memory", "bytes", both, tolerances.memory, SLACK_BYTES))
    else:
        logger.info("peak memory is not checked: it is read only on Linux, for runtimes on the CPU")
    if judge is not None:
        values = judge(baseline), judge(current)
        found.append(metric_figure(judge.metric, *values, tolerances.metric))
    return tuple(found)
