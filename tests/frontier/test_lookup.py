"""What tables say about candidates, and what the papers' objectives make of it."""

import math
from dataclasses import replace

import pytest

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.operators import Convolution
from depthopt.errors import TableError, UsageError
from depthopt.frontier.lookup import costs
from depthopt.tables.importance import Importance, ImportanceTable
from tests.chains import chain_of

KEEP, SECOND, _ = kept_blocks(chain_of(["relu", None, "relu"]))
FIT = Candidate(0, 1, "fit", (Convolution(4, 4, (1, 1)),))
MERGE = Candidate(0, 3, "merge", (Convolution(4, 4, (7, 7)),), detail="0,1,2")

POINTS = ImportanceTable(
    "net",
    "finetune",
    16,
    {
        KEEP: Importance(0.01, metric_change=-1.0),
        SECOND: Importance(0.03, metric_change=-3.0),
        MERGE: Importance(0.2, metric_change=-20.0),
    },
    unit="points",
)
"""An accuracy of 71 % falls to 70 where the first layer is new, to 68 or to 51."""


def in_fractions(table: ImportanceTable) -> ImportanceTable:
    return replace(
        table,
        unit="fraction",
        entries={
            c: replace(entry, metric_change=entry.metric_change / 100)
            for c, entry in table.entries.items()
        },
    )


def test_what_is_kept_costs_nothing_where_it_has_no_entry() -> None:
    table = ImportanceTable("net", "regression", entries={FIT: Importance(0.5)})
    assert costs([KEEP, FIT, KEEP], table, "cost") == [0.0, 0.5, 0.0]


def test_what_is_kept_costs_what_its_entry_says() -> None:
    assert costs([KEEP, SECOND, MERGE], POINTS, "cost") == [0.01, 0.03, 0.2]


def test_layer_merge_takes_the_exponential_of_the_change_as_a_fraction() -> None:
    """exp((51 - 71) / 100) = 0.819 of a merge of three blocks; a kept one lost nothing: 1."""
    found = costs([KEEP, kept_blocks(chain_of(["relu"] * 3))[2], MERGE], POINTS, "exp_metric")
    assert found == pytest.approx([1 - math.exp(-0.01), 0.0, 3 - math.exp(-0.2)])


def test_four_small_losses_are_not_worth_one_of_84_points() -> None:
    """As exponents of per cent, e^-84 + 4 e^0 would beat 5 e^-8; as fractions it does not."""
    chain = kept_blocks(chain_of(["relu"] * 5))
    drops = [Candidate(i, i + 1, "drop", ()) for i in range(5)]
    one = [Importance(0.84, metric_change=-84.0), *[Importance(0.0, metric_change=0.0)] * 4]
    each = [Importance(0.08, metric_change=-8.0)] * 5
    uneven, even = (
        sum(costs(drops, ImportanceTable("net", "finetune", 1, dict(zip(drops, e, strict=True))),
                  "exp_metric"))
        for e in (one, each)
    )  # fmt: skip
    assert len(chain) == 5
    assert even < uneven


def test_the_2023_method_takes_alpha_times_the_mean_of_single_layers_from_each() -> None:
    """The mean of the single layers' changes is -0.02; of the sum of a plan, -(cost) less 3 times
    alpha times it, there is as much as of the paper's."""
    of_paper = {KEEP: -0.01 + 1.6 * 0.02, SECOND: -0.03 + 1.6 * 0.02, MERGE: -0.2 + 1.6 * 0.02}
    found = costs([KEEP, SECOND, MERGE], POINTS, "metric", alpha=1.6)
    per_block = 1.6 * 0.02
    lacks = [per_block * (c.end - c.start) - worth for c, worth in of_paper.items()]
    assert found == pytest.approx(lacks)


def test_without_alpha_the_changes_are_added_up() -> None:
    table = ImportanceTable("net", "finetune", 9, {FIT: Importance(0.5, metric_change=-50.0)})
    assert costs([KEEP, FIT], table, "metric") == [0.0, 0.5]


@pytest.mark.parametrize("objective", ["exp_metric", "metric"])
def test_a_table_in_per_cent_and_one_in_fractions_agree(objective) -> None:
    both = [
        costs([KEEP, SECOND, MERGE], table, objective, alpha=1.2)
        for table in (POINTS, in_fractions(POINTS))
    ]
    assert both[0] == pytest.approx(both[1], rel=1e-15)


def test_the_mean_of_single_layers_needs_some() -> None:
    table = ImportanceTable("net", "finetune", 9, {FIT: Importance(0.5, metric_change=-50.0)})
    with pytest.raises(TableError, match=r"no entry of a single kept layer.*importance.kept=true"):
        costs([KEEP, FIT], table, "metric", alpha=1.6)


def test_a_gap_is_named() -> None:
    with pytest.raises(TableError, match=r"importance table has no entry for fit 0:1 4-4 k1x1"):
        costs([KEEP, FIT], ImportanceTable("net", "regression"), "cost")


def test_an_unknown_objective_is_named_with_those_there_are() -> None:
    with pytest.raises(
        UsageError, match="'speed' is unknown; use 'cost', 'metric' or 'exp_metric'"
    ):
        costs([KEEP], POINTS, "speed")


@pytest.mark.parametrize("objective", ["exp_metric", "metric"])
def test_a_table_without_accuracies_says_which_objective_needs_them(objective) -> None:
    table = ImportanceTable("net", "magnitude", entries={FIT: Importance(0.5)})
    with pytest.raises(TableError, match=f"no metric_change, which objective '{objective}' needs"):
        costs([KEEP, FIT], table, objective)


def test_a_metric_that_rises_beyond_all_numbers_is_refused() -> None:
    found = Candidate(0, 1, "drop", ())
    importance = Importance(0.0, metric_change=1e9)
    table = ImportanceTable("net", "regression", entries={found: importance})
    with pytest.raises(TableError, match="drop 0:1 identity is -inf, expected a finite number"):
        costs([found], table, "exp_metric")
