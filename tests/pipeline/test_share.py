"""What a new run takes over from another one, and what it leaves alone."""

import shutil
from pathlib import Path

import pytest

from depthopt.cli.main import main
from depthopt.core.artefacts import load_json
from depthopt.errors import UsageError
from depthopt.pipeline.folder import RunFolder
from depthopt.pipeline.lock import lock, reading
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.share import SHARED, share
from depthopt.tables.latency import LatencyTable


@pytest.fixture
def recipe(finished: tuple[Path, Path]) -> Path:
    return finished[1] / "recipe.yaml"


def shared(recipe: Path, new: Path, *overrides: str) -> tuple[str, ...]:
    return share(recipe.parent, RunFolder(new), load_recipe(recipe, overrides))


def test_a_new_run_takes_the_tables_and_the_original_and_no_plan(
    recipe: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    assert shared(recipe, new, "budget={speedup: 1.2}", "finetune.epochs=5") == SHARED
    found, old = RunFolder(new).manifest, RunFolder(recipe.parent).manifest
    assert found.stages == {name: old.stages[name] for name in SHARED}
    assert not {"plan.json", "frontier.json", "result.json"} & {p.name for p in new.iterdir()}
    shutil.rmtree(recipe.parent)
    assert load_json(LatencyTable, new / "latency.json").entries
    assert (new / "teacher.safetensors").stat().st_nlink == 1
    assert not (new / "teacher.safetensors").is_symlink()


def test_what_was_explored_goes_along_where_all_tables_hold(recipe: Path, tmp_path: Path) -> None:
    (recipe.parent / "explored.json").write_text("{}")
    shared(recipe, tmp_path / "a", "budget={speedup: 1.2}")
    assert (tmp_path / "a" / "explored.json").read_text() == "{}"
    shared(recipe, tmp_path / "b", "importance.images=128")
    assert not (tmp_path / "b" / "explored.json").exists()


def test_what_is_there_already_is_not_taken_again(recipe: Path, tmp_path: Path) -> None:
    shared(recipe, tmp_path / "new")
    assert shared(recipe, tmp_path / "new") == ()


def test_what_does_not_hold_is_left_and_said(
    recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert shared(recipe, tmp_path / "a", "teacher.steps=11") == ()
    assert "the stage teacher has other settings" in caplog.messages[-1]
    assert shared(recipe, tmp_path / "b", "candidates.max_length=3") == ("teacher",)
    assert RunFolder(tmp_path / "b").begun("profile"), "latencies are a table to go on from"
    assert (tmp_path / "b" / "latency.json").exists()
    (recipe.parent / "importance.json").write_text("cut")
    assert shared(recipe, tmp_path / "c") == SHARED[:3]


def test_a_folder_that_cannot_be_taken_from_is_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is the run's own folder"):
        shared(recipe, recipe.parent / ".." / recipe.parent.name)
    with pytest.raises(UsageError, match="is not a run's folder"):
        share(tmp_path / "nowhere", RunFolder(tmp_path / "new"), load_recipe(recipe))
    with lock(recipe.parent), pytest.raises(UsageError, match="is in use by process"):
        shared(recipe, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_readers_share_a_folder_and_write_nothing(tmp_path: Path) -> None:
    with reading(tmp_path), reading(tmp_path):
        assert list(tmp_path.iterdir()) == []
    (tmp_path / ".lock").write_text("of a process that was killed")
    with reading(tmp_path), reading(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "of a process that was killed"


def test_the_command_takes_over_and_refuses_in_one_line(
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    new = tmp_path / "new"
    words = ("depthopt", "run", recipe, "--from", tmp_path / "nowhere", "--run-dir", new)
    monkeypatch.setattr("sys.argv", [*map(str, words)])
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("nowhere is not a run's folder: no stage was begun in it")
    assert not new.exists()
