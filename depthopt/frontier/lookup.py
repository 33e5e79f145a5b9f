"""Tables joined to candidates by key; every gap and every bad entry is named."""

import math
import sys
from collections.abc import Sequence
from typing import Literal

from depthopt.core.candidate import Candidate, replacing
from depthopt.core.chain import Chain
from depthopt.errors import TableError, UsageError
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable

Objective = Literal["cost", "exp_metric"]


def latencies(chain: Chain, candidates: Sequence[Candidate], table: LatencyTable) -> list[float]:
    """Milliseconds of every candidate, with the adds that it leaves in place.

    Raises:
        TableError: gaps, the first few named; or a NaN, negative or infinite entry.
    """
    try:
        values = [candidate_ms(chain, candidate, table) for candidate in candidates]
    except TableError:
        keys = (key for candidate in candidates for key in latency_keys(chain, candidate))
        _refuse_gaps("latency", "profile", [str(key) for key in table.missing(keys)])
        raise
    for candidate, value in zip(candidates, values, strict=True):
        if not (math.isfinite(value) and value >= 0):
            raise TableError(
                f"latency of {candidate.key} is {value} ms, expected a finite number, 0 or more; "
                "measure it anew"
            )
    return values


def costs(
    candidates: Sequence[Candidate], table: ImportanceTable, objective: Objective
) -> list[float]:
    """What every candidate adds to the objective; 0 for ``keep``.

    Raises:
        TableError: gaps, the first few named; a NaN or infinite entry; no accuracies.
        UsageError: an unknown objective.
    """
    scored = replacing(candidates)
    _refuse_gaps("importance", "estimate", [c.key for c in scored if c not in table.entries])
    if objective == "cost":
        values = [table.entries[c].cost if c.replaces else 0.0 for c in candidates]
    elif objective == "exp_metric":
        values = [_lack_of_exp_metric(candidate, table) for candidate in candidates]
    else:
        raise UsageError(f"objective {objective!r} is unknown; use 'cost' or 'exp_metric'")
    for candidate, value in zip(candidates, values, strict=True):
        if not math.isfinite(value):
            raise TableError(
                f"importance of {candidate.key} is {value}, expected a finite number; "
                "estimate it anew"
            )
    return values


def _lack_of_exp_metric(candidate: Candidate, table: ImportanceTable) -> float:
    """By how much exp(change of the metric) is below 1 for each of the segment's blocks."""
    if not candidate.replaces:
        return 0.0
    change = table.entries[candidate].metric_change
    if change is None:
        raise TableError(
            f"importance of {candidate.key} holds no metric_change, which objective "
            "'exp_metric' needs; estimate with labels or use objective 'cost'"
        )
    most = math.log(sys.float_info.max)
    return candidate.end - candidate.start - (math.exp(change) if change < most else math.inf)


def _refuse_gaps(table: str, command: str, gaps: Sequence[str]) -> None:
    if gaps:
        more = f" and {len(gaps) - 3} more" if len(gaps) > 3 else ""
        raise TableError(
            f"the {table} table has no entry for {'; '.join(gaps[:3])}{more}; "
            f"run `depthopt {command}` for these candidates"
        )
