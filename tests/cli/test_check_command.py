"""``depthopt check`` on small networks and the real runtime: exit codes, outputs, bad input."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
import xmlschema

from depthopt.check.baseline import Baseline
from depthopt.check.check import Network
from depthopt.cli import main
from depthopt.core.artefacts import save_json
from depthopt.core.tables import LatencySummary
from depthopt.runtimes import get_runtime
from tests.check.models import convolutions

QUICK = ("--seconds", "0.5")
LOOSE = ("--tolerance", "90%")
SCHEMA = Path(__file__).parent.parent / "check" / "junit-10.xsd"


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    for module in ("figures", "baseline"):
        monkeypatch.setattr(f"depthopt.check.{module}.peak_memory_bytes", lambda *_: 50 << 20)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["depthopt", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        found = capsys.readouterr()
        return int(caught.value.code or 0), found.out, found.err

    return run


@pytest.fixture
def small(tmp_path):
    return convolutions(tmp_path / "small.onnx", 4)


@pytest.fixture
def large(tmp_path):
    return convolutions(tmp_path / "large.onnx", 24)


def test_a_network_passes_against_itself(call, small):
    code, out, _ = call(small, small, *QUICK, *LOOSE)
    assert code == 0
    assert "latency" in out
    assert "peak memory" in out
    assert "pass: " in out


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
    assert "1 checks" in " ".join(err.split())
    assert (tmp_path / "plot.svg").read_bytes().startswith(b"<?xml")


def test_the_summary_of_a_github_step_is_found_by_itself(call, small, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    (tmp_path / "step.md").write_text("before\n")
    call(small, small, *QUICK, *LOOSE)
    assert (tmp_path / "step.md").read_text().startswith("before\n### ")


def test_a_larger_file_alone_is_a_regression(call, small, tmp_path):
    wide = convolutions(tmp_path / "again.onnx", 4)
    wide.with_name("again.onnx.data").write_bytes(bytes(1 << 20))
    code, out, _ = call(small, wide, *QUICK, *LOOSE, "--junit", tmp_path / "j.xml")
    assert code == 1
    assert "size" in out
    xmlschema.validate(tmp_path / "j.xml", SCHEMA)
    assert call(small, wide, *QUICK, *LOOSE, "--size-tolerance", "1e5%")[0] == 2


def test_a_recorded_baseline_is_checked_against(call, small, large, tmp_path):
    baseline = tmp_path / "baseline.json"
    code, out, _ = call("--record", baseline, small, *QUICK)
    assert code == 0
    assert "small.onnx takes" in out
    held = json.loads(baseline.read_text())
    assert len(held["yardsticks"]) == 8
    assert held["network"]["sha256"]
    code, out, _ = call("--against", baseline, large, *QUICK, "--tolerance", "100%", "--json")
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
    save_json(Baseline(Network("old", "0"), there, summary, {"conv 8-8 k1x1 @7x7": 0.1}), baseline)
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
    text = tmp_path / "network.txt"
    text.write_text("a network")
    for arguments, message in [
        ((small, tmp_path / "absent.onnx"), "does not exist"),
        ((small,), "takes two networks"),
        ((small, other), "only networks of equal inputs compare"),
        ((small, broken), "cannot run"),
        ((small, engine), "--runtime tensorrt"),
        ((small, text), "no .onnx file"),
        ((small, small, "--tolerance", "5"), "write for instance 5%"),
        ((small, small, "--tolerance", "much"), "write for instance 5%"),
        ((small, small, "--seconds", "0"), "must be positive"),
        ((small, small, "--batch", "4"), "takes 1 images"),
        ((small, small, "--history-plot", "plot.svg"), "give both"),
        ((small, small, "--record", "b.json"), "measures one network"),
        ((small, small, "--against", "b.json"), "takes one network"),
        (("--against", tmp_path / "absent.json", small), "does not exist"),
        (("--against", broken, small), "no baseline and no latency table"),
        ((small, small, "--runtime", "onxruntime"), "did you mean 'onnxruntime'"),
    ]:
        code, _, err = call(*arguments)
        assert code == 2, arguments
        assert message in " ".join(err.split()), err
        assert err.count("\n") == 1, err
