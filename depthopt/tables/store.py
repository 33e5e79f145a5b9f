"""Read and write latency tables as files, which several processes may share."""

import re
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from depthopt.core.artefacts import load_json, save_json
from depthopt.core.writing import remove_left_overs
from depthopt.errors import TableError
from depthopt.tables.latency import LatencySummary, LatencyTable, MeasurementConditions

_LOCK_TIMEOUT_S = 60.0


def table_path(root: Path, conditions: MeasurementConditions) -> Path:
    """``<device>/<runtime>-<version>-<dtype>-b<batch>.json`` under ``root``.

    A thread count other than 1 is part of the name too.
    """
    device = re.sub(r"[^a-z0-9]+", "-", conditions.device.lower()).strip("-") or "unknown"
    parts = [conditions.runtime, conditions.runtime_version, conditions.dtype]
    parts.append(f"b{conditions.batch}")
    if (conditions.threads or 1) > 1:
        parts.append(f"t{conditions.threads}")
    return root / device / f"{'-'.join(parts)}.json"


def stored(path: Path, conditions: MeasurementConditions) -> LatencyTable:
    """Read a table. Return an empty one if there is no file yet.

    A file keeps its own ballast: what is added to it is measured in the same way.

    Raises:
        ArtefactError: the file is cut short, no table, or of a newer schema.
        TableError: it was measured under other conditions; both are named.
    """
    empty = LatencyTable(conditions)
    if not path.exists():
        return empty
    table = load_json(LatencyTable, path)
    if difference := table.conditions.unlike(conditions.with_ballast(table.conditions.ballast_mib)):
        raise TableError(
            f"{path} was measured under other conditions than these: {difference}; "
            "choose another file"
        )
    return table


def store(path: Path, table: LatencyTable) -> LatencyTable:
    """Add the entries of ``table`` that a file lacks, and return what the file then holds.

    Of several processes that measure at once, each waits for the other's write; what was
    stored first holds, and the rest is brought to its scale. A process killed while it
    writes leaves the file as it was.

    Raises:
        ArtefactError: the file is cut short, no table, or of a newer schema.
        TableError: it was measured under other conditions, or stays locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    try:
        with FileLock(lock, timeout=_LOCK_TIMEOUT_S):
            remove_left_overs(path.parent, path.name)
            both = _tidy(stored(path, table.conditions).extended(table))
            save_json(both, path)
    except Timeout:
        raise TableError(
            f"{path} stays locked by another process ({lock}); try again when that has ended"
        ) from None
    return both


def _tidy(table: LatencyTable) -> LatencyTable:
    """In the order of the keys, to five digits: what a diff then shows was measured."""
    return replace(
        table,
        entries={key: _rounded(table.entries[key]) for key in sorted(table.entries, key=str)},
        networks={
            key: replace(
                network,
                total=_rounded(network.total),
                fixed_ms=_digits(network.fixed_ms),
                blocks_share=network.blocks_share and _digits(network.blocks_share),
                footprints=tuple(
                    replace(each, factor=_digits(each.factor)) for each in network.footprints
                ),
            )
            for key, network in sorted(table.networks.items(), key=lambda item: str(item[0]))
        },
    )


def _rounded(summary: LatencySummary) -> LatencySummary:
    return replace(
        summary,
        median_ms=_digits(summary.median_ms),
        q1_ms=_digits(summary.q1_ms),
        q3_ms=_digits(summary.q3_ms),
    )


def _digits(value: float) -> float:
    return float(f"{value:.5g}")
