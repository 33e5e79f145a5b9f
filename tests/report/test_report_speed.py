"""Reports of networks of real size: seconds and bytes; ``--log-cli-level=INFO`` shows them.

Seconds are the process's own, on the processor: a busy machine shall not fail this.
"""

import logging
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.models.timm import create_timm_model
from tests.report.run_folder import write_run

pytestmark = [pytest.mark.slow, pytest.mark.timed]


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet101"])
def test_a_report_takes_less_than_five_seconds_and_six_megabytes(name: str, tmp_path: Path) -> None:
    chain = extract(create_timm_model(name, {}), (3, 224, 224), name=name)
    found = candidates(chain, kinds=("drop", "fit", "merge"), max_length=12)
    frontier = write_run(tmp_path, chain, found)
    before = _seconds()
    command = [sys.executable, "-m", "depthopt", "report", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    seconds, size = _seconds() - before, (tmp_path / "report" / "report.html").stat().st_size
    found_in = f"{name}: {len(frontier.points)} plans, {seconds:.2f} s, {size / 1e6:.2f} MB"
    logging.getLogger(__name__).info(found_in)
    assert seconds < 5, found_in
    assert size < 6e6, found_in


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
