"""The fixture, as a user's test suite meets it."""

import pytest

from tests.check.models import convolutions

pytest_plugins = ["pytester"]

SUITE = """
def test_latency(assert_latency):
    report = assert_latency({current!r}, baseline={baseline!r}, tolerance=0.9, seconds=0.5)
    assert report.latency is not None
"""


@pytest.fixture
def suite(pytester, tmp_path, monkeypatch):
    monkeypatch.setattr("depthopt.check.figures.peak_memory_bytes", lambda *_: None)

    def run(baseline, current):
        models = {
            name: str(convolutions(tmp_path / f"{name}.onnx", count))
            for name, count in (("baseline", baseline), ("current", current))
        }
        pytester.makepyfile(SUITE.format(**models))
        return pytester.runpytest_inprocess()

    return run


def test_a_test_passes_or_fails_with_its_network(suite):
    suite(4, 4).assert_outcomes(passed=1)


def test_a_slower_network_fails_its_test_with_the_reason(suite):
    result = suite(4, 24)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*regression: slower by*tolerance 90.0%*"])
