"""Runs of several processes: what only one of them may do."""

import pytest
from accelerate import PartialState

from depthopt.errors import UsageError
from depthopt.pipeline.processes import Processes


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of two processes finds its environment, but for the other."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(PartialState, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(PartialState, "num_processes", 2, raising=False)


@pytest.mark.usefixtures("launched")
def test_a_training_of_the_main_process_alone_is_refused_among_several() -> None:
    with pytest.raises(
        UsageError, match=r"trials.steps trains in one .* 2 were .*`depthopt solve`"
    ):
        Processes().require_one("solve", "trials.steps")


def test_a_single_process_may_do_all() -> None:
    Processes().require_one("solve", "trials.steps")
