"""Tables that users of the two papers' published code already have, as CSV files.

Latency files have the columns ``id,st,end,time,stdev`` (arXiv 2301.12187: every
convolution of the segment merged) or ``id,st,end,ker,str,is_dw,time,stdev`` (arXiv
2406.12837: merged to kernel size ``ker``). Importance files have ``st,end,ker,str,
conv_comb,importance``: which convolutions are kept, and a score where more is better.
Times are milliseconds; ``st`` and ``end`` are positions counted from ``first_block``.

Both codes time a merged convolution with its activation, without residual adds and
projections. Those, and blocks beyond the files, are entered with 0 ms and a count of
0, and so belong to the network's fixed part.
"""

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from depthopt.core import limits, numbers
from depthopt.core.candidate import Candidate, kept_blocks, replacing
from depthopt.core.chain import Chain
from depthopt.core.clipped import clipped, one_line
from depthopt.core.reading import read_text
from depthopt.core.window import Window, segment_window
from depthopt.errors import ArtefactError, TableError
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.kinds.registry import composition
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import (
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
    NetworkKey,
    NetworkLatency,
)

QUARTILE = 0.6745
"""Standard deviations from the median to a quartile of a normal distribution."""


@dataclass(frozen=True, slots=True)
class PublishedLatency:
    """One row: the segment ``[start, end)`` merged.

    Attributes:
        start: position before the segment.
        end: position after it.
        time_ms: measured.
        stdev_ms: its standard deviation.
        kernel: side length of the merged kernel; None in the 2023 format.
        stride: of the merged convolution; None in the 2023 format.
        depthwise: whether it is depthwise; None in the 2023 format.
    """

    start: int
    end: int
    time_ms: float
    stdev_ms: float
    kernel: int | None = None
    stride: int | None = None
    depthwise: bool | None = None


@dataclass(frozen=True, slots=True)
class PublishedImportance:
    """One row: the segment ``[start, end)`` with only the convolutions ``kept``.

    Attributes:
        start: position before the segment.
        end: position after it.
        kernel: side length of the merged kernel.
        stride: of the merged convolution.
        kept: positions before the convolutions that stay.
        importance: more is better.
    """

    start: int
    end: int
    kernel: int
    stride: int
    kept: tuple[int, ...]
    importance: float


def read_latencies(path: Path) -> tuple[PublishedLatency, ...]:
    """Read a latency file of either format.

    Raises:
        ArtefactError: no such file, a column missing, or a cell that is no number.
        TableError: a NaN, negative or infinite time, or a row that comes twice.
    """
    rows = []
    for line, row in _rows(path, ("st", "end", "time", "stdev")):
        merged = "ker" in row
        if merged and not {"str", "is_dw"} <= set(row):
            raise ArtefactError(f"{path} has a column ker but no str or no is_dw; add them")
        rows.append(
            PublishedLatency(
                _integer(path, line, row, "st"),
                _integer(path, line, row, "end"),
                _number(path, line, row, "time", least=0.0),
                _number(path, line, row, "stdev", least=0.0),
                _integer(path, line, row, "ker") if merged else None,
                _integer(path, line, row, "str") if merged else None,
                _flag(path, line, row, "is_dw") if merged else None,
            )
        )
    _refuse_twice(path, [(r.start, r.end, r.kernel, r.stride, r.depthwise) for r in rows])
    return tuple(rows)


def read_importances(path: Path) -> tuple[PublishedImportance, ...]:
    """Read an importance file.

    ``conv_comb`` may count convolutions by the position before or after them; which of
    the two is seen from all rows together.

    Raises:
        ArtefactError: no such file, a column missing, or a cell that is no number.
        TableError: a NaN or infinite importance, a kept convolution that lies outside
            its segment, or a row that comes twice.
    """
    read = []
    for line, row in _rows(path, ("st", "end", "ker", "str", "conv_comb", "importance")):
        cell = row["conv_comb"]
        if not re.fullmatch(rf"([\[\](){{}}\s,;]|(?<![0-9]){numbers.DIGITS}(?![0-9]))*", cell):
            raise ArtefactError(
                f"{path}:{line}: conv_comb is {clipped(cell)}, expected a list like [3, 4]"
            )
        read.append(
            PublishedImportance(
                _integer(path, line, row, "st"),
                _integer(path, line, row, "end"),
                _integer(path, line, row, "ker"),
                _integer(path, line, row, "str"),
                tuple(sorted(map(int, re.findall("[0-9]+", cell)))),
                _number(path, line, row, "importance"),
            )
        )
    after = any(score.end in score.kept for score in read)
    scores = [replace(score, kept=tuple(p - after for p in score.kept)) for score in read]
    for score in scores:
        if any(not score.start <= position < score.end for position in score.kept):
            raise TableError(
                f"{path}: conv_comb {list(score.kept)} lies outside its segment from "
                f"{score.start} to {score.end}; count convolutions alike in all rows"
            )
    _refuse_twice(path, [(s.start, s.end, s.kernel, s.stride, s.kept) for s in scores])
    return tuple(scores)


@dataclass(frozen=True, slots=True)
class Imported:
    """What published files say about one chain, as this package's values.

    Attributes:
        candidates: one ``keep`` per block, and a ``merge`` per row of the importance
            file or, without one, per row of a latency file in the 2023 format.
        latency: the latency table.
        importance: the importance table; empty without an importance file.
    """

    candidates: tuple[Candidate, ...]
    latency: LatencyTable
    importance: ImportanceTable


def import_tables(
    chain: Chain,
    conditions: MeasurementConditions,
    latencies: Sequence[PublishedLatency],
    importances: Sequence[PublishedImportance] = (),
    *,
    original_ms: float | None = None,
    first_block: int = 0,
) -> Imported:
    """Candidates and tables for a chain from the rows of published files.

    Costs are such that ``keep`` has none: the sum of the importances of a segment's
    blocks when each is kept, less the segment's own. Over a whole plan they differ
    from the papers' objective in sign and a constant only.

    Args:
        chain: the network that was measured.
        conditions: device, runtime, batch and what else the files do not hold.
        latencies: rows of a latency file.
        importances: rows of an importance file, if there is one.
        original_ms: end-to-end latency; the sum of the kept blocks' times if None.
        first_block: the block that lies after the files' position 0.

    Raises:
        TableError: a row that does not fit the chain, a block without a time, or an
            importance without a time or without those of its blocks when kept.
    """
    if not latencies:
        raise TableError("the latency file has no rows; nothing can be imported")
    timed = defaultdict(list)
    times = defaultdict(list)
    for row in latencies:
        candidate = _candidate(chain, row, None, first_block)
        timed[row.start, row.end, row.kernel, row.stride].append(row)
        times[latency_keys(chain, candidate)[0]].append(row)
    scores: dict[Candidate, float] = {}
    for score in importances:
        kept = tuple(position + first_block for position in score.kept)
        rows = timed.get((score.start, score.end, score.kernel, score.stride))
        if rows is None:
            raise TableError(
                f"no time for the segment from {score.start} to {score.end} with ker "
                f"{score.kernel} and str {score.stride}; measure it or drop its importance"
            )
        deep = _window(chain, score.start + first_block, score.end + first_block, kept).groups > 1
        row = next((row for row in rows if row.depthwise == deep), rows[0])
        candidate = _candidate(chain, row, kept, first_block)
        same = times[latency_keys(chain, candidate)[0]]
        if row not in same:
            same.append(row)
        scores[candidate] = score.importance
    merges = list(scores) or [
        _candidate(chain, row, None, first_block) for row in latencies if row.kernel is None
    ]
    keeps = [_keep(chain, i) for i in range(len(chain.blocks))]
    candidates = (*keeps, *replacing(merges))
    entries = {key: _summary(rows) for key, rows in times.items()}
    last = first_block + max(row.end for row in latencies)
    for candidate in candidates:
        first, *others = latency_keys(chain, candidate)
        is_timed = candidate.replaces or first_block <= candidate.start < last
        if is_timed and first not in entries:
            raise TableError(
                f"no time for the kept convolution after position "
                f"{candidate.start - first_block} ({candidate.key}); add its row"
            )
        for key in (first, *others):
            entries.setdefault(key, LatencySummary(0.0, 0.0, 0.0, 0))
    table = LatencyTable(conditions, entries)
    kept_ms = sum(candidate_ms(chain, candidate, table) for candidate in keeps)
    total = kept_ms if original_ms is None else original_ms
    network = NetworkLatency(LatencySummary(total, total, total, 0), total - kept_ms)
    return Imported(
        candidates,
        LatencyTable(conditions, entries, {NetworkKey.of(chain): network}),
        ImportanceTable(chain.model, "published", entries=_costs(chain, scores)),
    )


def _costs(chain: Chain, scores: dict[Candidate, float]) -> dict[Candidate, Importance]:
    costs = {}
    for candidate, score in scores.items():
        if not candidate.replaces:
            continue
        keeps = [_keep(chain, block) for block in range(candidate.start, candidate.end)]
        if gaps := [keep.key for keep in keeps if keep not in scores]:
            raise TableError(f"no importance of {gaps[0]}, with which {candidate.key} is compared")
        costs[candidate] = Importance(sum(scores[keep] for keep in keeps) - score)
    return costs


def _keep(chain: Chain, block: int) -> Candidate:
    return kept_blocks(chain)[block]


def _window(chain: Chain, start: int, end: int, kept: tuple[int, ...]) -> Window:
    refusal = chain.why_illegal if end - start == 1 else chain.why_unmergeable
    if reason := refusal(start, end):
        raise TableError(
            f"the row for blocks {start} to {end} does not fit {chain.model}: {reason}; "
            "check the model and first_block"
        )
    return segment_window(chain, start, end, composed=kept)


def _candidate(
    chain: Chain, row: PublishedLatency, kept: tuple[int, ...] | None, first_block: int
) -> Candidate:
    """The segment merged to the row's kernel; all convolutions kept if ``kept`` is None."""
    start, end = row.start + first_block, row.end + first_block
    everything = tuple(range(start, end))
    kept = everything if kept is None else kept
    window = _window(chain, start, end, kept)
    first, last = chain.blocks[start], chain.blocks[end - 1]
    if row.kernel is not None:
        window = window.centred((row.kernel, row.kernel))
    if row.stride is not None and window.stride != (row.stride, row.stride):
        raise TableError(
            f"the segment from {row.start} to {row.end} has str {row.stride}, the blocks of "
            f"{chain.model} there {window.stride[0]}; check the model and first_block"
        )
    if row.depthwise is not None:
        groups = first.layout.in_channels if row.depthwise else 1
        window = Window(window.stride, window.offset, window.size, groups)
    merged = window.convolution(
        first.layout.in_channels,
        last.layout.out_channels,
        first.layout.input_size,
        last.layout.output_size,
    )
    if kept == everything and end - start == 1 and window == Window.of(first.operator):
        return _keep(chain, start)
    return replace(composition(start, end, kept, merged), activation=last.activation)


def _summary(rows: Sequence[PublishedLatency]) -> LatencySummary:
    """The mean over rows that time the same convolution."""
    median, spread = fmean(r.time_ms for r in rows), QUARTILE * fmean(r.stdev_ms for r in rows)
    return LatencySummary(median, max(median - spread, 0.0), median + spread, len(rows))


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows of a CSV file that has at least ``columns``."""
    try:
        text = read_text(path, limits.CSV_BYTES)
        _require_short_lines(text)
        with io.StringIO(text, newline="") as file:
            reader = csv.DictReader(file, restval="")
            if gaps := [name for name in columns if name not in (reader.fieldnames or ())]:
                raise ArtefactError(
                    f"{path} has no column {gaps[0]}; expected {', '.join(columns)}"
                )
            for row in reader:
                yield reader.line_num, row
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except (OSError, ValueError, csv.Error) as error:
        raise ArtefactError(f"{path} is no readable CSV file ({one_line(error)})") from None


def _require_short_lines(text: str) -> None:
    longest = max(map(len, text.splitlines()), default=0)
    if longest > limits.CSV_LINE_CHARACTERS:
        raise ValueError(
            f"a line has {longest:,} characters, at most {limits.CSV_LINE_CHARACTERS:,} are read"
        )


def _number(
    path: Path, line: int, row: dict[str, str], name: str, least: float = -math.inf
) -> float:
    try:
        value = float(row[name])
    except ValueError:
        cell = clipped(row[name])
        raise ArtefactError(f"{path}:{line}: {name} is {cell}, expected a number") from None
    if not (math.isfinite(value) and value >= least):
        raise TableError(f"{path}:{line}: {name} is {value}, expected a finite number, 0 or more")
    return value


def _integer(path: Path, line: int, row: dict[str, str], name: str) -> int:
    value = _number(path, line, row, name, least=0.0)
    if value != int(value):
        raise ArtefactError(f"{path}:{line}: {name} is {value}, expected a whole number")
    if value > limits.POSITION:
        raise ArtefactError(f"{path}:{line}: {name} is {value}, expected at most {limits.POSITION}")
    return int(value)


def _flag(path: Path, line: int, row: dict[str, str], name: str) -> bool:
    cell = row[name].strip().lower()
    if cell not in {"true", "false", "1", "0"}:
        raise ArtefactError(
            f"{path}:{line}: {name} is {clipped(row[name])}, expected True or False"
        )
    return cell in {"true", "1"}


def _refuse_twice(path: Path, keys: Sequence[tuple[object, ...]]) -> None:
    seen = set()
    for key in keys:
        if key in seen:
            raise TableError(f"{path}: the row for {key} comes twice; keep one of them")
        seen.add(key)
