"""What published rows become: candidates, times and importances."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.operators import Activation
from depthopt.errors import TableError
from depthopt.frontier.lookup import costs
from depthopt.frontier.published import (
    Imported,
    import_tables,
    read_importances,
    read_latencies,
)
from depthopt.frontier.solve import solve
from depthopt.kinds.latency_keys import candidate_ms
from depthopt.kinds.registry import is_part
from depthopt.tables.latency import LatencySummary
from tests.frontier import published_files as files
from tests.frontier.published_files import CONDITIONS, chain, pooled, write

RELU6 = Activation("relu6")


def read(folder: Path, times: str, scores: str | None = None, *, head: bool = False) -> Imported:
    return import_tables(
        chain(head=head),
        CONDITIONS,
        read_latencies(write(folder, times, "times.csv")),
        None if scores is None else read_importances(write(folder, scores, "scores.csv")),
        first_block=1,
    )


def scored(found: Imported) -> list[Candidate]:
    return [candidate for candidate in found.candidates if not is_part(candidate)]


def test_2023_latencies(tmp_path: Path) -> None:
    latencies = read_latencies(write(tmp_path, files.TIMES))
    found = import_tables(chain(), CONDITIONS, latencies, original_ms=10, first_block=1)
    keys = [c.key for c in found.candidates if c.kind != "keep"]
    assert keys == ["merge 1:3 4-8 k3x3 p1,1,1,1 relu6 of 1,2"]
    entries = {str(key): entry for key, entry in found.latency.entries.items()}
    assert entries["conv 4-8 k1x1 @8x8 relu6"].median_ms == 1.0
    assert entries["conv 8-8 k3x3 p1,1,1,1 g8 @8x8 relu6"].q3_ms == pytest.approx(2.1349)
    assert entries["conv 8-4 k1x1 @8x8 +add"].median_ms == 3.0
    assert entries["conv 3-4 k3x3 p1,1,1,1 @8x8 relu6"] == LatencySummary(0.0, 0.0, 0.0, 0)
    assert found.latency.network(chain()).fixed_ms == pytest.approx(4.0)
    assert found.latency.conditions == CONDITIONS
    assert not found.importance.entries


def test_2023_importances_are_entries_of_states(tmp_path: Path) -> None:
    """st_act and end_act become states: 0 as the original has it, 1 the other way."""
    found = read(tmp_path, files.WHOLE_TIMES, files.STATES, head=True)
    table = found.importance
    assert (table.unit, table.form) == ("points", "expanded")
    assert "depth" in table.protocol
    changes = {str(key): entry.metric_change for key, entry in table.entries.items()}
    assert changes == {
        "keep 1:2 4-8 k1x1 relu6": -2.0,
        "keep 2:3 8-8 k3x3 p1,1,1,1 g8 relu6": -3.0,
        "keep 3:4 8-4 k1x1": -4.0,
        "merge 3.0:4.1 8-4 k1x1 relu6 of 3": 1.0,
        "merge 2:4 8-4 k3x3 p1,1,1,1 of 2,3": -6.0,
        "merge 1.0:4.1 4-4 k3x3 p1,1,1,1 relu6 of 1,2,3": -9.0,
    }
    times = {str(c): candidate_ms(chain(head=True), c, found.latency) for c in found.candidates}
    assert times["merge 3.0:4.1 8-4 k1x1 relu6 of 3"] == times["keep 3:4 8-4 k1x1"] == 3.0
    assert times["merge 1.0:4.1 4-4 k3x3 p1,1,1,1 relu6 of 1,2,3"] == 4.0
    assert times["merge 2:4 8-4 k3x3 p1,1,1,1 of 2,3"] == 4.5
    onward = [str(c) for c in scored(found) if c.start == 4]
    assert onward == ["keep 4:5 4-16 k1x1 relu6", "keep 4.1:5.0 4-16 k1x1 relu6"]
    assert costs(scored(found), table, "cost") == pytest.approx(
        costs(scored(found), table, "metric")
    )


def test_parts_of_a_merge_take_as_long_as_what_is_timed(tmp_path: Path) -> None:
    """The paper's T_opt adds up times of segments, whether an activation follows or not."""
    found = read(tmp_path, files.WHOLE_TIMES, files.STATES)
    parts = {str(c): candidate_ms(chain(), c, found.latency) for c in found.candidates
             if is_part(c)}  # fmt: skip
    assert parts["merge 1.0:2.1 4-8 k1x1 of 1 part"] == 1.0
    assert parts["merge 2.1:4.1 8-4 k3x3 p1,1,1,1 relu6 of 2,3 part"] == 4.5
    assert not any(c.replaces and is_part(c) for c in scored(found))
    assert not set(parts) & set(map(str, found.importance.entries))


def test_a_merge_may_be_realised_as_its_parts(tmp_path: Path) -> None:
    """Of the whole segment 4 ms by 1 + 2 + 0.5: its importance, and the parts' latency."""
    times = files.WHOLE_TIMES.replace("2,2,3,3.0", "2,2,3,0.5")
    found = read(tmp_path, times, files.STATES.replace("-9.0", "50.0"))
    frontier = solve(chain(), found.candidates, found.latency, found.importance, objective="metric")
    best = frontier.points[-1]
    assert best.latency_ms == pytest.approx(3.0)
    assert best.cost == pytest.approx(-0.5)
    assert [str(found.candidates[k]) for k in best.choices[1:]] == [
        "merge 1.0:3.1 4-8 k3x3 p1,1,1,1 of 1,2 part",
        "merge 3.1:4.1 8-4 k1x1 relu6 of 3 part",
    ]


def test_2023_normalisation_by_hand(tmp_path: Path) -> None:
    """Each change less 1.5 times the mean over the rows of one block, here -2 points."""
    raw = read(tmp_path, files.WHOLE_TIMES, files.STATES)
    normal = costs(scored(raw), raw.importance, "metric", alpha=1.5)
    by_key = dict(zip(map(str, scored(raw)), normal, strict=True))
    plans = {
        "kept": ["keep 1:2 4-8 k1x1 relu6", "keep 2:3 8-8 k3x3 p1,1,1,1 g8 relu6",
                 "keep 3:4 8-4 k1x1"],
        "half": ["keep 1:2 4-8 k1x1 relu6", "merge 2:4 8-4 k3x3 p1,1,1,1 of 2,3"],
        "whole": ["merge 1.0:4.1 4-4 k3x3 p1,1,1,1 relu6 of 1,2,3"],
    }  # fmt: skip
    worth = {  # in points: the sum of changes + 1.5 * 2 per segment
        "kept": -2 - 3 - 4 + 3 * 3,
        "half": -2 - 6 + 2 * 3,
        "whole": -9 + 3,
    }
    found = {name: sum(by_key[key] for key in keys) for name, keys in plans.items()}
    for name, value in found.items():
        assert value - found["kept"] == pytest.approx((worth["kept"] - worth[name]) / 100), name


def test_2023_extended_importances_are_taken_as_they_are(tmp_path: Path) -> None:
    found = read(tmp_path, files.WHOLE_TIMES, files.EXTENDED)
    values = {str(key): entry.cost for key, entry in found.importance.entries.items()}
    assert values == {
        "keep 1:2 4-8 k1x1 relu6": -0.015,
        "keep 2:3 8-8 k3x3 p1,1,1,1 g8 relu6": -0.005,
        "keep 3:4 8-4 k1x1": 0.005,
        "merge 2:4 8-4 k3x3 p1,1,1,1 of 2,3": 0.025,
        "merge 1.0:4.1 4-4 k3x3 p1,1,1,1 relu6 of 1,2,3": 0.055,
    }
    assert "extended" in found.importance.protocol
    with pytest.raises(TableError, match="holds no metric_change"):
        costs(scored(found), found.importance, "metric", alpha=1.6)


def test_layermerge_importances(tmp_path: Path) -> None:
    found = read(tmp_path, files.MERGES, files.SCORES)
    values = {str(key): entry.cost for key, entry in found.importance.entries.items()}
    assert values == {
        "keep 1:2 4-8 k1x1 relu6": 0.0,
        "keep 2:3 8-8 k3x3 p1,1,1,1 g8 relu6": 0.0,
        "keep 3:4 8-4 k1x1": 0.0,
        "merge 2:4 8-4 k3x3 p1,1,1,1 relu6 of 2,3": 0.25,
        "merge 2:4 8-4 k1x1 relu6 of 3": 0.5,
    }
    times = [candidate_ms(chain(), c, found.latency) for c in found.candidates]
    assert times == [0.0, 1.0, 2.0, 3.0, 2.5, 3.0]
    assert found.latency.network(chain()).fixed_ms == 0.0


def test_layermerge_accuracies_are_the_papers_objective(tmp_path: Path) -> None:
    found = read(tmp_path, files.MERGES, files.ACCURACIES)
    entries = {str(key): entry for key, entry in found.importance.entries.items()}
    merged = entries["merge 2:4 8-4 k3x3 p1,1,1,1 relu6 of 2,3"]
    assert (merged.metric_change, merged.loss_increase) == (-20.0, 0.5)
    assert merged.cost == pytest.approx(2 - math.exp(-0.2))
    assert entries["keep 3:4 8-4 k1x1"].cost == pytest.approx(1 - math.exp(0.01))
    by_cost = costs(scored(found), found.importance, "cost")
    assert costs(scored(found), found.importance, "exp_metric") == pytest.approx(by_cost)


def test_a_merge_of_layermerges_ends_with_an_activation(tmp_path: Path) -> None:
    """The authors' ``measure_imp`` and ``fix_act`` put one behind merges of several blocks."""
    found = read(tmp_path, files.MERGES, files.ACCURACIES)
    for candidate in found.candidates:
        inserted = candidate.end - candidate.start > 1
        expected = RELU6 if inserted or candidate.end < 4 else None
        assert candidate.activation == expected
        assert (candidate.entry, candidate.exit) == (0, 0)


def test_which_file_may_be_depthwise_is_read(tmp_path: Path) -> None:
    """Rows of one segment and kernel that differ in is_dw alone each have their own time."""
    times = files.MERGES + "5,0,2,3,1,False,7.0,0.0\n"
    scores = files.ACCURACIES + '0,5,0,2,3,1,False,"(1, 2)",0.1,-1.0,0.5,-30.0\n'
    found = read(tmp_path, times, scores)
    (merge,) = [c for c in found.candidates if (c.start, c.end) == (1, 3)]
    assert merge.convolution.groups == 1
    assert candidate_ms(chain(), merge, found.latency) == 7.0


def equal_blocks() -> Chain:
    block = chain().blocks[2]
    return Chain("net", (8, 8, 8), (block, block), (), (), ())


def test_rows_that_time_one_convolution_are_averaged(tmp_path: Path) -> None:
    text = "id,st,end,time,stdev\n0,0,1,1.0,0.0\n1,1,2,1.25,0.0\n"
    found = import_tables(equal_blocks(), CONDITIONS, read_latencies(write(tmp_path, text)))
    assert set(found.latency.entries.values()) == {LatencySummary(1.125, 1.125, 1.125, 2)}


@pytest.mark.parametrize("stdev", [0.0, 0.01])
def test_twins_that_disagree_are_refused_by_both_names(tmp_path: Path, stdev: float) -> None:
    text = f"id,st,end,time,stdev\n0,0,1,7.4,{stdev}\n1,1,2,2.43,{stdev}\n"
    with pytest.raises(TableError) as raised:
        import_tables(equal_blocks(), CONDITIONS, read_latencies(write(tmp_path, text)))
    assert "row st 0, end 1 takes 7.4 ms and row st 1, end 2 2.43 ms" in str(raised.value)


def test_twins_that_disagree_within_their_deviation_are_averaged(tmp_path: Path) -> None:
    text = "id,st,end,time,stdev\n0,0,1,0.52,0.44\n1,1,2,0.36,0.02\n"
    found = import_tables(equal_blocks(), CONDITIONS, read_latencies(write(tmp_path, text)))
    assert {entry.median_ms for entry in found.latency.entries.values()} == {0.44}


def test_a_twin_timed_before_a_pooling_is_told(tmp_path: Path) -> None:
    text = "id,st,end,time,stdev\n0,0,1,29.0,0.1\n1,1,2,7.4,0.1\n2,2,3,2.43,0.1\n"
    with pytest.raises(TableError, match="row st 1, end 2 begins behind a pooling"):
        import_tables(pooled(), CONDITIONS, read_latencies(write(tmp_path, text)))


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    latencies = read_latencies(write(tmp_path, files.MERGES))
    importances = read_importances(write(tmp_path, files.SCORES))

    def attempt(times: object, scores: object = importances, first_block: int = 1) -> Imported:
        return import_tables(chain(), CONDITIONS, times, scores, first_block=first_block)  # type: ignore[arg-type]

    with pytest.raises(TableError, match="no time for the segment from 1 to 3 with ker 3"):
        attempt(latencies[:3] + latencies[4:])
    with pytest.raises(TableError, match="no time for the kept convolution after position 1"):
        attempt((latencies[0], *latencies[2:]), None)
    with pytest.raises(TableError, match="no importance of keep 2:3"):
        attempt(latencies, replace(importances, rows=(importances.rows[0], *importances.rows[2:])))
    with pytest.raises(TableError, match="latency file has no rows"):
        attempt(())
    with pytest.raises(TableError, match="importance file has no rows"):
        attempt(latencies, replace(importances, rows=()))
    states = write(tmp_path, files.STATES.replace("0,5,0,3,1,1", "0,5,0,3,0,1"), "states.csv")
    times = read_latencies(write(tmp_path, files.WHOLE_TIMES))
    with pytest.raises(TableError, match="st_act 0, but what lies before position 0"):
        attempt(times, read_importances(states))
    with pytest.raises(TableError, match="no time for the segment from 0 to 3"):
        attempt(times[:5], read_importances(write(tmp_path, files.STATES)))


@pytest.mark.parametrize("first_block", [0, 2])
def test_the_first_block_that_fits_is_named(tmp_path: Path, first_block: int) -> None:
    latencies = read_latencies(write(tmp_path, files.MERGES))
    with pytest.raises(TableError, match=r"every row fits with first_block 1 .*stem"):
        import_tables(chain(head=True), CONDITIONS, latencies, first_block=first_block)


def test_rows_of_another_network_fit_nowhere(tmp_path: Path) -> None:
    latencies = read_latencies(write(tmp_path, files.MERGES.replace("1,1,2,3,1", "1,1,2,5,1")))
    with pytest.raises(TableError, match="no first_block fits every row: check the model"):
        import_tables(chain(), CONDITIONS, latencies, first_block=1)
