"""The benchmark of false alarms and power runs, and goes on where it was stopped."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "check_power.py"


@pytest.mark.timed
@pytest.mark.slow
def test_the_benchmark_runs_and_resumes(tmp_path):
    out = tmp_path / "power.json"
    quick = ("--size", "32", "--seconds", "0.3", "--calibration-seconds", "0.3")

    def run(checks):
        command = [sys.executable, str(SCRIPT), "--checks", str(checks), "--out", str(out), *quick]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(out.read_text()), done.stdout

    first, table = run(1)
    assert "| equal, loaded | none | 2 |" in table
    assert set(first["truth"]) == {"0.08", "0.02"}
    second, table = run(2)
    assert "| equal, loaded | none | 4 |" in table
    for case, found in first["outcomes"].items():
        assert second["outcomes"][case][: len(found)] == found
