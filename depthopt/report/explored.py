"""Show what exploring found: as rows, sentences and a plot of text."""

from collections.abc import Sequence

from depthopt.core.band import Band, Range
from depthopt.core.explored import Attempt, Explored, Found
from depthopt.core.metric import Metric
from depthopt.pipeline.recommend import band_of
from depthopt.report.accuracy import NOT_MEASURED

_COLUMN, _ROWS = 9, 12
"""Width of a column and height of the plot, in characters."""


def headings(explored: Explored) -> tuple[str, ...]:
    """Column headings of ``rows``."""
    metric = explored.metric
    return (
        "asked", "measured", "predicted", "cost",
        f"untrained, {metric.unit}" if metric.unit else "untrained",
        "finetuned (steps)", f"{metric.name} to expect",
    )  # fmt: skip


def rows(explored: Explored) -> tuple[tuple[str, ...], ...]:
    """The original and the result for each speed-up, under ``headings``."""
    metric, known = explored.metric, band_of(explored)
    original = metric.text(explored.original.metric, 1)
    found = [("original", "1.00x", "", "0", "", "", f"{original} now")]
    for asked in explored.asked:
        if asked.attempt is None:
            fastest = "" if explored.fastest is None else f"{explored.fastest:.2f}x at most"
            found.append((f"{asked.speedup:g}x", _none(explored), fastest, "", "", "", ""))
            continue
        attempt = explored.attempts[asked.attempt]
        found.append(
            (
                f"{asked.speedup:g}x",
                f"{attempt.speedup:.2f}x",
                f"{attempt.plan.speedup:.2f}x",
                f"{attempt.plan.cost:.3g}",
                "" if attempt.untrained is None else metric.figure(attempt.untrained.metric, 1),
                _shortly(explored, attempt),
                said(known, known.at(attempt.plan.cost)),
            )
        )
    return tuple(found)


def _none(explored: Explored) -> str:
    return "none tried is as fast" if explored.reduction else "no plan is as fast"


def said(known: Band, found: Range | None) -> str:
    """A range in words."""
    return NOT_MEASURED if found is None else found.text(known.metric)


def expectation(explored: Explored) -> str:
    """A sentence on what the ranges mean."""
    shares = sorted({one.steps for each in explored.attempts for one in each.finetuned})
    lengths = ", ".join(str(steps) for steps in shares) or "no"
    return (
        f"Expected after the whole finetune of {explored.steps} steps, nine times in ten, on "
        f"{explored.test_images:,} test images: from finetunes of {lengths} steps, judged on "
        f"{explored.original.images:,} held-out images."
    )


def recommendation(explored: Explored) -> str:
    """The recommended speed-up and the reason."""
    if explored.recommended is None:
        return f"Nothing is recommended: {explored.reason or 'exploring is not finished'}."
    return f"Recommended: {explored.recommended:g}x. It is {explored.reason}."


def _shortly(explored: Explored, attempt: Attempt) -> str:
    if attempt.failure is not None and not attempt.finetuned:
        return "failed"
    return ", ".join(
        f"{explored.metric.figure(one.found.metric, 1)} ({one.steps})" for one in attempt.finetuned
    )


def plot(explored: Explored) -> str:
    """Draw ranges over speed-ups: ``=`` a range, ``o`` untrained, ``-`` the original."""
    known, metric = band_of(explored), explored.metric
    columns: list[tuple[str, Range | None, Found | None]] = []
    for asked in explored.asked:
        if asked.attempt is not None:
            one = explored.attempts[asked.attempt]
            columns.append((f"{one.speedup:.2f}x", known.at(one.plan.cost), one.untrained))
    ranges = [found for _, found, _ in columns if found is not None]
    if not ranges:
        return ""
    ends = [explored.original.metric, *(end for r in ranges for end in (r.worst, r.best))]
    low, high = min(ends), max(ends)
    step = (high - low) / (_ROWS - 2) or 1.0

    def row(value: float) -> int:
        return max(0, min(_ROWS - 1, round((high - value) / step)))

    cells = [[" "] * (_COLUMN * len(columns)) for _ in range(_ROWS)]
    cells[row(explored.original.metric)] = ["-"] * (_COLUMN * len(columns))
    for i, (_, found, untrained) in enumerate(columns):
        middle = i * _COLUMN + _COLUMN // 2
        if found is not None:
            for j in range(
                row(max(found.worst, found.best)), row(min(found.worst, found.best)) + 1
            ):
                cells[j][middle - 1 : middle + 2] = "==="
        if untrained is not None and low - step <= untrained.metric <= high:
            cells[row(untrained.metric)][middle] = "o"
    return "\n".join(_lines(cells, [name for name, *_ in columns], high, step, metric))


def _lines(
    cells: Sequence[Sequence[str]], names: Sequence[str], high: float, step: float, metric: Metric
) -> list[str]:
    lines = [
        f"{metric.figure(high - i * step, 1):>8} {metric.unit:<2}|{''.join(row)}".rstrip()
        for i, row in enumerate(cells)
    ]
    return [*lines, " " * 11 + "+" + "".join(f"{name:^{_COLUMN}}" for name in names).rstrip()]
