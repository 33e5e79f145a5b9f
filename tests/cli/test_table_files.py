"""``depthopt solve`` and ``depthopt tables import`` on files."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from depthopt.cli.main import main
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.extraction.extract import extract
from depthopt.frontier.solve import solve
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import latency_keys
from depthopt.models.timm import create_timm_model
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import (
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
    NetworkKey,
    NetworkLatency,
)
from tests.resealed import write_resealed

NAME, SIZE = "test_resnet", (3, 32, 32)
CONDITIONS = MeasurementConditions("CPU", "onnxruntime", "1.0", 1, "float32", 1)


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["depthopt", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Chain, Path]:
    """A chain, and a folder with random tables over its candidates."""
    folder = tmp_path_factory.mktemp("tables")
    chain = extract(create_timm_model(NAME, {}), SIZE, name=NAME)
    found = candidates(chain)
    random = np.random.default_rng(0)
    keys = {key for c in found for key in latency_keys(chain, c)}
    times_ms = random.uniform(0.01, 1, len(keys))
    entries = {k: LatencySummary(t, t, t, 9) for k, t in
               zip(sorted(keys, key=str), times_ms, strict=True)}  # fmt: skip
    network = NetworkLatency(LatencySummary(9.0, 9.0, 9.0, 9), 0.5)
    save_json(LatencyTable(CONDITIONS, entries, {NetworkKey.of(chain): network}), folder / "t.json")
    costs = {c: Importance(random.uniform(), metric_change=-random.uniform())
             for c in found if c.kind != "keep"}  # fmt: skip
    save_json(ImportanceTable(NAME, "regression", 9, costs), folder / "i.json")
    return chain, folder


@pytest.fixture
def tables(
    made: tuple[Chain, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Chain, list[str]]:
    """The chain, and a command on the test's own copy of the tables, in the working folder."""
    chain, folder = made
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return chain, ["frontier", "t.json", "i.json"]


def test_table_files_give_the_plan_that_the_solver_gives(
    tables: tuple[Chain, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chain, command = tables
    latency, importance = (
        load_json(LatencyTable, Path("t.json")),
        load_json(ImportanceTable, Path("i.json")),
    )
    frontier = solve(chain, candidates(chain), latency, importance)
    budget = str(frontier.points[len(frontier.points) // 2].latency_ms)
    wanted = frontier.pick(budget_ms=float(budget))
    options = ["--budget-ms", budget, "--csv", "f.csv", "--out", "p.json", "--json"]
    assert call(*command, *options, monkeypatch=monkeypatch) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["latency_ms"] == wanted.latency_ms
    assert load_json(Plan, Path("p.json")) == wanted
    with Path("f.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["cost"]) for row in rows] == [point.cost for point in frontier.points]


def test_a_chain_file_stands_in_for_the_model(
    tables: tuple[Chain, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, command = tables
    assert call("extract", NAME, "--input-size", "3,32,32", "--json", monkeypatch=monkeypatch) == 0
    Path("chain.json").write_text(capsys.readouterr().out)
    plans = []
    for chain in ([], ["--chain", "chain.json"]):
        options = ["--speedup", "2", "--json", *chain]
        assert call(*command, *options, monkeypatch=monkeypatch) == 0
        plans.append(json.loads(capsys.readouterr().out))
    assert plans[0] == plans[1]


def test_constraints_modes_and_a_second_device(
    tables: tuple[Chain, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chain, command = tables
    name = chain.blocks[3].name
    for options in (
        ["--keep", name],
        ["--mode", "bucketed:0.01"],
        ["--mode", "epsilon:0.001"],
        ["--objective", "exp_metric"],
        ["--cap", "t.json=4.5"],
        ["--cap", "parameters=400000"],
    ):
        assert call(*command, "--budget-ms", "6", "--json", *options, monkeypatch=monkeypatch) == 0
        plan = json.loads(capsys.readouterr().out)
        assert plan["latency_ms"] <= (4.5 if "t.json=4.5" in options else 6)
        kept = {c.start for c in map(Candidate.parse, plan["choices"]) if c.kind == "keep"}
        assert "--keep" not in options or 3 in kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget-ms", "0.001"], "is below the fastest plan"),
        ([], "say what to pick"),
        (["--csv", "f.csv", "--out", "p.json"], "say what to pick"),
        (["--speedup", "2", "--mode", "bucketed:-1"], "resolution_ms must be above 0"),
        (["--speedup", "2", "--mode", "bucket"], "mode 'bucket' is unknown"),
        (["--speedup", "2", "--mode", "epsilon:x"], "mode 'epsilon:x' is unknown"),
        (["--speedup", "2", "--objective", "loss"], "objective 'loss' is unknown"),
        (["--speedup", "2", "--keep", "no.block"], "has no block 'no.block'"),
        (["--speedup", "2", "--cap", "t.json"], "cap 't.json' is not"),
        (["--speedup", "2", "--chain", "none.json"], "none.json does not exist"),
    ],
)
def test_bad_options_are_one_line(
    options: list[str],
    message: str,
    tables: tuple[Chain, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(*tables[1], *options, monkeypatch=monkeypatch) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve"], "Missing argument"),
        (["frontier", "t.json"], "Missing argument"),
        (["solve", "r.yaml", "--latency", "t.json"], "No such option: --latency"),
        (["solve", "r.yaml", "--keep", "conv1"], "No such option: --keep"),
        (["solve", "r.yaml", "--mode", "epsilon:0.1"], "No such option: --mode"),
    ],
)
def test_no_option_is_silently_ignored(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(*arguments, monkeypatch=monkeypatch) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, _: t["entries"].popitem(), "latency table has no entry for"),
        (lambda t, _: t["entries"].update({next(iter(t["entries"])): dict.fromkeys(
            ("median_ms", "q1_ms", "q3_ms"), float("nan")) | {"count": 1}}), "nan"),
        (lambda t, _: t.update(networks={}), "should hold test_resnet at one input size"),
        (lambda _, i: i.update(model="resnet18"), "should hold resnet18"),
        (lambda _, i: i["entries"].update({"fit 90:95 3-3 k1x1": {"cost": 1.0}}), "does not fit"),
        (lambda _, i: i["entries"].update({"what": {"cost": 1.0}}), "is not a candidate"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_are_one_line(
    change: object,
    message: str,
    tables: tuple[Chain, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    times, costs = json.loads(Path("t.json").read_text()), json.loads(Path("i.json").read_text())
    change(times, costs)
    write_resealed(Path("t.json"), times)
    write_resealed(Path("i.json"), costs)
    assert call(*tables[1], "--speedup", "2", monkeypatch=monkeypatch) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("depthopt: ")


PUBLISHED = """id,st,end,ker,str,is_dw,time,stdev
{rows}
"""
SCORES = """st,end,ker,str,is_dw,conv_comb,importance
{rows}
"""


def test_published_tables_are_imported_and_solved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    chain = extract(create_timm_model("mobilenetv2_035", {}), (3, 64, 64), name="mobilenetv2_035")
    rows, scores = [], []
    for i, block in enumerate(chain.blocks):
        conv = block.operator
        kernel, stride, depthwise = conv.kernel_size[0], conv.stride[0], conv.is_depthwise
        rows.append(f"{i},{i},{i + 1},{kernel},{stride},{depthwise},{1 + i / 100},0.01")
        scores.append(f'{i},{i + 1},{kernel},{stride},{depthwise},"[{i}]",1.0')
    rows.append("99,2,5,3,2,False,1.5,0.01")
    scores.append('2,5,3,2,False,"[2, 3, 4]",2.5')
    Path("lat.csv").write_text(PUBLISHED.format(rows="\n".join(rows)))
    Path("imp.csv").write_text(SCORES.format(rows="\n".join(scores)))
    command = ["tables", "import", "mobilenetv2_035", "--latency", "lat.csv",
               "--importance", "imp.csv", "--input-size", "3,64,64"]  # fmt: skip
    assert call(*command, monkeypatch=monkeypatch) == 2
    assert "give --device" in capsys.readouterr().err
    command += ["--device", "RTX 2080 Ti", "--runtime", "tensorrt", "--runtime-version", "8.5",
                "--dtype", "float16", "--batch", "128"]  # fmt: skip
    assert call(*command, monkeypatch=monkeypatch) == 0
    assert load_json(LatencyTable, Path("latency.json")).conditions.device == "RTX 2080 Ti"
    before = Path("latency.json").read_bytes()
    assert call(*command, monkeypatch=monkeypatch) == 2
    assert "chain.json exists; choose another folder with --out, or give --force" in (
        capsys.readouterr().err
    )
    assert call(*command, "--force", "--threads", "2", monkeypatch=monkeypatch) == 0
    assert Path("latency.json").read_bytes() != before
    files = ["latency.json", "importance.json"]
    options = ["--chain", "chain.json", "--speedup", "1.01", "--json"]
    capsys.readouterr()
    assert call("frontier", *files, *options, monkeypatch=monkeypatch) == 0
    plan = json.loads(capsys.readouterr().out)
    choices = map(Candidate.parse, plan["choices"])
    replaced = [(c.start, c.end) for c in choices if c.kind != "keep"]
    assert replaced == [(2, 5)]
    assert plan["cost"] == pytest.approx(0.5)


STATES_TIMES = """id,st,end,time,stdev
0,0,1,1.0,0.01
1,1,2,1.0,0.01
2,0,2,5.0,0.01
3,2,3,0.7,0.01
4,3,4,0.5,0.01
5,2,4,0.6,0.01
6,4,5,0.5,0.01
7,5,6,0.5,0.01
8,6,7,0.4,0.01
9,7,8,0.3,0.01
"""
STATES_SCORES = ",id,st,end,st_act,end_act,train_loss,train_acc,val_loss,val_acc\n" + "".join(
    f"0,{i},{st},{end},1,1,0.1,-1.0,0.25,{accuracy}\n"
    for i, (st, end, accuracy) in enumerate(
        [*((k, k + 1, -0.02) for k in range(8)), (0, 2, -0.01), (2, 4, -0.05)]
    )
)


def test_tables_of_2023_are_imported_and_solved_by_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("times.csv").write_text(STATES_TIMES)
    Path("scores.csv").write_text(STATES_SCORES)
    command = ["tables", "import", "small:residual", "--input-size", "1,16,16", "--latency",
               "times.csv", "--importance", "scores.csv", "--device=d", "--runtime=r",
               "--runtime-version=1", "--dtype=float32", "--batch=1"]  # fmt: skip
    assert call(*command, monkeypatch=monkeypatch) == 2
    assert "points of 100, or fractions? give the unit" in capsys.readouterr().err
    command += ["--unit", "fraction"]
    assert call(*command, monkeypatch=monkeypatch) == 2
    assert "every row fits with first_block 1" in capsys.readouterr().err
    assert call(*command, "--first-block", "1", monkeypatch=monkeypatch) == 0
    table = load_json(ImportanceTable, Path("importance.json"))
    assert table.unit == "points"
    assert {entry.metric_change for entry in table.entries.values()} == {-2.0, -1.0, -5.0}
    capsys.readouterr()
    options = ["--chain", "chain.json", "--speedup", "1.0", "--json"]
    files = ["frontier", "latency.json", "importance.json", *options]
    wish = ["--objective", "metric", "--alpha", "0.5"]
    assert call(*files, *wish, monkeypatch=monkeypatch) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["choices"][1:3] == [
        "merge 1.0:2.1 16-16 k3x3 p1,1,1,1 of 1 part",
        "merge 2.1:3.0 16-16 k3x3 p1,1,1,1 relu of 2 part",
    ]
    assert plan["latency_ms"] == pytest.approx(4.3)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--batch", "-1"), ("--threads", "-99"), ("--original-ms", "nan"), ("--first-block", "-2"),
     ("--original-ms", "0"), ("--batch", "1" + "0" * 30)],
)  # fmt: skip
def test_numbers_that_no_measurement_has_are_refused(
    option: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tables", "import", "no_such", "--latency", "none.csv", f"{option}={value}"]
    assert call(*command, monkeypatch=monkeypatch) == 2
    assert f"depthopt: {option} is {value}" in capsys.readouterr().err
