"""The papers' importance files: accuracies as measured, normalised, or extended.

Both papers' codes write accuracies in points of 100, as differences from the original's.
LayerMerge's objective adds up ``exp(change / 100)``, 1 where nothing changes; the 2023
method's adds up the change itself less alpha times the mean over the rows of one block. An
extended file (arXiv 2301.12187, Algorithm 3) holds that difference, and where two or more
segments with no activation between them are worth more than the whole, their sum.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from depthopt.errors import TableError
from depthopt.frontier.published.formats import ImportanceFormat, importance_format
from depthopt.frontier.published.sheet import Row, Sheet, read_sheet, refuse_twice

Unit = Literal["points", "fraction"]
"""Unit of accuracies: percentage points, or fractions of 1."""

POINTS = 100.0
"""Points in a whole."""

DEPTH = "published: depth"
"""How the protocol of the 2023 method's tables begins."""

MEASURED = ("raw", "layermerge raw")
"""Formats that hold accuracies."""


@dataclass(frozen=True, slots=True)
class Worth:
    """A row's score in the file, and its value in the paper's objective.

    Attributes:
        objective: what the paper's objective adds up, changes as fractions; more is better.
        metric_change: of the accuracy, in points; None where the file does not tell.
        loss_increase: of the loss; None where the file does not tell.
    """

    objective: float
    metric_change: float | None = None
    loss_increase: float | None = None


@dataclass(frozen=True, slots=True)
class SubsetScore:
    """One row of LayerMerge's: ``[start, end)`` with only the convolutions ``kept``.

    Attributes:
        start: position before the segment.
        end: position after it.
        kernel: side length of the merged kernel.
        stride: of the merged convolution.
        depthwise: whether it is depthwise; None where the file does not tell.
        kept: positions before the convolutions that stay.
        worth: what it says.
    """

    start: int
    end: int
    kernel: int
    stride: int
    depthwise: bool | None
    kept: tuple[int, ...]
    worth: Worth


@dataclass(frozen=True, slots=True)
class StateScore:
    """One row of the 2023 method's: ``[start, end)`` merged, with activations at its ends or not.

    Attributes:
        start: position before the segment.
        end: position after it.
        start_active: whether an activation lies at ``start``.
        end_active: whether one lies at ``end``.
        worth: what it says.
    """

    start: int
    end: int
    start_active: bool
    end_active: bool
    worth: Worth


@dataclass(frozen=True, slots=True)
class PublishedImportances:
    """An importance file.

    Attributes:
        rows: of one of the two papers.
        format: which file it was.
    """

    rows: tuple[SubsetScore, ...] | tuple[StateScore, ...]
    format: ImportanceFormat

    @property
    def of_layermerge(self) -> bool:
        """Whether it is LayerMerge's, not the 2023 method's."""
        return self.format.startswith("layermerge")

    @property
    def protocol(self) -> str:
        """How the scores were made, for ``ImportanceTable.protocol``."""
        if self.of_layermerge:
            return "published: layermerge"
        extended = self.format == "extended"
        return f"{DEPTH}, normalised and extended" if extended else f"{DEPTH}, as measured"


def read_importances(path: Path, unit: Unit | None = None) -> PublishedImportances:
    """Read an importance file of any format.

    ``conv_comb`` may count convolutions by the position before or after them; which of
    the two is seen from all rows together.

    Args:
        path: the file.
        unit: of its accuracies; None: points, as both codes write, if one is above 1.

    Raises:
        ArtefactError: no such file, a column missing, a cell that is not a number, or a file of
            something else.
        TableError: a NaN or infinite importance, accuracies of no certain unit, a kept
            convolution that lies outside its segment, or a row that comes twice.
    """
    sheet = read_sheet(path)
    kind = importance_format(sheet)
    points = POINTS if kind in MEASURED and _unit(sheet, unit) == "fraction" else 1.0
    if kind in {"raw", "extended"}:
        return PublishedImportances(_states(sheet, kind, points), kind)
    return PublishedImportances(_subsets(sheet, kind, points), kind)


def _unit(sheet: Sheet, given: Unit | None) -> Unit:
    """What the accuracies are counted in."""
    largest = max((abs(row.number("val_acc")) for row in sheet.rows), default=0.0)
    if given == "fraction" and largest > 1:
        raise TableError(
            f"{sheet.path}: val_acc is {largest:.4g}, more than 1, so it is not a fraction; give "
            "the unit points"
        )
    if largest > POINTS:
        raise TableError(
            f"{sheet.path}: val_acc is {largest:.4g}, of {POINTS:g} points; measure it again"
        )
    if given is None and sheet.rows and largest <= 1:
        raise TableError(
            f"{sheet.path}: val_acc is nowhere above 1 (at most {largest:.4g}): points of "
            "100, or fractions? give the unit: points or fraction"
        )
    return given or "points"


def _states(sheet: Sheet, kind: ImportanceFormat, points: float) -> tuple[StateScore, ...]:
    scores = []
    for row in sheet.rows:
        if kind == "raw":
            change = points * row.number("val_acc")
            worth = Worth(change / POINTS, change, _loss(row))
        else:
            worth = Worth(row.number("imp") / POINTS)
        scores.append(
            StateScore(
                row.integer("st"),
                row.integer("end"),
                row.flag("st_act"),
                row.flag("end_act"),
                worth,
            )
        )
    refuse_twice(sheet.path, [(s.start, s.end, s.start_active, s.end_active) for s in scores])
    return tuple(scores)


def _subsets(sheet: Sheet, kind: ImportanceFormat, points: float) -> tuple[SubsetScore, ...]:
    read = [
        SubsetScore(
            row.integer("st"),
            row.integer("end"),
            row.integer("ker", least=1),
            row.integer("str", least=1),
            row.flag("is_dw") if "is_dw" in row.cells else None,
            row.positions("conv_comb"),
            _measured(row, points) if kind == "layermerge raw" else _normalised(row),
        )
        for row in sheet.rows
    ]
    scores = _counted_before(sheet.path, read)
    refuse_twice(sheet.path, [(s.start, s.end, s.kernel, s.stride, s.kept) for s in scores])
    return tuple(scores)


def _measured(row: Row, points: float) -> Worth:
    change = points * row.number("val_acc")
    return Worth(math.exp(change / POINTS), change, _loss(row))


def _normalised(row: Row) -> Worth:
    importance = row.number("importance")
    if importance <= 0:
        raise TableError(
            f"{row.path}:{row.line}: importance is {importance}, expected above 0: it is "
            "exp(change of val_acc / 100)"
        )
    return Worth(importance, POINTS * math.log(importance))


def _loss(row: Row) -> float | None:
    return row.number("val_loss") if "val_loss" in row.cells else None


def _counted_before(path: Path, read: Sequence[SubsetScore]) -> list[SubsetScore]:
    """The rows, kept convolutions counted by the position before them."""
    after = any(score.end in score.kept for score in read)
    scores = [replace(score, kept=tuple(p - after for p in score.kept)) for score in read]
    for score in scores:
        if any(not score.start <= position < score.end for position in score.kept):
            raise TableError(
                f"{path}: conv_comb {list(score.kept)} lies outside its segment from "
                f"{score.start} to {score.end}; count convolutions alike in all rows"
            )
    return scores
