"""Every file of the papers' codes is read, or refused by what it is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from depthopt.errors import ArtefactError, TableError
from depthopt.frontier.published import read_importances, read_latencies
from depthopt.frontier.published.importances import Worth
from tests.frontier import published_files as files
from tests.frontier.published_files import write


def test_2023_latencies(tmp_path: Path) -> None:
    rows = read_latencies(write(tmp_path, files.TIMES))
    assert [(r.start, r.end, r.time_ms, r.stdev_ms, r.kernel) for r in rows] == [
        (0, 1, 1.0, 0.1, None),
        (1, 2, 2.0, 0.2, None),
        (0, 2, 4.0, 0.0, None),
        (2, 3, 3.0, 0.0, None),
    ]


def test_a_row_of_several_convolutions_is_refused_with_the_file_to_give(tmp_path: Path) -> None:
    path = write(tmp_path, files.BEST_TIMES, "opt_time_x.csv")
    with pytest.raises(TableError) as raised:
        read_latencies(path)
    message = str(raised.value)
    assert "opt_time_x.csv:4: the time is the sum of 2 convolutions' (breaks 0,1,2)" in message
    assert "give the time file" in message


def test_an_opt_time_file_of_single_convolutions_is_a_time_file(tmp_path: Path) -> None:
    text = files.BEST_TIMES.replace('2,0,2,3.0,0.0,"0,1,2"', '2,0,2,4.0,0.0,"0,2"')
    rows = read_latencies(write(tmp_path, text, "opt.csv"))
    assert rows == read_latencies(write(tmp_path, files.TIMES))


def test_layermerge_latencies(tmp_path: Path) -> None:
    row = read_latencies(write(tmp_path, files.MERGES))[1]
    assert (row.start, row.end, row.kernel, row.stride, row.depthwise) == (1, 2, 3, 1, True)


def test_2023_importances_as_measured(tmp_path: Path) -> None:
    found = read_importances(write(tmp_path, files.STATES))
    assert found.format == "raw"
    first, *_, last = found.rows
    assert first.worth == Worth(-0.02, -2.0, 0.25)
    assert (last.start, last.end, last.start_active, last.end_active) == (0, 3, True, True)


def test_2023_importances_normalised_and_extended(tmp_path: Path) -> None:
    found = read_importances(write(tmp_path, files.EXTENDED))
    assert found.format == "extended"
    assert [row.worth.objective for row in found.rows] == pytest.approx(
        [0.015, 0.005, -0.005, -0.025, -0.055]
    )
    assert all(row.worth.metric_change is None for row in found.rows)


def test_layermerge_importances_before_and_after_normalisation_agree(tmp_path: Path) -> None:
    """The code's ``normalize`` writes exp(val_acc / 100), val_acc being in points."""
    raw = read_importances(write(tmp_path, files.ACCURACIES))
    normalised = (
        ",id,st,end,ker,str,is_dw,conv_comb,importance\n"
        '0,0,0,1,1,1,False,"(1,)",0.9801986733067553\n'
        '1,1,1,2,3,1,True,"(2,)",0.9704455335485082\n'
        '2,2,2,3,1,1,False,"(3,)",1.010050167084168\n'
        '3,3,1,3,3,1,False,"(2, 3)",0.8187307530779818\n'
        '4,4,1,3,1,1,False,"(3,)",0.6065306597126334\n'
    )
    after = read_importances(write(tmp_path, normalised, "normalised.csv"))
    assert (raw.format, after.format) == ("layermerge raw", "layermerge normalised")
    assert [row.kept for row in raw.rows] == [(0,), (1,), (2,), (1, 2), (2,)]
    for one, other in zip(raw.rows, after.rows, strict=True):
        assert (one.start, one.end, one.kernel, one.stride, one.kept) == (
            other.start, other.end, other.kernel, other.stride, other.kept
        )  # fmt: skip
        assert one.worth.objective == pytest.approx(other.worth.objective, rel=1e-12)
        assert one.worth.metric_change == pytest.approx(other.worth.metric_change, rel=1e-12)
    assert raw.rows[3].worth.loss_increase == 0.5


@pytest.mark.parametrize("text", [files.STATES, files.ACCURACIES])
def test_fractions_are_taken_as_fractions_where_it_is_said(tmp_path: Path, text: str) -> None:
    points = read_importances(write(tmp_path, text))
    lines = [line.rpartition(",") for line in text.splitlines()]
    fractions = [f"{rest},{float(last) / 100}" for rest, _, last in lines[1:]]
    path = write(tmp_path, "\n".join([",".join([lines[0][0], lines[0][2]]), *fractions]))
    with pytest.raises(TableError, match=r"points of 100, or fractions\? give the unit"):
        read_importances(path)
    found = read_importances(path, "fraction")
    for one, other in zip(points.rows, found.rows, strict=True):
        assert one.worth.objective == pytest.approx(other.worth.objective)
        assert one.worth.metric_change == pytest.approx(other.worth.metric_change)


def test_accuracies_of_the_wrong_unit_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, files.STATES)
    with pytest.raises(TableError, match="val_acc is 9, more than 1, so it is not a fraction"):
        read_importances(path, "fraction")
    path = write(tmp_path, files.STATES.replace("-9.0", "-900.0"))
    with pytest.raises(TableError, match="val_acc is 900, of 100 points"):
        read_importances(path)


def test_kept_convolutions_counted_from_one(tmp_path: Path) -> None:
    text = files.SCORES.replace("[0]", "[1]", 1).replace("[1],1.0\n2", "[2],1.0\n2")
    text = (
        text.replace('"[2]"', "[3]")
        .replace('"[1, 2]"', '"(2, 3)"')
        .replace("1,1,[2],1.5", "1,1,[3],1.5")
    )
    found = read_importances(write(tmp_path, text))
    assert [row.kept for row in found.rows] == [(0,), (1,), (2,), (1, 2), (2,)]


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_latencies, files.LAYERS, "one row per layer .column index.*only leaves layers out"),
        (read_importances, files.LAYER_SCORES, "one row per layer .column index"),
        (read_importances, files.DIFFUSION, "diffusion network .column val_loss_ratio"),
        (read_latencies, files.SCORES, "holds importances .column importance., not latencies"),
        (read_latencies, files.STATES, "holds importances .column val_acc., not latencies"),
        (read_latencies, files.EXTENDED, "holds importances .column imp., not latencies"),
        (read_importances, files.TIMES, "holds latencies .column time., not importances"),
        (read_importances, "st,end,imp\n0,1,1.0\n", "no column st_act; expected st, end, st_act"),
        (read_importances, "st,end,x\n0,1,1.0\n", "no column ker; expected st, end, ker"),
    ],
)
def test_other_files_are_refused_by_name(
    tmp_path: Path, read: Callable[[Path], object], text: str, message: str
) -> None:
    with pytest.raises(ArtefactError, match=message) as raised:
        read(write(tmp_path, text))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("stdev", "spread", "has no column stdev"),
        ("1.0,0.1", "fast,0.1", r":2: time is 'fast'"),
        ("1.0,0.1", "nan,0.1", r":2: time is nan"),
        ("1.0,0.1", "-1.0,0.1", r":2: time is -1.0"),
        ("1,1,2", "1,1.5,2", r":3: st is 1.5"),
        ("1,1,2", "1,0,1", "comes twice"),
        ("is_dw", "depthwise", "no column|no is_dw"),
        (",True,", ",perhaps,", r":3: is_dw is 'perhaps'"),
        ("1,1,2,3,1,True", "1,1,2,0,1,True", r":3: ker is 0, expected 1 or more"),
    ],
)
def test_bad_latency_files(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = files.TIMES if before in files.TIMES and "dw" not in before else files.MERGES
    with pytest.raises((ArtefactError, TableError), match=message):
        read_latencies(write(tmp_path, text.replace(before, after, 1)))


@pytest.mark.parametrize(
    ("text", "before", "after", "message"),
    [
        (files.SCORES, "[0]", "__import__('os')", "conv_comb is"),
        (files.SCORES, "[0]", "[7]", "lies outside its segment"),
        (files.SCORES, "1.75", "inf", "importance is inf"),
        (files.SCORES, "1.75", "-1.75", "importance is -1.75, expected above 0"),
        (files.ACCURACIES, "-50.0", "nan", "val_acc is nan"),
        (files.ACCURACIES, "0.75,-50.0", "x,-50.0", "val_loss is 'x'"),
        (files.STATES, "0,5,0,3,1,1", "0,5,0,3,2,1", "st_act is '2', expected True or False"),
        (files.STATES, "0,5,0,3,1,1", "0,4,1,3,1,0", r"row for \(1, 3, True, False\) comes twice"),
        (files.EXTENDED, "-5.5", "", "imp is '', expected a number"),
    ],
)
def test_bad_importance_files(
    tmp_path: Path, text: str, before: str, after: str, message: str
) -> None:
    with pytest.raises((ArtefactError, TableError), match=message):
        read_importances(write(tmp_path, text.replace(before, after, 1)))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="does not exist"):
        read_latencies(tmp_path / "none.csv")
