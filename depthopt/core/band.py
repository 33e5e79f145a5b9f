"""The band of metrics to expect after a whole finetune, over plans' importance cost.

It is made from plans that were really carried out. Each gives a prediction at its own cost: its
metric after the longest finetune that it had, and what the rest of a whole one will give back; or
its metric with no training, where that is better still: a short finetune may do harm that a whole
one makes good. What is given back is learned from plans that were finetuned for two lengths: what a
network lacks of a perfect metric falls by about the same factor whenever the steps are doubled. How
wide the band is has three reasons, which are independent: the images that metrics were and will be
measured on are few (``error``), the factor is not known well, and plans of like cost differ.

Between plans the band is interpolated; it never gets better with the cost. Beyond the dearest plan
nothing is said. The original, at cost 0, is not part of it: a finetuned network may come out better
than an original whose training was stopped early.
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from depthopt.core import numbers
from depthopt.core.explored import Explored, Found
from depthopt.core.metric import Metric

SURE = 1.645
"""Standard errors on either side of the mean, so that nine of ten outcomes lie within."""

FACTOR, FACTOR_ERROR = 0.15, 0.1
"""What is taken for the logarithm by which the lack falls when the steps are doubled, and how
uncertain that is, before any plan was finetuned for two lengths."""

OTHERS = 0.35
"""By how much that logarithm differs from plan to plan, over itself."""

SCATTER = 0.15
"""By how much plans of like cost differ, over what they lose against the best."""


@dataclass(frozen=True, slots=True)
class Point:
    """A plan that was carried out.

    Attributes:
        cost: its importance cost; below 0 where importances are.
        speedup: over the original, measured.
        found: what its network did.
        share: of a whole finetune's steps that it was finetuned for: 0 untrained, 1 wholly.
    """

    cost: numbers.Finite
    speedup: numbers.Positive
    found: Found
    share: numbers.NonNegative


@dataclass(frozen=True, slots=True)
class Range:
    """Where a metric is expected.

    Attributes:
        worst: its worse end.
        best: its better end.
    """

    worst: float
    best: float

    @property
    def width(self) -> float:
        """From end to end."""
        return abs(self.best - self.worst)

    @property
    def middle(self) -> float:
        """Half way."""
        return (self.best + self.worst) / 2

    def holds(self, value: float) -> bool:
        """Whether a value lies in it, to rounding."""
        slack = 1e-9 * max(1.0, abs(value))
        low, high = sorted((self.worst, self.best))
        return low - slack <= value <= high + slack

    def text(self, metric: Metric, digits: int = 1) -> str:
        """The range with its unit, such as ``96.1 to 98.4 %``."""
        low, high = sorted((self.worst, self.best))
        return f"{metric.figure(low, digits)} to {metric.text(high, digits)}"


@dataclass(frozen=True, slots=True)
class Band:
    """The measured plans of a network, and what to expect of others.

    Attributes:
        metric: what the figures are.
        original: how the original does.
        points: plans carried out, by cost, each untrained or after some finetune.
        knots: (cost, range) of each plan that was finetuned, cheapest first.
        original_cost: what the original costs: 0, but where blocks that are kept have costs.
    """

    metric: Metric
    original: Found
    points: tuple[Point, ...]
    knots: tuple[tuple[float, Range], ...]
    original_cost: float = 0.0

    def at(self, cost: float) -> Range | None:
        """The metric to expect of a plan after a whole finetune. None if none was measured.

        Args:
            cost: the plan's; of one that replaces something.
        """
        if not self.knots or cost > self.knots[-1][0]:
            return None
        i = bisect_left(self.knots, cost, key=lambda knot: knot[0])
        right_cost, right = self.knots[i]
        if i == 0 or cost == right_cost:
            return right if cost == right_cost else self._cheaper_than_all(cost)
        left_cost, left = self.knots[i - 1]
        part = (cost - left_cost) / (right_cost - left_cost)
        return Range(
            left.worst + part * (right.worst - left.worst),
            left.best + part * (right.best - left.best),
        )

    def _cheaper_than_all(self, cost: float) -> Range:
        """No worse than the cheapest plan, and at best the better of it and the original."""
        first_cost, first = self.knots[0]
        error = SURE * math.sqrt(2) * self.original.error
        edge = self.original.metric + (error if self.metric.higher_is_better else -error)
        edge = _within(edge, self.metric)
        if self.metric.gain(first.best, edge) <= 0:
            return first
        if first_cost <= self.original_cost:  # the original lies not between: it bounds no plan
            return Range(first.worst, edge) if self.original_cost else first
        part = max(cost - self.original_cost, 0.0) / (first_cost - self.original_cost)
        return Range(first.worst, edge + part * (first.best - edge))


def points_of(explored: Explored) -> tuple[Point, ...]:
    """One point for each plan that exploring carried out, untrained and after each finetune."""
    found = []
    for attempt in explored.attempts:
        cost, speedup = attempt.plan.cost, attempt.speedup
        if attempt.untrained is not None:
            found.append(Point(cost, speedup, attempt.untrained, 0.0))
        found += [
            Point(cost, speedup, each.found, each.steps / explored.steps)
            for each in attempt.finetuned
        ]
    return tuple(found)


def error_of(metric: Metric, value: float, images: int) -> float | None:
    """The standard error of a share of this many images. None for other metrics.

    Half an image more counts as right, and half an image as wrong, so that a share of 1 is not a
    certainty (Jeffreys).
    """
    if metric.unit != "%":
        return None
    share = (value / metric.scale * images + 0.5) / (images + 1)
    return metric.scale * math.sqrt(share * (1 - share) / images)


def fitted(
    metric: Metric,
    original: Found,
    points: Iterable[Point],
    *,
    test_images: int,
    original_cost: float = 0.0,
) -> Band:
    """The band that follows from the plans that were carried out.

    Args:
        metric: what the figures are.
        original: how the original does.
        points: each plan untrained, and after each of its finetunes; those of one plan have one
            cost.
        test_images: that whole runs test on, whose outcome the band is to hold.
        original_cost: what the original costs.
    """
    known = sorted(points, key=lambda point: (point.cost, point.share))
    plans: dict[float, list[Point]] = defaultdict(list)
    untrained: dict[float, Found] = {}
    for point in known:
        if point.share > 0:
            plans[point.cost].append(point)
        else:
            untrained[point.cost] = point.found
    if not plans:
        return Band(metric, original, tuple(known), (), original_cost)
    perfect = _perfect(metric, [original, *(point.found for point in known)])
    scale = _Scale(metric, perfect)
    fall, unsure = _learned(plans.values(), scale)
    middles, parts = [], []
    for cost, trained in plans.items():
        last = trained[-1].found
        doublings = max(0.0, -math.log2(trained[-1].share))
        factor = math.exp(-fall * doublings)
        lack, before = factor * scale.lack(last), untrained.get(cost)
        if doublings and before is not None and scale.lack(before) < lack:
            lack, last, factor = scale.lack(before), before, 1.0
        at, slope = scale.to(lack), scale.slope(lack)
        judged = slope * factor * last.error
        tested = slope * math.sqrt(factor * last.images / test_images) * last.error
        extrapolated = slope * lack * math.sinh(min(unsure * doublings, 5.0))
        middles.append(at)
        parts.append((judged, tested, extrapolated))
    smooth = _rising(middles, [1 / max(math.hypot(*each), 1e-9) ** 2 for each in parts])
    rows = []
    for middle, each in zip(smooth, parts, strict=True):
        half = SURE * math.hypot(*each, SCATTER * (middle - smooth[0]))
        rows.append((scale.back(middle + half), scale.back(middle - half)))
    knots = _knots(plans, rows, metric, perfect)
    return Band(metric, original, tuple(known), knots, original_cost)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where errors of a metric are equal all over: of a share, the arc sine of its square root.

    So a range near a perfect metric reaches farther down than up.
    """

    metric: Metric
    perfect: float

    def lack(self, found: Found) -> float:
        """What a network lacks, which is never nothing; of a share, half an image more is wrong."""
        lack = abs(self.perfect - found.metric)
        if self.metric.unit != "%":
            return max(lack, found.error, 1e-12)
        return (lack * found.images + 0.5 * self.metric.scale) / (found.images + 1)

    def to(self, lack: float) -> float:
        if self.metric.unit != "%":
            return lack
        return math.asin(math.sqrt(min(max(lack / self.metric.scale, 0.0), 1.0)))

    def back(self, value: float) -> float:
        if self.metric.unit != "%":
            return value
        return self.metric.scale * math.sin(min(max(value, 0.0), math.pi / 2)) ** 2

    def slope(self, lack: float) -> float:
        """Of ``to``, at a lack that is neither nothing nor all."""
        if self.metric.unit != "%":
            return 1.0
        share = min(max(lack / self.metric.scale, 1e-6), 1 - 1e-6)
        return 1 / (2 * self.metric.scale * math.sqrt(share * (1 - share)))


def _perfect(metric: Metric, seen: Sequence[Found]) -> float:
    """The best that a metric can be; of one that is not a share, the best that was seen."""
    if metric.unit == "%":
        return metric.scale if metric.higher_is_better else 0.0
    found = [each.metric for each in seen]
    return max(found) if metric.higher_is_better else min(found)


def _within(value: float, metric: Metric) -> float:
    """A share's value, no better than perfect and no worse than all wrong."""
    return min(max(value, 0.0), metric.scale) if metric.unit == "%" else value


def _learned(plans: Iterable[Sequence[Point]], scale: _Scale) -> tuple[float, float]:
    """The logarithm by which the lack falls per doubling of the steps, and its uncertainty.

    The first is a mean of what plans that were finetuned for two lengths say and of ``FACTOR``,
    each by how well it is known; the second is that of a plan that was finetuned for one.
    """
    means, precisions = [FACTOR], [FACTOR_ERROR**-2]
    for trained in plans:
        first, last = trained[0], trained[-1]
        if first.share >= last.share:
            continue
        doublings = math.log2(last.share / first.share)
        ends = [(scale.lack(each.found), each.found.error) for each in (first, last)]
        mean = math.log(ends[0][0] / ends[1][0]) / doublings
        error = math.hypot(*(error / lack for lack, error in ends)) / doublings
        means.append(mean)
        precisions.append(1 / (error**2 + (OTHERS * mean) ** 2 + 1e-6))
    known = sum(precisions)
    fall = max(0.0, sum(m * p for m, p in zip(means, precisions, strict=True)) / known)
    return fall, math.hypot(known**-0.5, OTHERS * fall)


def _rising(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The nearest row of values that never falls: neighbours that do are pooled."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, u, m), (b, v, n) = pools[-2:]
            pools[-2:] = [((a * u + b * v) / (u + v), u + v, m + n)]
    return [value for value, _, count in pools for _ in range(count)]


def _knots(
    plans: dict[float, list[Point]],
    rows: Sequence[tuple[float, float]],
    metric: Metric,
    perfect: float,
) -> tuple[tuple[float, Range], ...]:
    """Ranges that hold what was measured and never get better with the cost.

    Args:
        plans: the points of each cost.
        rows: (most, least) that each lacks.
        metric: what the figures are.
        perfect: what the lack is of.
    """
    sign = -1.0 if metric.higher_is_better else 1.0
    most, least = [row[0] for row in rows], [row[1] for row in rows]
    # No plan is worse than one that costs more, nor better than one that costs less ...
    most = _last_first(accumulate(reversed(most), min))
    least = list(accumulate(least, max))
    # ... but for what was measured.
    lacks = [
        sign * (trained[-1].found.metric - perfect) if trained[-1].share >= 1 else None
        for trained in plans.values()
    ]
    highest = accumulate((-math.inf if lack is None else lack for lack in lacks), max)
    lowest = _last_first(
        accumulate((math.inf if lack is None else lack for lack in reversed(lacks)), min)
    )
    most = [max(pair) for pair in zip(most, highest, strict=True)]
    least = [min(pair) for pair in zip(least, lowest, strict=True)]
    return tuple(
        (
            cost,
            Range(_within(perfect + sign * worst, metric), _within(perfect + sign * best, metric)),
        )
        for cost, worst, best in zip(plans, most, least, strict=True)
    )


def _last_first(values: Iterable[float]) -> list[float]:
    return list(values)[::-1]
