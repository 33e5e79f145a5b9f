"""The fixture, as a user's test suite meets it."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from depthopt.check.baseline import Baseline
from depthopt.check.check import Network
from depthopt.check.pytest_plugin import _assert_latency
from depthopt.core.artefacts import save_json
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.latency import LatencySummary
from tests.check.models import convolutions

pytest_plugins = ["pytester"]

SUITE = """
def test_latency(assert_latency):
    options = dict(baseline={baseline!r}, tolerance={tolerance!r}, seconds=0.5)
    report = assert_latency({current!r}, **options)
    assert report.latency is not None
"""


@pytest.fixture
def suite(pytester, tmp_path, monkeypatch):
    monkeypatch.setattr("depthopt.check.figures.peak_memory_bytes", lambda *_: None)

    def run(baseline, current, tolerance="90%"):
        current = convolutions(tmp_path / "current.onnx", current)
        if not isinstance(baseline, Path):
            baseline = convolutions(tmp_path / "baseline.onnx", baseline)
        names = {"baseline": str(baseline), "current": str(current), "tolerance": tolerance}
        pytester.makepyfile(SUITE.format(**names))
        return pytester.runpytest_inprocess()

    return run


@pytest.mark.timed
@pytest.mark.parametrize("tolerance", ["90%", 0.9])
def test_a_test_passes_with_its_network(suite, tolerance):
    suite(4, 4, tolerance).assert_outcomes(passed=1)


@pytest.mark.timed
def test_a_slower_network_fails_its_test_with_the_reason(suite):
    result = suite(4, 24)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*regression: slower by*tolerance 90.0%*"])


def test_what_cannot_be_told_fails_its_test(suite, tmp_path):
    elsewhere = replace(get_runtime("onnxruntime").conditions(1), device="another")
    baseline = Baseline(
        Network("old", "0"),
        elsewhere,
        LatencySummary(1.0, 1.0, 1.0, 9),
        {"conv 8-8 k1x1 @7x7": (0.1,)},
        {"x": (1, 16, 24, 24)},
    )
    save_json(baseline, tmp_path / "baseline.json")
    result = suite(tmp_path / "baseline.json", 4)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*inconclusive: conditions differ*device 'another'*"])


def test_a_tolerance_of_500_percent_is_no_5_percent(suite):
    result = suite(4, 4, 5)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*tolerance '5' is not a share*"])


def test_a_defect_is_no_regression(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise TypeError("no idea")

    monkeypatch.setattr(importlib.import_module("depthopt.check.check"), "check", fail)
    with pytest.raises(RuntimeError, match="not checked, and no regression: a defect of depthopt"):
        _assert_latency("new.onnx", baseline="old.onnx")
    with pytest.raises(pytest.fail.Exception, match=r"^not checked: .*none.json does not exist"):
        _assert_latency("new.onnx", baseline=tmp_path / "none.json")
