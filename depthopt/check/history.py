"""The history of checks: a file with one line per check, and the steps found in it.

Steps are found by penalised least squares over piecewise constant levels (``levels``) on
logarithms of ratios: one step is accepted where it lowers the squared error by more than
``PENALTY`` noise variances times log n. The noise is that of neighbours' differences, which
steps hardly touch.
"""

import json
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import TypeAdapter, ValidationError

from depthopt.check.check import CheckReport
from depthopt.check.levels import level_ends
from depthopt.check.verdict import Outcome
from depthopt.core import digests, limits, numbers
from depthopt.core.artefacts import SCHEMA_VERSION, why_unread
from depthopt.core.clipped import one_line
from depthopt.core.reading import parse_json, read_bytes
from depthopt.core.writing import writing
from depthopt.errors import ArtefactError
from depthopt.tables.latency import MeasurementConditions

logger = logging.getLogger(__name__)

PENALTY = 4.0

_LEAST_NOISE = 1e-3
_MIN_LEVEL = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One check, as the history keeps it.

    Attributes:
        commit: what was checked out.
        time: ISO time in UTC.
        current: SHA-256 of the network.
        baseline: SHA-256 of what it was checked against.
        conditions: what it was measured on and how.
        outcome: of the whole check.
        median_ms: of the network, by the clock; in processor time against a recorded baseline.
        ratio: its time over the baseline's.
    """

    commit: str
    time: str
    current: str
    baseline: str
    conditions: MeasurementConditions
    outcome: Outcome
    median_ms: numbers.Milliseconds
    ratio: numbers.Positive


@dataclass(frozen=True, slots=True)
class Step:
    """A commit from which the network takes a different time.

    Attributes:
        index: of the first entry after it.
        before: median ratio to the baseline since the last step.
        after: median ratio from here to the next step.
    """

    index: int
    before: float
    after: float

    @property
    def change(self) -> float:
        """By what fraction it takes longer."""
        return self.after / self.before - 1


def append(path: Path, report: CheckReport) -> None:
    """Add a check to the history; one without a measured latency is left out."""
    if report.latency is None:
        return
    entry = Entry(
        report.commit,
        report.time,
        report.current.sha256,
        report.baseline.sha256,
        report.conditions,
        report.outcome,
        report.latency.current.median_ms,
        1 + report.latency.change.estimate,
    )
    body = {"schema_version": SCHEMA_VERSION} | TypeAdapter(Entry).dump_python(entry, mode="json")
    body |= {digests.KEY: digests.of_json(body)}
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            # A line that was cut short stays alone; all at once, so that no other comes between.
            start = b"" if _ends_a_line(file) else b"\n"
            file.write(start + json.dumps(body).encode() + b"\n")


def _ends_a_line(file: BinaryIO) -> bool:
    """Whether what is appended to a file begins a line."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def read(path: Path) -> tuple[Entry, ...]:
    """Read the checks that have the last one's baseline and conditions.

    A line that is damaged is left out, and a line of the log names it.

    Raises:
        ArtefactError: the file is missing, holds no check, or one of a newer schema.
    """
    if not path.exists():
        raise ArtefactError(f"{path} does not exist")
    try:
        lines = read_bytes(path, limits.HISTORY_BYTES).splitlines()
    except ValueError as error:
        raise ArtefactError(f"{path} is not a history ({one_line(error)}); move it away") from None
    entries: list[Entry] = []
    damaged: list[_DamagedLine] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                entries.append(_entry(path, number, line))
            except _DamagedLine as error:
                damaged.append(error)
    if damaged and not entries:
        raise ArtefactError(f"{damaged[0]}, nor is any other line; move the file away")
    for line_error in damaged:
        logger.warning("%s; it is left out", line_error)
    return tuple(
        entry
        for entry in entries
        if entry.baseline == entries[-1].baseline
        and entry.conditions.unlike(entries[-1].conditions) is None
    )


def steps(entries: tuple[Entry, ...]) -> tuple[Step, ...]:
    """Where the level of the ratios changes, in order."""
    if len(entries) < 2 * _MIN_LEVEL:
        return ()
    values = np.log([entry.ratio for entry in entries])
    noise = float(np.median(np.abs(np.diff(values)))) / (0.6745 * math.sqrt(2))
    penalty = PENALTY * max(noise, _LEAST_NOISE) ** 2 * math.log(len(values))
    ends = level_ends(values, penalty=penalty, shortest=_MIN_LEVEL)
    starts = [0, *ends[:-1]]
    levels = [math.exp(np.median(values[a:b])) for a, b in zip(starts, ends, strict=True)]
    return tuple(
        Step(start, before, after)
        for start, before, after in zip(starts[1:], levels[:-1], levels[1:], strict=True)
    )


class _DamagedLine(Exception):  # noqa: N818 - named for what is the case
    """A line of a history that is not a check."""


def _entry(path: Path, number: int, line: bytes) -> Entry:
    try:
        content: Any = parse_json(line.decode())
        version = content.pop("schema_version")
        if (wrong := why_unread(version)) is not None:
            newer = isinstance(version, int) and version > SCHEMA_VERSION
            raise (ArtefactError if newer else _DamagedLine)(f"{path}, line {number}, {wrong}")
        told = content.pop(digests.KEY, None)  # which lines of an earlier version have not
        if told not in {None, digests.of_json({"schema_version": version} | content)}:
            raise _DamagedLine(f"{path}, line {number}, {digests.CHANGED}")
        return TypeAdapter(Entry).validate_python(content)
    except (ValueError, ValidationError, KeyError, AttributeError, TypeError) as error:
        raise _DamagedLine(f"{path}, line {number}, is not a check ({one_line(error)})") from None
