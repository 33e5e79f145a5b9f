"""Fill a latency table with all that a chain's candidates may run, and the network itself.

Every entry is measured as a share of the network's time in the same seconds. What share
one is worth in milliseconds is settled first, by the network's own blocks:

- Where the table holds some of them already, they say how the machine has changed since,
  and the new entries are brought to the table's scale.
- Otherwise the network's blocks are to add up to the network, less the bare call and
  less what is left over beyond ``SHRINKING``; they and all entries are brought to that
  in proportion. A sum of parts that exceeds the whole would make every shorter network
  look faster than it is.

What a sum of entries cannot say: a shorter network reads fewer weights, the head's
included, from nearer caches. On MobileNetV2, which is left 4 to 5 % over, plans of twice
and three times the speed were predicted 5 to 10 % too slow with that as a fixed cost, and
within 2 % with it spread over the blocks (``depthopt profile --validate``).
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.numbers import Batch, Seconds, require
from depthopt.core.progress import Progress, silent
from depthopt.core.workload import Workload
from depthopt.errors import ModelError, TableError
from depthopt.kinds.latency_keys import latency_keys
from depthopt.latency.bench import TOLERANCE, Bench, Group
from depthopt.latency.footprint import with_footprints
from depthopt.latency.measure import summarise
from depthopt.runtimes.base import Runtime
from depthopt.tables.latency import (
    BALLAST_MIB,
    FOOTPRINT_PLANS,
    LatencyKey,
    LatencySummary,
    LatencyTable,
    NetworkKey,
    NetworkLatency,
)

logger = logging.getLogger(__name__)

GROUP_SIZE = 12
"""Number of entries measured in turn. Their graphs are in memory together."""

GROUPS_IN_SWEEP, SWEEPS = 8, 3
"""Groups that are measured one after another, and how often. A machine is busy for seconds at
a time, which slows what needs memory more than the network as a whole. An entry's median stays
right if most of its samples are from other seconds."""

ENTRY_SECONDS = 0.25
"""Longest time per entry, in seconds."""

_BEYOND_CAP_SECONDS = 0.1
"""Seconds per entry on a processor for making and compiling graphs, beyond the cap."""

_PLAN_SECONDS = 3.0
"""Seconds per plan that is timed on a processor, with making and compiling it."""

SHRINKING = 0.05
"""Share of a network's time, not explained by its blocks, that is taken to shrink with them.
What is left over beyond that share is taken as fixed."""

NOISY = 0.25
"""Spread between the quartiles, divided by the median, from which on a warning is given."""


def profile(
    chain: Chain,
    candidates: Iterable[Candidate],
    *,
    runtime: Runtime,
    network: bytes | Path,
    model: nn.Module | None = None,
    table: LatencyTable | None = None,
    batch: int = 1,
    entry_seconds: float = ENTRY_SECONDS,
    plans: int = FOOTPRINT_PLANS,
    progress: Progress = silent,
    on_update: Callable[[LatencyTable], None] | None = None,
) -> LatencyTable:
    """Measure what ``table`` lacks, and nothing else.

    A key that the runtime cannot run is logged and left out: ``table.missing`` of the
    candidates' keys then names it.

    Args:
        chain: the original network's chain.
        candidates: whatever may replace its segments.
        runtime: what to measure on.
        network: the original network as an ONNX file or its bytes.
        model: the original network itself; a few plans are then timed to learn its footprints
            (``with_footprints``), if the table's entries are of a ballast, as a new table's are.
            Without it a plan's latency is the sum of its entries.
        table: what is known already, measured under the same conditions.
        batch: images per inference.
        entry_seconds: cap on the time per entry.
        plans: how many are timed to learn the footprints.
        progress: receives the entries measured, and the plans timed.
        on_update: called with the table after every group of entries, to be stored.

    Returns:
        The table with the missing entries and the network added.

    Raises:
        TableError: ``table`` was measured under other conditions, or the network took no longer
            than a call that does nothing.
        ModelError: the runtime cannot run the network, or one of its blocks.
    """
    require(Batch, "batch", batch)
    require(Seconds, "entry_seconds", entry_seconds)
    conditions = runtime.conditions(batch)
    if table is None:
        is_apart = model is not None and not runtime.is_accelerated
        table = LatencyTable(conditions.with_ballast(BALLAST_MIB if is_apart else None))
    table = table.combined(LatencyTable(conditions.with_ballast(table.conditions.ballast_mib)))
    listed = tuple(candidates)
    table = _with_entries(
        chain,
        listed,
        table,
        runtime=runtime,
        network=network,
        entry_seconds=entry_seconds,
        progress=progress,
        on_update=on_update,
    )
    if model is None or not plans or table.has_footprints(chain):
        return table
    return with_footprints(
        model, chain, listed, table, runtime=runtime, plans=plans, progress=progress
    )


def _with_entries(
    chain: Chain,
    candidates: Iterable[Candidate],
    table: LatencyTable,
    *,
    runtime: Runtime,
    network: bytes | Path,
    entry_seconds: float,
    progress: Progress,
    on_update: Callable[[LatencyTable], None] | None,
) -> LatencyTable:
    """The table with the candidates' entries and the network's."""
    batch = table.conditions.batch
    known = NetworkKey.of(chain) in table.networks
    wanted = table.missing(key for c in candidates for key in latency_keys(chain, c))
    if known and not wanted:
        return table
    blocks = tuple(dict.fromkeys(_block_keys(chain)))
    shared = _slowest(table, blocks)
    gauge = shared or blocks if known else (*shared, *table.missing(blocks))
    others = tuple(key for key in wanted if key not in gauge)
    bench = Bench(
        runtime,
        network,
        batch=batch,
        entry_seconds=entry_seconds,
        ballast_mib=table.conditions.ballast_mib,
    )
    total, done = SWEEPS * (len(gauge) + len(others)), 0

    def report(entries: int) -> None:
        nonlocal done
        done += entries
        progress(done // SWEEPS, total // SWEEPS, "entries")

    level_ms, table = _gauged(table, chain, list(_in_sweeps(bench, gauge, report)))
    if on_update:
        on_update(table)
    for group in _in_sweeps(bench, others, report):
        table = table.with_entries(_entries(group, level_ms))
        for key, reason in group.failed.items():
            logger.warning("left out of the latency table: %s (%s)", key, reason)
        if on_update:
            on_update(table)
    _warn_if_noisy(table, wanted)
    return table


def profile_workload(
    entries: int, entry_seconds: float = ENTRY_SECONDS, *, plans: int = 0
) -> Workload:
    """The work of measuring this many entries on a processor, and timing plans.

    Nobody has timed it on a GPU yet.
    """
    return Workload(clock_s=entries * (entry_seconds + _BEYOND_CAP_SECONDS) + plans * _PLAN_SECONDS)


def _in_sweeps(
    bench: Bench, keys: Sequence[LatencyKey], report: Callable[[int], None]
) -> Iterator[Group]:
    """Measure keys in groups, several groups over and over."""
    groups = [keys[i : i + GROUP_SIZE] for i in range(0, len(keys), GROUP_SIZE)]
    for i in range(0, len(groups), GROUPS_IN_SWEEP):
        found: dict[int, Group] = {}
        for _ in range(SWEEPS):
            for j, group in enumerate(groups[i : i + GROUPS_IN_SWEEP]):
                again = bench.measure(group, sweeps=SWEEPS)
                found[j] = found[j].with_more(again) if j in found else again
                report(len(group))
        yield from found.values()


def _gauged(
    table: LatencyTable, chain: Chain, groups: Sequence[Group]
) -> tuple[float, LatencyTable]:
    """What the whole network's share is worth, and the table with its blocks and itself.

    Raises:
        ModelError: one of the network's blocks could not be measured.
        TableError: the network took no longer than a call that does nothing.
    """
    for group in groups:
        for key, reason in group.failed.items():
            raise ModelError(f"block {key} of {chain.model} cannot be measured: {reason}")
    network = summarise(np.concatenate([group.network_ms for group in groups]).tolist(), TOLERANCE)
    call_ms = float(np.median(np.concatenate([group.call_ms for group in groups])))
    shares = {k: v.median_ms for g in groups for k, v in _entries(g, 1.0).items()}
    levels = [
        table.entries[key].median_ms / share
        for key, share in shares.items()
        if key in table.entries and share > 0
    ]
    if levels:
        level_ms = float(np.median(levels))
        shares |= {
            key: table.entries[key].median_ms / level_ms
            for key in _block_keys(chain)
            if key not in shares
        }
    blocks = sum(shares[key] for key in _block_keys(chain))
    left_over_ms = (1 - blocks - SHRINKING) * network.median_ms
    fixed_ms = max(call_ms, left_over_ms)
    if not levels:
        if blocks <= 0 or network.median_ms <= call_ms:
            raise TableError(
                f"{chain.model} took {network.median_ms:.4g} ms on {table.conditions.runtime}, "
                f"an empty call {call_ms:.4g} ms: the time of its layers cannot be told; "
                "measure on an idle machine, or with larger batches"
            )
        level_ms = (network.median_ms - fixed_ms) / blocks
    fresh = {k: v for g in groups for k, v in _entries(g, level_ms).items()}
    table = replace(table, entries=fresh | table.entries)
    name = NetworkKey.of(chain)
    if name not in table.networks:
        blocks_ms = table.sum_ms(_block_keys(chain))
        factor = level_ms / network.median_ms if levels else 1.0
        total = network.scaled((blocks_ms + factor * fixed_ms) / network.median_ms)
        share = blocks + call_ms / network.median_ms
        latency = NetworkLatency(total, total.median_ms - blocks_ms, share)
        table = replace(table, networks=table.networks | {name: latency})
    return level_ms, table


def _slowest(table: LatencyTable, keys: Sequence[LatencyKey]) -> tuple[LatencyKey, ...]:
    """A group of those keys that the table holds, slowest first."""
    held = [key for key in keys if key in table.entries]
    held.sort(key=lambda key: -table.entries[key].median_ms)
    return tuple(held[:GROUP_SIZE])


def _block_keys(chain: Chain) -> list[LatencyKey]:
    """All that the chain's blocks run, as often as they run it."""
    return [key for candidate in kept_blocks(chain) for key in latency_keys(chain, candidate)]


def _entries(group: Group, network_ms: float) -> dict[LatencyKey, LatencySummary]:
    """The group's entries for a network that takes ``network_ms``."""
    return {
        key: summarise(np.maximum(ratios * network_ms, 0.0).tolist(), TOLERANCE)
        for key, ratios in group.ratios.items()
    }


def _warn_if_noisy(table: LatencyTable, keys: Iterable[LatencyKey]) -> None:
    spreads = [
        (entry.q3_ms - entry.q1_ms) / entry.median_ms
        for entry in (table.entries.get(key) for key in keys)
        if entry is not None and entry.median_ms > 0
    ]
    if spreads and (typical := float(np.median(spreads))) > NOISY:
        logger.warning(
            "the machine is noisy: half of the %d entries spread by %.0f %% or more between "
            "their quartiles; measure again when it is idle",
            len(spreads),
            100 * typical,
        )
