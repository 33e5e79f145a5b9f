"""Candidates and tables from the rows of published files."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.errors import TableError
from depthopt.frontier.published.importances import (
    PublishedImportances,
    StateScore,
    SubsetScore,
    Worth,
)
from depthopt.frontier.published.latencies import PublishedLatency
from depthopt.frontier.published.places import (
    is_depthwise,
    merge_of,
    require_fit,
    with_insertion,
    with_states,
)
from depthopt.frontier.published.twins import require_agreement
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import (
    LatencyKey,
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
    NetworkKey,
    NetworkLatency,
)

QUARTILE = 0.6745
"""Standard deviations from the median to a quartile of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What published files say about one chain, as this package's values.

    Attributes:
        candidates: one ``keep`` per block, and what the rows of the importance file are or,
            without one, a ``merge`` per row of a latency file in the 2023 format.
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
    importances: PublishedImportances | None = None,
    *,
    original_ms: float | None = None,
    first_block: int = 0,
) -> Imported:
    """Candidates and tables for a chain from the rows of published files.

    An entry's cost is what the paper's objective lacks: of LayerMerge's rows, its blocks less
    ``exp(change)``, as objective ``exp_metric`` has it; of the 2023 method's, the change with
    the other sign, as objective ``metric`` has it without alpha (an extended file has alpha
    taken off already, and no changes). A kept block has an entry of its own, as in the papers.

    Args:
        chain: the network that was measured.
        conditions: device, runtime, batch and what else the files do not hold.
        latencies: rows of a latency file.
        importances: an importance file, if there is one.
        original_ms: end-to-end latency; the sum of the kept blocks' times if None.
        first_block: the block that lies after the files' position 0: how many blocks come
            before what the files hold.

    Raises:
        TableError: a row that does not fit the chain, rows that contradict one another, a block
            without a time, or an importance without a time or without those of its blocks.
    """
    if not latencies:
        raise TableError("the latency file has no rows; nothing can be imported")
    require_fit(chain, latencies, first_block)
    scores = {} if importances is None else _scored(chain, latencies, importances, first_block)
    merges = [(merge_of(chain, row, None, first_block), row) for row in latencies]
    times: dict[LatencyKey, list[PublishedLatency]] = defaultdict(list)
    for candidate, row in (*merges, *((c, row) for c, (row, _) in scores.items())):
        rows = times[latency_keys(chain, candidate)[0]]
        if row not in rows:
            rows.append(row)
    for key, rows in times.items():
        require_agreement(chain, key, rows, first_block)
    entries = {key: _summary(rows) for key, rows in times.items()}
    keeps = kept_blocks(chain)
    others = [c for c, row in merges if row.kernel is None] if importances is None else scores
    last = first_block + max(row.end for row in latencies)
    found = dict.fromkeys((*keeps, *others, *_onward(chain, scores, last)))
    for candidate in found:
        first, *more = latency_keys(chain, candidate)
        is_timed = candidate.replaces or first_block <= candidate.start < last
        if is_timed and first not in entries:
            raise TableError(
                f"no time for the kept convolution after position "
                f"{candidate.start - first_block} ({candidate.key}); add its row"
            )
        for key in (first, *more):
            entries.setdefault(key, LatencySummary(0.0, 0.0, 0.0, 0))
    table = LatencyTable(conditions, entries)
    kept_ms = sum(candidate_ms(chain, candidate, table) for candidate in keeps)
    total = kept_ms if original_ms is None else original_ms
    network = NetworkLatency(LatencySummary(total, total, total, 0), total - kept_ms)
    return Imported(
        tuple(found),
        LatencyTable(conditions, entries, {NetworkKey.of(chain): network}),
        _importance(chain, {c: worth for c, (_, worth) in scores.items()}, importances),
    )


def _scored(
    chain: Chain,
    latencies: Sequence[PublishedLatency],
    importances: PublishedImportances,
    first_block: int,
) -> dict[Candidate, tuple[PublishedLatency, Worth]]:
    """The candidates of an importance file, each with the row that times it."""
    if not importances.rows:
        raise TableError("the importance file has no rows; nothing can be imported")
    timed = defaultdict(list)
    for row in latencies:
        timed[row.start, row.end].append(row)
    found: dict[Candidate, tuple[PublishedLatency, Worth]] = {}
    for score in importances.rows:
        rows = timed[score.start, score.end]
        match score:
            case SubsetScore():
                row = _timing(chain, rows, score, first_block)
                kept = tuple(position + first_block for position in score.kept)
                candidate = with_insertion(chain, merge_of(chain, row, kept, first_block))
            case StateScore():
                if not rows:
                    raise TableError(
                        f"no time for the segment from {score.start} to {score.end}; measure it "
                        "or drop its importance"
                    )
                (row,) = rows[:1]
                candidate = with_states(chain, merge_of(chain, row, None, first_block), score)
        found[candidate] = row, score.worth
    return found


def _timing(
    chain: Chain, rows: Sequence[PublishedLatency], score: SubsetScore, first_block: int
) -> PublishedLatency:
    """The row that times what a row of LayerMerge's importance file keeps."""
    alike = [row for row in rows if (row.kernel, row.stride) == (score.kernel, score.stride)]
    if not alike:
        raise TableError(
            f"no time for the segment from {score.start} to {score.end} with ker "
            f"{score.kernel} and str {score.stride}; measure it or drop its importance"
        )
    depthwise = is_depthwise(chain, score, first_block)
    return next((row for row in alike if row.depthwise == depthwise), alike[0])


def _onward(
    chain: Chain, scores: dict[Candidate, tuple[PublishedLatency, Worth]], last: int
) -> Iterator[Candidate]:
    """The first block behind the files, as it is, where what comes before it changed its input."""
    exits = {c.exit for c in scores if c.end == last} - {0}
    if last < len(chain.blocks):
        yield from (replace(kept_blocks(chain)[last], entry=state) for state in sorted(exits))


def _importance(
    chain: Chain, worths: dict[Candidate, Worth], importances: PublishedImportances | None
) -> ImportanceTable:
    if importances is None:
        return ImportanceTable(chain.model, "published")
    keeps = kept_blocks(chain)
    entries = {}
    for candidate, worth in worths.items():
        if gaps := [k.key for k in keeps[candidate.start : candidate.end] if k not in worths]:
            raise TableError(f"no importance of {gaps[0]}, with which {candidate.key} is compared")
        blocks = candidate.end - candidate.start if importances.of_layermerge else 0
        entries[candidate] = Importance(
            blocks - worth.objective,
            loss_increase=worth.loss_increase,
            metric_change=worth.metric_change,
        )
    return ImportanceTable(
        chain.model,
        "published",
        entries=entries,
        protocol=importances.protocol,
        unit="" if importances.format == "extended" else "points",
        form="expanded",
    )


def _summary(rows: Sequence[PublishedLatency]) -> LatencySummary:
    """The mean over rows that time the same convolution."""
    median, spread = fmean(r.time_ms for r in rows), QUARTILE * fmean(r.stdev_ms for r in rows)
    return LatencySummary(median, max(median - spread, 0.0), median + spread, len(rows))
