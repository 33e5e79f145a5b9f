"""Costs over position and length, drawn."""

import math

from depthopt.core.candidate import Candidate
from depthopt.report.importance import importance_svg
from depthopt.tables.importance import Importance, ImportanceTable

FIT = Candidate.parse("fit 0:2 8-8 k1x1 relu")
TABLE = ImportanceTable(
    "net <a&b>",
    "regression",
    64,
    {
        Candidate.parse("drop 0:2 identity relu"): Importance(0.5),
        FIT: Importance(0.1),
        Candidate.parse("fit 1:5 8-16 k3x3 p1,1,1,1"): Importance(0.0),
    },
)


def test_the_plot_names_the_network_and_is_the_same_every_time() -> None:
    drawn = importance_svg(TABLE).decode()
    assert "net &lt;a&amp;b&gt;: cost by regression" in drawn
    assert "first block" in drawn
    assert drawn == importance_svg(TABLE).decode()


def test_another_cost_gives_another_picture() -> None:
    changed = ImportanceTable(TABLE.model, "regression", 64, TABLE.entries | {FIT: Importance(0.4)})
    assert importance_svg(changed) != importance_svg(TABLE)


def test_what_breaks_the_network_is_left_out() -> None:
    broken = {Candidate.parse("drop 7:9 identity relu"): Importance(math.inf)}
    drawn = importance_svg(ImportanceTable(TABLE.model, "regression", 64, TABLE.entries | broken))
    assert drawn == importance_svg(TABLE)


def test_an_empty_table_is_drawn_too() -> None:
    assert b"first block" in importance_svg(ImportanceTable("net", "regression"))
