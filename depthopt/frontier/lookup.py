"""Look up candidates in tables by key. Errors name every gap and every bad entry."""

import math
import sys
from collections.abc import Sequence
from typing import Literal, get_args

from depthopt.core.candidate import Candidate, replacing
from depthopt.core.chain import Chain
from depthopt.errors import TableError, UsageError
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.kinds.registry import kind_of
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable

Objective = Literal["cost", "metric", "exp_metric"]
"""What is added up over a plan: the table's costs, or what the papers make of its changes of the
metric."""


def latencies(chain: Chain, candidates: Sequence[Candidate], table: LatencyTable) -> list[float]:
    """Milliseconds of every candidate, including the adds that it leaves in place.

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
                "measure it again"
            )
    return values


def costs(
    candidates: Sequence[Candidate],
    table: ImportanceTable,
    objective: Objective,
    *,
    alpha: float = 0.0,
) -> list[float]:
    """What every candidate adds to the objective. 0 for a ``keep`` without an entry.

    The papers' objectives are maximised; a cost is what a candidate lacks of what its blocks, one
    by one, would add if keeping lost nothing, so that the same plans are best:

    - ``exp_metric``, LayerMerge's (ICML 2024, https://arxiv.org/abs/2406.12837, section 4; the
      authors' ``normalize_imp``): the sum of exp(change of the metric), the change as a fraction.
    - ``metric``, the two-stage programme's (ICML 2023, https://arxiv.org/abs/2301.12187; the
      authors' ``generate_ext_imp_table``, normalisation ``single``): the sum of the changes less
      ``alpha`` times the mean change over the table's entries of one layer, kept ones in every
      state of their ends. That mean is below 0: every segment that stands for itself is rewarded
      by as much.

    Args:
        candidates: what segments may become.
        table: their importances, in points or fractions.
        objective: which of them is added up.
        alpha: of ``metric``; of the others it changes nothing.

    Raises:
        TableError: gaps, the first few named; a NaN or infinite entry; no accuracies; no entry of
            a single layer where ``alpha`` asks for their mean.
        UsageError: an unknown objective.
    """
    scored = replacing(candidates)
    _refuse_gaps("importance", "estimate", [c.key for c in scored if c not in table.entries])
    if objective == "cost":
        values = [_own_cost(candidate, table) for candidate in candidates]
    elif objective == "exp_metric":
        values = [_blocks(c) - _exp(_change(c, table, objective)) for c in candidates]
    elif objective == "metric":
        mean = alpha * _single_mean(table) if alpha else 0.0
        values = [mean * (1 - _blocks(c)) - _change(c, table, objective) for c in candidates]
    else:
        *others, last = map(repr, get_args(Objective))
        raise UsageError(f"objective {objective!r} is unknown; use {', '.join(others)} or {last}")
    for candidate, value in zip(candidates, values, strict=True):
        if not math.isfinite(value):
            raise TableError(
                f"importance of {candidate.key} is {value}, expected a finite number; "
                "estimate it again"
            )
    return values


def _blocks(candidate: Candidate) -> int:
    return candidate.end - candidate.start


def _counts(candidate: Candidate, table: ImportanceTable) -> bool:
    """Whether it adds anything: a block kept without an entry does not."""
    return candidate.replaces or candidate in table.entries


def _own_cost(candidate: Candidate, table: ImportanceTable) -> float:
    return table.entries[candidate].cost if _counts(candidate, table) else 0.0


def _change(candidate: Candidate, table: ImportanceTable, objective: Objective) -> float:
    """The improvement of the metric, as a fraction."""
    change = table.change(candidate)
    if change is None:
        raise TableError(
            f"importance of {candidate.key} holds no metric_change, which objective "
            f"{objective!r} needs; estimate with labels or use objective 'cost'"
        )
    return change


def _exp(change: float) -> float:
    return math.exp(change) if change < math.log(sys.float_info.max) else math.inf


def _single_mean(table: ImportanceTable) -> float:
    """The mean change over the entries that are one layer, as it is, in any state of its ends."""
    single = [c for c in table.entries if _blocks(c) == 1 and kind_of(c).is_composition(c)]
    if not single:
        raise TableError(
            "the importance table has no entry of a single kept layer, whose mean objective "
            "'metric' takes alpha times; estimate with importance.kept=true, or set alpha to 0"
        )
    return math.fsum(_change(c, table, "metric") for c in single) / len(single)


def _refuse_gaps(table: str, command: str, gaps: Sequence[str]) -> None:
    if gaps:
        more = f" and {len(gaps) - 3} more" if len(gaps) > 3 else ""
        raise TableError(
            f"the {table} table has no entry for {'; '.join(gaps[:3])}{more}; "
            f"run `depthopt {command}` for these candidates"
        )
