"""Make candidates and tables from the rows of published files."""

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
from depthopt.frontier.published.parts import in_all_states, solvable
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
    """The content of published files for one chain, as this package's values.

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
    timed = [*_timed(chain, latencies, first_block), *((c, row) for c, (row, _) in scores.items())]
    entries = _entries(chain, timed, first_block)
    keeps = kept_blocks(chain)
    merges = [merge_of(chain, r, None, first_block) for r in latencies if r.kernel is None]
    last = first_block + max(row.end for row in latencies)
    for candidate in (*keeps, *scores, *(candidate for candidate, _ in timed)):
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
    latency = LatencyTable(conditions, entries, {NetworkKey.of(chain): network})
    importance = _importance(chain, {c: worth for c, (_, worth) in scores.items()}, importances)
    if importances is None:
        return Imported(tuple(dict.fromkeys((*keeps, *merges))), latency, importance)
    return Imported(solvable(chain, latency, importance), latency, importance)


def _entries(
    chain: Chain, timed: Sequence[tuple[Candidate, PublishedLatency]], first_block: int
) -> dict[LatencyKey, LatencySummary]:
    """One entry for all rows of one convolution, whatever lies behind it: no row times that."""
    rows: dict[LatencyKey, dict[PublishedLatency, None]] = defaultdict(dict)
    keys = {}
    for candidate, row in timed:
        key = latency_keys(chain, candidate)[0]
        keys[key] = replace(key, activation=None, residual=False)
        rows[keys[key]][row] = None
    for bare, same in rows.items():
        require_agreement(chain, bare, list(same), first_block)
    summaries = {bare: _summary(list(same)) for bare, same in rows.items()}
    return {key: summaries[bare] for key, bare in keys.items()}


def _timed(
    chain: Chain, latencies: Sequence[PublishedLatency], first_block: int
) -> Iterator[tuple[Candidate, PublishedLatency]]:
    """What each row times: a convolution, whatever activation may lie behind it."""
    for row in latencies:
        candidate = merge_of(chain, row, None, first_block)
        yield candidate, row
        if row.kernel is not None:
            yield with_insertion(chain, candidate), row
        else:
            start, end = row.start + first_block, row.end + first_block
            yield from ((each, row) for each in in_all_states(chain, start, end))


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
