"""A glance at what ``-m faults`` looks at for long: a kill a group of stages, a damage a file."""

import os
import random
import shutil
from pathlib import Path

import pytest

from depthopt.core import digests
from depthopt.errors import ArtefactError
from depthopt.export.noted import check_noted
from depthopt.export.saved import load
from depthopt.pipeline.folder import RunFolder
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import run
from depthopt.pipeline.stages import STAGES
from depthopt.report.reading import WRITTEN_BY, read_run
from tests.faults.damage import flip
from tests.pipeline.conftest import finished  # noqa: F401 - the small run of the session

GROUPS = {"tables": ("extract", "solve"), "networks": ("fuse",)}
"""Stages that take a moment. Trainings are stopped in ``tests/train`` and ``tests/pipeline``."""


class _Killed(BaseException):
    """Ends a run at a write, as a kill would."""


def _state(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("group", GROUPS)
def test_killed_at_a_write_and_started_again_it_ends_the_same(
    group: str,
    finished: tuple[Path, Path],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, folder = finished
    undisturbed, last = _state(folder), GROUPS[group][-1]
    for stage in STAGES:
        for output in stage.outputs if stage.name in GROUPS[group] else ():
            (folder / output).unlink()
    real, chance, done = os.fsync, random.Random(group), 0
    kill_at = chance.randrange(2, 6)

    def killed(file: int) -> None:
        nonlocal done
        done += 1
        if done == kill_at:
            raise _Killed
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        # As a kill does, it leaves what is half written.
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(_Killed):
            run(load_recipe(recipe), folder, until=last)
    assert any(name.count(".") > 1 for name in _state(folder).keys() - undisturbed.keys())
    run(load_recipe(recipe), folder, until=last)
    after = _state(folder)
    assert after.items() <= undisturbed.items(), "fuse removes what was exported before"
    assert {output for s in STAGES if s.name in GROUPS[group] for output in s.outputs} <= set(after)


def test_a_flipped_bit_in_any_file_of_a_run_is_noticed(
    finished: tuple[Path, Path],  # noqa: F811
) -> None:
    _, folder = finished
    outputs = [(stage.name, name) for stage in STAGES for name in stage.outputs]
    for stage, name in outputs:
        path, whole = folder / name, (folder / name).read_bytes()
        flip(path, random.Random(name))
        run_folder = RunFolder(folder)
        made_from = run_folder.made_from(stage)
        assert not run_folder.is_done(stage, made_from), name
        assert name in str(run_folder.why_changed(name))
        if name in WRITTEN_BY:
            with pytest.raises(ArtefactError, match="start the run again"):
                read_run(folder)
        path.write_bytes(whole)
        assert run_folder.is_done(stage, made_from)
    flip(folder / "manifest.json", random.Random(3))
    with pytest.raises(ArtefactError, match=r"manifest\.json"):
        RunFolder(folder)
    assert len(outputs) == 18


def _read(saved: Path) -> None:
    check_noted(saved / "model.onnx")
    load(saved)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "model.onnx", "exports.json"])
def test_a_flipped_bit_in_any_file_of_a_saved_network_is_noticed(
    name: str,
    finished: tuple[Path, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = shutil.copytree(finished[1] / "fused", tmp_path / "fused")
    flip(folder / name, random.Random(name))
    digests._tell_of_none.cache_clear()
    with pytest.raises(ArtefactError) as caught:
        _read(folder)
    assert name in str(caught.value) or "model.safetensors" in str(caught.value)
