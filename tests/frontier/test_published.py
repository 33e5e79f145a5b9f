from dataclasses import fields
from pathlib import Path

import pytest

from depthopt.core.chain import Barrier, Block, Chain, Layout, Skip
from depthopt.core.operators import Activation, Convolution
from depthopt.errors import ArtefactError, TableError
from depthopt.frontier.published import import_tables, read_importances, read_latencies
from depthopt.kinds.latency_keys import candidate_ms
from depthopt.tables.latency import LatencySummary, MeasurementConditions

CONDITIONS = MeasurementConditions("RTX 2080 Ti", "tensorrt", "8", None, "float16", 128)

TIMES = """id,st,end,time,stdev
0,0,1,1.0,0.1
1,1,2,2.0,0.2
2,0,2,4.0,0.0
3,2,3,3.0,0.0
"""

MERGES = """id,st,end,ker,str,is_dw,time,stdev
0,0,1,1,1,False,1.0,0.1
1,1,2,3,1,True,2.0,0.2
2,2,3,1,1,False,3.0,0.0
3,1,3,3,1,False,2.5,0.0
4,1,3,1,1,False,3.0,0.0
"""

SCORES = """st,end,ker,str,conv_comb,importance
0,1,1,1,[0],1.0
1,2,3,1,[1],1.0
2,3,1,1,"[2]",1.0
1,3,3,1,"[1, 2]",1.75
1,3,1,1,[2],1.5
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def chain() -> Chain:
    """A stem, then one inverted residual of 1x1, depthwise 3x3, linear 1x1."""
    convolutions = [
        Convolution(3, 4, (3, 3), padding=(1, 1, 1, 1)),
        Convolution(4, 8, (1, 1)),
        Convolution(8, 8, (3, 3), padding=(1, 1, 1, 1), groups=8),
        Convolution(8, 4, (1, 1)),
    ]
    names = {f.name: "node" for f in fields(Block)}
    blocks = tuple(
        Block(
            **names
            | {
                "operator": convolution,
                "layout": Layout(convolution.in_channels, (8, 8), convolution.out_channels, (8, 8)),
                "activation": None if i == 3 else Activation("relu6"),
            }
        )
        for i, convolution in enumerate(convolutions)
    )
    return Chain("net", (3, 8, 8), blocks, (Skip(1, 4, "add", "b"),), (Barrier(1, "x", "y"),), ())


def test_2023_format(tmp_path: Path) -> None:
    imported = import_tables(
        chain(), CONDITIONS, read_latencies(write(tmp_path, TIMES)), original_ms=10, first_block=1
    )
    keys = [c.key for c in imported.candidates if c.kind != "keep"]
    assert keys == ["merge 1:3 4-8 k3x3 p1,1,1,1 relu6 of 1,2"]
    entries = {str(key): entry for key, entry in imported.latency.entries.items()}
    assert entries["conv 4-8 k1x1 @8x8 relu6"].median_ms == 1.0
    assert entries["conv 8-8 k3x3 p1,1,1,1 g8 @8x8 relu6"].q3_ms == pytest.approx(2.1349)
    assert entries["conv 8-4 k1x1 @8x8 +add"].median_ms == 3.0
    assert entries["conv 3-4 k3x3 p1,1,1,1 @8x8 relu6"] == LatencySummary(0.0, 0.0, 0.0, 0)
    assert imported.latency.network(chain()).fixed_ms == pytest.approx(4.0)
    assert imported.latency.conditions == CONDITIONS


def test_2024_format_with_importances(tmp_path: Path) -> None:
    latencies = read_latencies(write(tmp_path, MERGES))
    importances = read_importances(write(tmp_path, SCORES))
    imported = import_tables(chain(), CONDITIONS, latencies, importances, first_block=1)
    costs = {str(key): entry.cost for key, entry in imported.importance.entries.items()}
    assert costs == {
        "merge 2:4 8-4 k3x3 p1,1,1,1 of 2,3": 0.25,
        "merge 2:4 8-4 k1x1 of 3": 0.5,
    }
    found = [candidate_ms(chain(), c, imported.latency) for c in imported.candidates]
    assert found == [0.0, 1.0, 2.0, 3.0, 2.5, 3.0]
    assert imported.latency.network(chain()).fixed_ms == 0.0


def test_kept_convolutions_counted_from_one(tmp_path: Path) -> None:
    text = SCORES.replace("[0]", "[1]", 1).replace("[1],1.0\n2", "[2],1.0\n2")
    text = (
        text.replace('"[2]"', "[3]")
        .replace('"[1, 2]"', '"(2, 3)"')
        .replace("1,1,[2],1.5", "1,1,[3],1.5")
    )
    rows = read_importances(write(tmp_path, text))
    assert [row.kept for row in rows] == [(0,), (1,), (2,), (1, 2), (2,)]


def test_rows_that_time_one_convolution_are_averaged(tmp_path: Path) -> None:
    single = chain()
    blocks = (single.blocks[2], single.blocks[2])
    twice = Chain("net", (8, 8, 8), blocks, (), (), ())
    text = "id,st,end,time,stdev\n0,0,1,1.0,0.0\n1,1,2,3.0,0.0\n"
    imported = import_tables(twice, CONDITIONS, read_latencies(write(tmp_path, text)))
    (entry,) = imported.latency.entries.values()
    assert entry == LatencySummary(2.0, 2.0, 2.0, 2)


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
    ],
)
def test_bad_latency_files(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = TIMES if before in TIMES and "dw" not in before else MERGES
    with pytest.raises((ArtefactError, TableError), match=message):
        read_latencies(write(tmp_path, text.replace(before, after, 1)))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("[0]", "__import__('os')", "conv_comb is"),
        ("[0]", "[7]", "lies outside its segment"),
        ("1.75", "inf", "importance is inf"),
    ],
)
def test_bad_importance_files(tmp_path: Path, before: str, after: str, message: str) -> None:
    with pytest.raises((ArtefactError, TableError), match=message):
        read_importances(write(tmp_path, SCORES.replace(before, after, 1)))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="does not exist"):
        read_latencies(tmp_path / "none.csv")


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    latencies = read_latencies(write(tmp_path, MERGES))
    importances = read_importances(write(tmp_path, SCORES))
    with pytest.raises(TableError, match="crosses the barrier"):
        import_tables(chain(), CONDITIONS, read_latencies(write(tmp_path, TIMES)))
    with pytest.raises(TableError, match="first_block"):
        import_tables(chain(), CONDITIONS, latencies, first_block=2)
    with pytest.raises(TableError, match="no time for the segment from 1 to 3 with ker 3"):
        import_tables(
            chain(), CONDITIONS, latencies[:3] + latencies[4:], importances, first_block=1
        )
    with pytest.raises(TableError, match="no time for the kept convolution after position 1"):
        import_tables(chain(), CONDITIONS, (latencies[0], *latencies[2:]), (), first_block=1)
    with pytest.raises(TableError, match="no importance of keep 2:3"):
        import_tables(
            chain(), CONDITIONS, latencies, (importances[0], *importances[2:]), first_block=1
        )
    with pytest.raises(TableError, match="no rows"):
        import_tables(chain(), CONDITIONS, ())
