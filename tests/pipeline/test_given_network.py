"""Runs of a user's own network: of a file, with a checkpoint, or given in memory."""

from pathlib import Path

import pytest
import torch
from torch import nn

from depthopt.core.artefacts import load_json
from depthopt.core.chain import Chain
from depthopt.errors import ArtefactError, DepthoptError, UsageError
from depthopt.export.saved import load, load_saved
from depthopt.models.registry import create_model
from depthopt.pipeline.dry_run import dry_run
from depthopt.pipeline.recipe import Recipe, load_recipe
from depthopt.pipeline.run import run
from depthopt.pipeline.stages import STAGES
from tests.pipeline.small_run import Log
from tests.user_models import write_model

RECIPE = """
model: {{name: "{name}", input_size: [1, 16, 16]{more}}}
data: {{source: digits, calibration_images: 128}}
teacher: {{steps: 4, checkpoint_every_s: 0}}
budget: {{speedup: 1.2}}
"""
FILE = "my_model.py:build"


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def recipe(name: str, more: str = "", folder: Path = Path()) -> Recipe:
    path = folder / "r.yaml"
    path.write_text(RECIPE.format(name=name, more=more))
    return load_recipe(path)


def network() -> nn.Module:
    return create_model("small:residual", {"channels": 1, "outputs": 10})


def checkpoint(outputs: int = 10) -> None:
    made = create_model("small:residual", {"channels": 1, "outputs": outputs})
    torch.save({"state_dict": made.state_dict()}, "w.pth")


def test_a_recipe_with_code_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    write_model(tmp_path)
    for what in (run, dry_run):
        with pytest.raises(UsageError, match=r"would run the file .*my_model.py .*--allow-code"):
            what(recipe(FILE), tmp_path / "out")
    assert not (tmp_path / "my_model.ran").exists()
    assert not (tmp_path / "out").exists()


def test_a_file_is_found_beside_its_recipe_and_a_change_redoes_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "there"
    file, out = write_model(place), tmp_path / "out"
    log = Log()
    made = run(recipe(FILE, folder=place), out, until="extract", reporter=log, allow_code=True)
    assert log.done == ["teacher", "extract"]
    assert made.teacher.fc.out_features == 10
    first = load_json(Chain, out / "chain.json").model
    assert first.startswith("my_model.py:build-")

    # What the run keeps as its own recipe finds the file, and finds all done.
    log = Log()
    again = load_recipe(out / "recipe.yaml")
    assert again.model.name == "../there/my_model.py:build"
    run(again, out, until="extract", reporter=log, allow_code=True)
    assert log.done == []

    file.write_text(file.read_text().replace("width=8", "width=9"))
    log = Log()
    run(recipe(FILE, folder=place), out, until="extract", reporter=log, allow_code=True)
    assert log.done == ["teacher", "extract"]
    assert load_json(Chain, out / "chain.json").model != first
    assert [m for m in caplog.messages if "my_model.py has changed since" in m]


def test_a_recipe_that_names_another_digest_of_the_file_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_model(tmp_path)
    found = recipe(FILE, ", sha256: " + "ab" * 32)
    assert "my_model.py is not the file that the recipe was written for" in caplog.messages[0]
    assert found.model.sha256 == recipe(FILE).model.sha256


def test_keys_of_later_versions_change_no_digest() -> None:
    given = recipe("resnet18").model_dump(mode="json")["model"]
    assert given["sha256"] is None
    for stage in STAGES:
        assert "sha256" not in str(stage.settings(recipe("resnet18")))


def test_a_checkpoint_is_loaded_and_it_is_said(tmp_path: Path) -> None:
    checkpoint()
    made = run(recipe("small:residual", ", checkpoint: w.pth"), tmp_path / "out", until="teacher")
    state = torch.load("w.pth")["state_dict"]
    assert torch.equal(made.teacher.state_dict()["fc.weight"], state["fc.weight"])


class _Summaries(Log):
    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, str] = {}

    def finished(self, stage: str, seconds: float, summary: str) -> None:
        super().finished(stage, seconds, summary)
        self.said[stage] = summary


@pytest.mark.parametrize(("outputs", "verb"), [(10, "loaded"), (4, "trained")])
def test_a_new_head_is_trained(outputs: int, verb: str, tmp_path: Path) -> None:
    checkpoint(outputs)
    log, given = _Summaries(), recipe("small:residual", ", checkpoint: w.pth")
    run(given, tmp_path / "out", until="teacher", reporter=log)
    assert log.said["teacher"].startswith("w.pth: took state_dict of")
    assert f"; {verb}, accuracy" in log.said["teacher"].replace(f"{verb}, ", f"{verb}, accuracy ")
    stages = {stage.stage: stage for stage in dry_run(given, tmp_path / "other").stages}
    assert ("steps of" in stages["teacher"].what) == (verb == "trained")


def test_another_networks_checkpoint_ends_the_run(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), "w.pth")
    with pytest.raises(ArtefactError, match=r"w.pth does not fit small:residual: 0 of its 2"):
        run(recipe("small:residual", ", checkpoint: w.pth"), tmp_path / "out")


def test_a_network_in_memory_is_asked_for_again_and_no_other_is_taken(tmp_path: Path) -> None:
    torch.manual_seed(0)
    given, other, out = network(), network(), tmp_path / "out"
    made = run(recipe("memory"), out, until="extract", model=given)
    name = made.recipe.model.name
    assert name.startswith("memory:Sequential-")
    assert torch.equal(made.teacher.fc.weight, given.fc.weight)
    assert made.teacher.fc.weight.data_ptr() != given.fc.weight.data_ptr()

    log = Log()
    run(recipe("memory"), out, until="extract", reporter=log, model=given)
    run(load_recipe(out / "recipe.yaml"), out, until="extract", reporter=log, model=given)
    assert log.done == []
    with pytest.raises(UsageError, match=f"{name} was given in memory: give it again"):
        run(load_recipe(out / "recipe.yaml"), out)
    with pytest.raises(UsageError, match=f"expected {name}: its structure or its weights"):
        run(load_recipe(out / "recipe.yaml"), out, model=other)
    with pytest.raises(UsageError, match=f"out is of the network {name}, given now is memory:"):
        run(recipe("memory"), out, model=other)
    with pytest.raises(UsageError, match="names the network small:residual, and one is given"):
        run(recipe("small:residual"), out, model=given)


@pytest.mark.timed
@pytest.mark.usefixtures("hasty_bench")
def test_a_whole_run_is_saved_and_loads_with_the_original_at_hand(tmp_path: Path) -> None:
    write_model(tmp_path)
    quick = ["finetune.steps=3", "importance.images=256", "apply.images=320", "budget.cost=0.5"]
    quick += ["candidates.kinds=[fit]", "candidates.kernel_sizes=[1]", "candidates.max_length=2"]
    (tmp_path / "r.yaml").write_text(RECIPE.format(name=FILE, more=""))
    loaded = load_recipe(tmp_path / "r.yaml", ["budget.speedup=null", *quick])
    fused = tmp_path / "out" / "fused"
    made = run(loaded, fused.parent, until="fuse", allow_code=True)
    images = torch.randn(2, 1, 16, 16)
    wanted = made.network("fused")(images)

    with pytest.raises(UsageError, match=r"never runs code .*load\(FOLDER, model=build"):
        load(fused)
    assert torch.equal(load(fused, model=create_model(FILE, {}, allow_code=True))(images), wanted)
    assert load_saved(fused).arguments["outputs"] == 10
    with pytest.raises(DepthoptError):
        load(fused, model=lambda: nn.Sequential(nn.Conv2d(1, 2, 3)))
