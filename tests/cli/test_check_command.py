"""``depthopt check`` on small networks and the real runtime: exit codes, outputs, bad input."""

import itertools
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import xmlschema

from depthopt.check.baseline import Baseline
from depthopt.check.check import Network
from depthopt.check.sampling import Clocks
from depthopt.check.yardsticks import Shares
from depthopt.cli.main import main
from depthopt.core.artefacts import save_json
from depthopt.core.operators import Convolution
from depthopt.data.load import load_dataset
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.latency import LatencyKey, LatencySummary
from tests.check.models import convolutions, linear, with_input

QUICK = ("--seconds", "0.2")
TRIES = 4
"""Of what a moment's noise may leave open."""

LOOSE = ("--tolerance", "90%")
SCHEMA = Path(__file__).parent.parent / "check" / "junit-10.xsd"


@pytest.fixture
def call(tmp_path, monkeypatch, capsys, hasty_bench):  # noqa: ARG001 - for what it does
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    for module in ("figures", "recorded"):
        monkeypatch.setattr(f"depthopt.check.{module}.peak_memory_bytes", lambda *_: 50 << 20)
    monkeypatch.setattr("depthopt.check.sampling._BURST_S", 0.003)  # exact enough for all here

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["depthopt", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        found = capsys.readouterr()
        return int(caught.value.code or 0), found.out, found.err

    return run


@pytest.fixture
def equal_times(monkeypatch):
    """Every network takes as long as every other: for tests that ask something else."""

    def clocks_for(_):
        ticks = itertools.count()
        return Clocks(wall=lambda: 0.001 * next(ticks))

    def shares_of(_, keys, **__):
        return Shares(
            {key: np.array([0.1, 0.1, 0.1]) for key in keys}, LatencySummary(1.0, 1.0, 1.0, 9)
        )

    monkeypatch.setattr("depthopt.check.latency.clocks_for", clocks_for)
    for module in ("recorded", "yardsticks"):
        monkeypatch.setattr(f"depthopt.check.{module}.shares_of", shares_of)


@pytest.fixture
def small(tmp_path):
    return convolutions(tmp_path / "small.onnx", 4)


@pytest.fixture
def large(tmp_path):
    return convolutions(tmp_path / "large.onnx", 24)


@pytest.mark.timed
def test_a_network_passes_against_itself(call, small, tmp_path):
    for _ in range(TRIES):
        code, out, _ = call(small, small, *QUICK, *LOOSE, "--junit", tmp_path / "j.xml")
        if code != 3:
            break
    assert code == 0
    xmlschema.validate(tmp_path / "j.xml", SCHEMA)
    assert "latency" in out
    assert "peak memory" in out
    assert "pass: " in out


@pytest.mark.timed
def test_a_slower_network_is_a_regression_in_every_format(call, small, large, tmp_path):
    files = {name: tmp_path / name for name in ("junit.xml", "summary.md", "history.jsonl")}
    code, out, err = call(
        small, large, *QUICK, *LOOSE, "--json",
        "--junit", files["junit.xml"], "--summary", files["summary.md"],
        "--history", files["history.jsonl"], "--history-plot", tmp_path / "plot.svg",
    )  # fmt: skip
    assert code == 1
    report = json.loads(out)
    assert report["type"] == "CheckReport"
    assert report["outcome"] == report["verdict"]["outcome"] == "regression"
    assert report["latency"]["measured"] == 2
    assert report["latency"]["change"]["low"] > 0.9
    assert report["conditions"]["runtime"] == "onnxruntime"
    assert {f["name"] for f in report["figures"]} == {"size", "parameters", "peak memory"}
    assert report["layers"]
    assert all(layer["baseline_ms"] is None for layer in report["layers"][:3])
    xmlschema.validate(files["junit.xml"], SCHEMA)
    suite = ET.parse(files["junit.xml"]).getroot().find("testsuite")  # noqa: S314 - our own
    assert suite.get("failures") == "3"
    assert suite.find("testcase[@name='latency']/failure").get("message").startswith("slower by")
    summary = files["summary.md"].read_text()
    assert "regression" in summary
    assert "| layer that moved |" in summary
    assert "control" in summary
    assert len(files["history.jsonl"].read_text().splitlines()) == 1
    assert "checks of this baseline: 1" in " ".join(err.split())
    assert (tmp_path / "plot.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.usefixtures("equal_times")
@pytest.mark.parametrize("tolerance", ["3%", "3 %", "0.03"])
def test_what_is_watched_is_one_table_with_limits(call, small, tmp_path, tolerance):
    shares = ("--tolerance", tolerance, "--size-tolerance", tolerance)
    code, out, _ = call(small, small, *QUICK, *shares, "--summary", tmp_path / "s.md")
    assert code == 0
    table, summary = " ".join(out.split()), (tmp_path / "s.md").read_text()
    for heading in ("before", "after", "change", "limit", "verdict"):
        assert heading in table
    assert "| | before | after | change | limit | verdict |" in summary.replace("|  |", "| |")
    assert "(+0.0% to +0.0%) | +3.0% | ✅ pass |" in summary
    assert "| size | 0.04 MB | 0.04 MB | +0.0% | +3.0% | ✅ pass |" in summary
    assert "1 thread." in summary
    assert "1 threads" not in out + summary


@pytest.mark.usefixtures("equal_times")
def test_the_summary_of_a_github_step_is_found_by_itself(call, small, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    (tmp_path / "step.md").write_text("before\n")
    call(small, small, *QUICK, *LOOSE)
    assert (tmp_path / "step.md").read_text().startswith("before\n### ")


@pytest.mark.usefixtures("equal_times")
def test_a_larger_file_alone_is_a_regression_and_says_so(call, small, tmp_path):
    model = onnx.load(small)
    model.doc_string = " " * (1 << 20)
    wide = tmp_path / "wide.onnx"
    onnx.save(model, wide)
    outputs = ("--junit", tmp_path / "j.xml", "--summary", tmp_path / "made" / "s.md")
    code, out, _ = call(small, wide, *QUICK, *LOOSE, *outputs)
    assert code == 1
    assert "regression: size: " in out
    assert "latency pass: " in out
    assert "\nsize: " in (tmp_path / "made" / "s.md").read_text()
    xmlschema.validate(tmp_path / "j.xml", SCHEMA)
    assert call(small, wide, *QUICK, *LOOSE, "--size-tolerance", "1e5%")[0] == 2


@pytest.mark.timed
def test_a_free_batch_and_another_name_of_the_input_are_no_obstacle(call, small, large, tmp_path):
    free = with_input(small, tmp_path / "free.onnx", "image", 0)
    assert call(small, free, *QUICK, *LOOSE)[0] == 0
    slower = with_input(large, tmp_path / "slower.onnx", "image", 0)
    code, out, _ = call(small, slower, *QUICK, *LOOSE)
    assert code == 1
    assert "layer that moved" in out


@pytest.mark.timed
def test_more_noise_than_tolerance_is_inconclusive(call, small, tmp_path):
    outputs = ("--junit", tmp_path / "j.xml", "--summary", tmp_path / "s.md")
    code, out, _ = call(small, small, *QUICK, "--tolerance", "0%", *outputs)
    assert code == 3
    assert "more than the tolerance 0.0%; measure on an idle machine" in out
    assert "inconclusive" in (tmp_path / "s.md").read_text()
    xmlschema.validate(tmp_path / "j.xml", SCHEMA)


@pytest.mark.timed
def test_a_clock_that_goes_backwards_is_inconclusive_everywhere(call, small, tmp_path, monkeypatch):
    assert call("--record", tmp_path / "b.json", small, *QUICK)[0] == 0
    for module in ("latency", "yardsticks"):
        ticks = itertools.count(0, -1)
        clocks = Clocks(wall=lambda ticks=ticks: float(next(ticks)))
        monkeypatch.setattr(f"depthopt.check.{module}.clocks_for", lambda _, found=clocks: found)
    outputs = ("--junit", tmp_path / "j.xml", "--history", "h.jsonl", "--history-plot", "h.svg")
    for sides in ((small, small), ("--against", tmp_path / "b.json", small)):
        code, out, _ = call(*sides, *QUICK, *outputs)
        assert code == 3
        assert "correct the machine's clock" in out
        xmlschema.validate(tmp_path / "j.xml", SCHEMA)
        assert ET.parse(tmp_path / "j.xml").getroot().get("errors") == "1"  # noqa: S314 - our own
        assert not (tmp_path / "h.jsonl").exists()
    code, _, err = call("--record", tmp_path / "c.json", small, *QUICK)
    assert (code, (tmp_path / "c.json").exists()) == (2, False)
    assert "clock" in err


@pytest.fixture
def classifiers(tmp_path):
    """Linear classifiers of digits: one that was fitted, and one that answers the opposite."""
    data = load_dataset("digits", input_size=(1, 8, 8), calibration_images=1, seed=0)
    images, labels = next(data.train.batches(len(data.train)))
    pixels = np.hstack([images.flatten(1).numpy(), np.ones((len(labels), 1))])
    weight = np.linalg.lstsq(pixels, np.eye(10)[labels.numpy()], rcond=None)[0]
    return linear(tmp_path / "good.onnx", weight), linear(tmp_path / "bad.onnx", -weight)


@pytest.mark.usefixtures("equal_times")
def test_lost_accuracy_is_a_regression(call, classifiers, tmp_path, caplog):
    good, bad = classifiers
    digits = ("--data", "digits", *QUICK)
    assert call(good, good, *digits)[0] == 0
    code, out, _ = call(good, bad, *digits, "--junit", tmp_path / "j.xml")
    assert code == 1
    assert "regression: accuracy: " in out
    assert "accepted down to" in out
    case = ET.parse(tmp_path / "j.xml").getroot().find(".//testcase[@name='accuracy']")  # noqa: S314
    assert case.find("failure") is not None
    assert call(good, bad, *digits, "--metric-tolerance", "100")[0] == 0
    assert call("--record", "b.json", good, *digits)[0] == 0
    assert call("--against", "b.json", bad, *digits)[0] == 1
    call("--against", "b.json", bad, *digits[2:])
    assert "the metric is not checked: b.json has one on digits; give --data" in caplog.text
    code, _, err = call("--against", "b.json", bad, "--data", "fashion_mnist")
    assert code == 2
    assert "recorded with digits, so it has no accuracy on fashion_mnist" in err
    code, _, err = call("--against", "b.json", bad, *digits, "--task", "guessing")
    assert code == 2
    assert "was recorded for the task classification, not guessing" in " ".join(err.split())


@pytest.mark.timed
def test_a_recorded_baseline_is_checked_against(call, small, large, tmp_path):
    baseline = tmp_path / "baseline.json"
    for _ in range(TRIES):
        code, out, _ = call("--record", baseline, small, *QUICK)
        assert code == 0
        held = json.loads(baseline.read_text())
        if len(held["yardsticks"]) == 8:
            break
    assert "small.onnx takes" in out
    assert len(held["yardsticks"]) == 8
    assert held["network"]["sha256"]
    other = convolutions(tmp_path / "other.onnx", 4, size=12)
    code, _, err = call("--against", baseline, other, *QUICK)
    assert code == 2
    assert "only networks with equal inputs can be compared" in err
    for _ in range(TRIES):
        code, out, err = call("--against", baseline, large, *QUICK, "--tolerance", "100%", "--json")
        if out:
            break
    assert out, err
    report = json.loads(out)
    assert report["latency"]["clock"] == "yardsticks"
    assert report["latency"]["change"]["estimate"] > 1
    assert code == {"pass": 0, "regression": 1, "inconclusive": 3}[report["outcome"]]
    assert code != 0


@pytest.mark.parametrize(("key", "value"), [("device", "another"), ("threads", 4)])
def test_unlike_conditions_are_inconclusive_and_named(call, small, tmp_path, key, value):
    here = get_runtime("onnxruntime").conditions(1)
    there = replace(here, **{key: value})
    summary = LatencySummary(1.0, 1.0, 1.0, 9)
    baseline = tmp_path / "baseline.json"
    shapes = {"x": (1, 16, 24, 24)}
    yardsticks = {LatencyKey(Convolution(8, 8, (1, 1)), (7, 7)): (0.1,)}
    save_json(Baseline(Network("old", "0"), there, summary, yardsticks, shapes), baseline)
    junit = tmp_path / "junit.xml"
    code, out, _ = call("--against", baseline, small, *QUICK, "--junit", junit)
    assert code == 3
    assert "inconclusive" in out
    assert f"{key} {value!r} against" in out
    xmlschema.validate(junit, SCHEMA)
    assert ET.parse(junit).getroot().get("errors") == "1"  # noqa: S314 - our own


def test_a_baseline_of_a_newer_schema_is_refused(call, small, tmp_path):
    path = tmp_path / "new.json"
    path.write_text(json.dumps({"type": "Baseline", "schema_version": 99}))
    code, _, err = call("--against", path, small)
    assert code == 2
    assert "schema version 99" in err


def test_bad_input_is_refused_in_one_line(call, small, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    engine = tmp_path / "network.engine"
    engine.write_bytes(b"no engine")
    other = convolutions(tmp_path / "other.onnx", 2, size=12)
    any_size = with_input(small, tmp_path / "any_size.onnx", "x", 2, 3)
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text("{")
    text = tmp_path / "network.txt"
    text.write_text("a network")
    for arguments, message in [
        ((small, tmp_path / "absent.onnx"), "does not exist"),
        ((tmp_path / "absent.onnx",), "absent.onnx does not exist; give an ONNX file"),
        ((small,), "a check takes two networks"),
        ((small,), f"record one: `depthopt check --record baseline.json {small}`"),
        ((small,), f"check against it: `depthopt check --against baseline.json {small}`"),
        ((small, "--threads", "2", "--batch", "4"), f"{small} --threads 2 --batch 4`"),
        ((small, "--network", "net"), "--network belongs to --against"),
        ((small, other), "only networks with equal inputs can be compared"),
        ((small, broken), "cannot run"),
        ((small, engine), "--runtime tensorrt"),
        ((small, text), "not an .onnx file"),
        ((small, small, "--tolerance", "5"), "write for instance 5%"),
        ((small, small, "--tolerance", "much"), "--tolerance 'much' is not a share; write for"),
        ((small, small, "--size-tolerance", "nan%"), "--size-tolerance 'nan%' is not a share"),
        ((small, small, "--seconds", "0"), "--seconds is "),
        ((small, small, "--seconds", "nan"), "--seconds is "),
        ((small, small, "--seconds", "inf"), "--seconds is "),
        ((small, small, "--metric-tolerance", "nan"), "--metric-tolerance is nan"),
        ((small, any_size), "only the batch may be free"),
        ((small, small, "--history", damaged), "line 1, is not a check"),
        (("--record", "b.json", small, "--junit", "j.xml"), "checks nothing"),
        ((small, small, "--batch", "4"), "takes 1 image per"),
        ((small, small, "--history-plot", "plot.svg"), "give both"),
        ((small, small, "--record", "b.json"), "measures one network"),
        ((small, small, "--against", "b.json"), "takes one network"),
        (("--against", tmp_path / "absent.json", small), "absent.json does not exist"),
        (("--against", tmp_path / "absent.json", small), "absent.json MODEL`"),
        (("--against", broken, small), "neither a baseline nor a latency table"),
        ((small, small, "--runtime", "onxruntime"), "did you mean 'onnxruntime'"),
    ]:
        code, _, err = call(*arguments)
        assert code == 2, arguments
        assert message in " ".join(err.split()), err
        assert err.count("\n") == 1, err


@pytest.mark.timed
def test_a_file_that_cannot_be_written_is_no_regression(call, small, tmp_path):
    (tmp_path / "file").write_text("no folder")
    code, out, err = call(small, small, *QUICK, *LOOSE, "--junit", tmp_path / "file" / "j.xml")
    assert code == 2
    assert "pass: " in out
    assert err.count("\n") == 1
