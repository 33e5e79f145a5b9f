"""What earlier versions called otherwise is read, and a line says what it is called now."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from depthopt.cli.main import main
from depthopt.core import old_words
from depthopt.core.artefacts import SCHEMA_VERSION, load_json, save_json
from depthopt.core.plan import Plan
from depthopt.errors import RecipeError, UsageError
from depthopt.export.saved import SavedModel
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate
from depthopt.pipeline.folder import Manifest, RunFolder, StageRecord
from depthopt.pipeline.recipe import Recipe, load_recipe, recipe_yaml
from depthopt.pipeline.stages import STAGES
from depthopt.report.reading import read_run
from depthopt.shallow.build import build
from depthopt.tables.importance import ImportanceTable
from tests.networks import Residual
from tests.plans import plan_of

VERSION_1 = Path(__file__).parents[1] / "golden" / "version_1"

RECIPE = {
    "model": {"name": "resnet18", "input_size": [1, 32, 32]},
    "data": {"source": "digits"},
    "budget": {"speedup": 2},
}
FIT = "importance.estimator 'fit' is now called 'regression'"
MERGED = "apply.form 'merged' is now called 'fused'"


@pytest.fixture(autouse=True)
def _as_in_a_new_process(caplog: pytest.LogCaptureFixture) -> None:
    """Each line is said once a process."""
    old_words._tell.cache_clear()
    caplog.set_level(logging.WARNING, old_words.logger.name)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == old_words.logger.name]


def recipe(folder: Path, *overrides: str, **sections: Any) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **sections}))
    return load_recipe(path, overrides)


def write(folder: Path, kind: str, body: dict[str, Any], version: int = SCHEMA_VERSION) -> Path:
    path = folder / "file.json"
    path.write_text(json.dumps({"type": kind, "schema_version": version, **body}))
    return path


def test_a_recipes_old_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = recipe(tmp_path, importance={"estimator": "fit"}, apply={"form": "merged"})
    assert said(caplog) == [FIT, MERGED]
    assert old == recipe(tmp_path, importance={"estimator": "regression"}, apply={"form": "fused"})
    assert old == recipe(tmp_path), "both are the defaults"
    assert said(caplog) == [FIT, MERGED], "nothing is said of new words"
    assert "merged" not in recipe_yaml(old)
    assert "estimator: fit" not in recipe_yaml(old)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("importance.estimator=fit", FIT),
        ("apply.form=merged", MERGED),
        ("apply={form: merged, images: 9}", MERGED),
    ],
)
def test_an_overrides_old_word(
    override: str, line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = recipe(tmp_path, override, importance={"estimator": "magnitude"})
    assert said(caplog) == [line]
    assert "fit" not in found.importance.estimator
    assert found.apply.form == "fused"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"importance": {"estimator": "fits"}}, r"importance\.estimator: Input"),
        ({"importance": {"estimator": ["fit"]}}, r"importance\.estimator: Input"),
        ({"importance": "fit"}, r"importance: Input"),
        ({"apply": None}, r"apply: Input"),
        ({"apply": {"merged": True}}, r"unknown key apply\.merged"),
    ],
)
def test_what_is_no_old_word_is_refused_as_ever(
    sections: dict[str, Any], message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(tmp_path, **sections)
    assert said(caplog) == []


def test_kinds_are_called_as_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = recipe(tmp_path, candidates={"kinds": ["fit", "merge"]})
    assert found.candidates.kinds == ("fit", "merge")
    assert said(caplog) == []


@pytest.mark.parametrize("version", [1, 2])
def test_an_importance_tables_estimator(
    version: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"model": "net", "estimator": "fit", "images": 9, "entries": {}}
    path = write(tmp_path, "ImportanceTable", body, version)
    assert load_json(ImportanceTable, path) == ImportanceTable("net", "regression", 9)
    load_json(ImportanceTable, path)
    assert said(caplog) == ["an importance table's estimator 'fit' is now called 'regression'"]
    save_json(ImportanceTable("net", "magnitude"), path)
    assert load_json(ImportanceTable, path).estimator == "magnitude"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("old", "form", "fused"),
    [
        ({"form": "merged", "merged": True}, "fused", True),
        ({"form": "merged", "merged": False}, "fused", False),
        ({"form": "expanded", "merged": True}, "expanded", True),
        ({"form": "merged"}, "fused", False),
    ],
)
def test_a_saved_networks_form(
    version: int,
    old: dict[str, Any],
    form: str,
    fused: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan = {
        "model": "net", "input_size": [1, 8, 8], "choices": [], "latency_ms": 1.0,
        "original_ms": 2.0, "cost": 0.0,
    }  # fmt: skip
    body = {"name": "net", "arguments": {}, "plan": plan, **old}
    found = load_json(SavedModel, write(tmp_path, "SavedModel", body, version))
    assert (found.form, found.fused) == (form, fused)
    assert said(caplog) == ["a saved network's form 'merged' is now called 'fused'"]
    save_json(found, tmp_path / "file.json")
    assert "merged" not in (tmp_path / "file.json").read_text()
    assert load_json(SavedModel, tmp_path / "file.json") == found


def test_a_manifests_stage_and_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    applied = {"made_from": "a", "outputs": {"shallow/model.json": "1", "shallower.json": "2"}}
    fused = {"made_from": "b", "outputs": {"fused/model.json": "3"}}
    body = {
        "stages": {"apply": applied, "merge": fused, "export": {"made_from": "c", "outputs": {}}},
        "started": {"apply": "a", "merge": "b"},
    }
    found = load_json(Manifest, write(tmp_path, "Manifest", body))
    assert list(found.stages) == ["apply", "fuse", "export"]
    assert found.started == {"apply": "a", "fuse": "b"}
    outputs = {"applied/model.json": "1", "shallower.json": "2"}
    assert found.stages["apply"] == StageRecord("a", outputs)
    assert said(caplog) == ["the stage 'merge' is now called 'fuse'"]


def test_a_run_folders_files_lie_where_they_were_put(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path)
    assert folder.file("applied/model.json") == tmp_path / "applied" / "model.json"
    assert said(caplog) == []
    (tmp_path / "shallow").mkdir()
    assert folder.file("applied/model.json") == tmp_path / "shallow" / "model.json"
    assert folder.file("applied") == tmp_path / "shallow"
    assert folder.file("fused/model.json") == tmp_path / "fused" / "model.json"
    assert said(caplog) == ["the folder 'shallow' is now called 'applied'"]
    (tmp_path / "applied").mkdir()
    assert folder.file("applied/model.json") == tmp_path / "applied" / "model.json"


def old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Recipe, RunFolder]:
    """A finished run of an earlier version, in the working folder."""
    shutil.copytree(VERSION_1 / "run", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return load_recipe(Path("small.yaml")), RunFolder(Path("out"))


def test_all_of_a_finished_runs_stages_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, folder = old_run(tmp_path, monkeypatch)
    assert "merge" in (tmp_path / "out" / "manifest.json").read_text()
    for stage in STAGES:
        made_from = folder.digest(stage.settings(found), stage.inputs)
        assert folder.is_done(stage.name, made_from, stage.outputs), stage.name


def test_what_changes_the_result_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digests in old words tell settings apart as well as any."""
    _, folder = old_run(tmp_path, monkeypatch)

    def holds(name: str, override: str) -> bool:
        changed = load_recipe(Path("small.yaml"), [override])
        stage = next(stage for stage in STAGES if stage.name == name)
        return folder.is_done(name, folder.digest(stage.settings(changed), stage.inputs))

    for name in ("estimate", "apply"):
        assert holds(name, "apply.form=fused")
        assert not holds(name, "apply.form=expanded")
    assert holds("estimate", "importance.estimator=regression")
    assert not holds("estimate", "importance.estimator=magnitude")


def test_a_run_of_before_is_reported_in_new_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_run(tmp_path, monkeypatch)
    found = read_run(Path("out"))
    assert [*found.manifest.stages] == [stage.name for stage in STAGES]
    assert found.importance is not None
    assert found.importance.estimator == "regression"
    assert found.notes == ()


def test_the_command_by_its_old_name_names_the_new_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["depthopt", "merge", "recipe.yaml"])
    with pytest.raises(SystemExit, match="2"):
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "depthopt: the command 'merge' is now called 'fuse'; run `depthopt fuse`"


def test_python_takes_new_words_alone() -> None:
    """An old one that were taken for something else would change what is computed."""
    model = Residual()
    chain = extract(model, (2, 16, 16), name="Residual")
    plan: Plan = plan_of(chain)
    for call in (
        lambda: build(model, chain, plan, "merged"),
        lambda: estimate(model, chain, (), form="merged"),
        lambda: estimate(model, chain, (), estimator="fit"),
    ):
        with pytest.raises(UsageError, match="is unknown; known: "):
            call()


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_run_that_says_nothing_of_held_out_images_is_as_one_that_said_512(stage: Any) -> None:
    said = {**RECIPE, "data": {"source": "digits", "calibration_images": 512}}
    settings = [stage.settings(Recipe.model_validate(each)) for each in (RECIPE, said)]
    assert settings[0] == settings[1]
