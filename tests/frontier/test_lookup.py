"""What tables say about candidates."""

import pytest

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.operators import Convolution
from depthopt.errors import TableError
from depthopt.frontier.lookup import costs
from depthopt.tables.importance import Importance, ImportanceTable
from tests.chains import chain_of

KEEP = kept_blocks(chain_of(["relu"]))[0]
FIT = Candidate(0, 1, "fit", (Convolution(4, 4, (1, 1)),))


def test_what_is_kept_costs_nothing_and_has_no_entry() -> None:
    table = ImportanceTable("net", "regression", entries={FIT: Importance(0.5)})
    assert costs([KEEP, FIT, KEEP], table, "cost") == [0.0, 0.5, 0.0]


def test_a_gap_is_named() -> None:
    with pytest.raises(TableError, match=r"importance table has no entry for fit 0:1 4-4 k1x1"):
        costs([KEEP, FIT], ImportanceTable("net", "regression"), "cost")


def test_a_metric_that_rises_beyond_all_numbers_is_refused() -> None:
    found = Candidate(0, 1, "drop", ())
    importance = Importance(0.0, metric_change=1e9)
    table = ImportanceTable("net", "regression", entries={found: importance})
    with pytest.raises(TableError, match="drop 0:1 identity is -inf, expected a finite number"):
        costs([found], table, "exp_metric")
