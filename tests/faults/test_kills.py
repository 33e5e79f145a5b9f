"""SIGKILL at random moments: a run that is started again ends as one that nobody disturbed.

``pytest tests/faults -m faults``; the seeds are the tests' names.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from depthopt.core.artefacts import load_json
from depthopt.pipeline.folder import Manifest
from depthopt.pipeline.run import STAGE_NAMES
from depthopt.tables.latency import LatencyTable
from tests.faults.runs import (
    MEASURED,
    OUT,
    Job,
    Kills,
    begin_at,
    difference,
    files,
    fill_given,
    finish,
)

pytestmark = pytest.mark.faults


def seconds(undisturbed: Path, stage: str) -> float:
    """What a stage took in the undisturbed run."""
    found = load_json(Manifest, undisturbed / OUT / "manifest.json").stages[stage].seconds
    assert found is not None
    return found


@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_with_a_given_table_all_ends_the_same(
    stage: str,
    undisturbed: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Seven kills in a stage, the last six of runs that go on from what the one before left."""
    kills = Kills(f"given table, {stage}")
    folder, length = begin_at(undisturbed, stage, tmp_path / "run"), seconds(undisturbed, stage)
    while kills.by_stage.total() < 7 or kills.by_stage[stage] < 5:
        if not kills.one(Job(folder), stage, length):  # it had ended, or was past the stage
            begin_at(undisturbed, stage, folder)
    finish(Job(folder))
    assert difference(undisturbed, folder) == []
    record_property("summary", kills)


@pytest.mark.parametrize("stage", ["profile", "estimate", "solve", "result"])
def test_with_a_measured_table_nothing_that_is_stored_is_timed_again(
    stage: str,
    measured: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    kills, wanted = Kills(f"measured table, {stage}"), 15 if stage == "profile" else 5
    folder, length = begin_at(measured, stage, tmp_path / "run"), seconds(measured, stage)
    table = folder / OUT / "latency.json"
    whole = load_json(LatencyTable, measured / OUT / "latency.json")
    job, known, parts, grown = Job(folder, MEASURED), dict[object, object](), 0, 0
    while kills.by_stage.total() < wanted:
        if not kills.one(job, stage, length):
            begin_at(measured, stage, folder)
            known = {}
        if table.exists():
            found = load_json(LatencyTable, table)
            assert known.items() <= found.entries.items(), "what was stored is as it was"
            parts += 0 < len(found.entries) < len(whole.entries)
            grown += len(found.entries) > len(known)
            known = dict(found.entries)
    finish(job)
    found = load_json(LatencyTable, table)
    assert known.items() <= found.entries.items()
    assert found.entries.keys() == whole.entries.keys()
    assert found.networks.keys() == whole.networks.keys()
    assert files(folder / OUT).keys() == files(measured / OUT).keys(), "nothing is left over"
    if stage == "profile":
        assert parts > 2, "kills fell between entries"
        assert grown, "kills left what was stored"
    record_property("summary", f"{kills}; tables left in part {parts}, grown {grown}")


OF_PAPERS = (
    "importance.train_images=64",
    "importance.score_images=64",
    "importance.train.batch_size=32",
    "finetune.epochs=2",
    "finetune.batch_size=32",
)


@pytest.mark.parametrize(("method", "speedup"), [("layermerge", 1.2), ("depth", 0.9)])
def test_the_papers_methods_end_the_same_after_kills(
    method: str,
    speedup: float,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    budget = f"budget={{speedup: {speedup}}}"
    overrides, undisturbed = (f"method={method}", budget, *OF_PAPERS), tmp_path / "undisturbed"
    undisturbed.mkdir()
    fill_given(undisturbed, overrides)
    kills = Kills(method)
    for stage in ("estimate", "finetune"):
        folder = begin_at(undisturbed, stage, tmp_path / stage)
        job, length = Job(folder, overrides), seconds(undisturbed, stage)
        while kills.by_stage[stage] < 3:
            if not kills.one(job, stage, length):
                begin_at(undisturbed, stage, folder)
        finish(job)
        assert difference(undisturbed, folder) == []
    record_property("summary", kills)
