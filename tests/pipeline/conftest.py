"""One small run a session, that tests read, change and go on from in copies of their own."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from depthopt.latency.measure import Effort, time_in_turn
from depthopt.latency.pick import pick_measured
from depthopt.pipeline import measure, picking
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import STAGE_NAMES, run
from tests.pipeline.small_run import Log, write_recipe


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are timed for a moment only: no test here asks how fast one is."""
    effort = Effort(seconds=0.5, warmup_s=0.1)
    monkeypatch.setattr(measure, "time_in_turn", partial(time_in_turn, effort=effort))
    monkeypatch.setattr(picking, "pick_measured", partial(pick_measured, effort=effort))


@pytest.fixture
def finished(make_once: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """A recipe, and the test's own copy of the folder of its finished run."""

    def fill(folder: Path) -> None:
        log = Log()
        run(load_recipe(write_recipe(folder)), folder / "out", reporter=log)
        assert tuple(log.done) == STAGE_NAMES

    made = make_once("small-run", fill)
    return made / "small.yaml", shutil.copytree(made / "out", tmp_path / "finished")
