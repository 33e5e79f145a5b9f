"""Recipes looked through: what they need, what they will take, and what would stop them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from depthopt.cli.main import main
from depthopt.cli.options import console
from depthopt.cli.show import show_dry_run
from depthopt.core.workload import Workload
from depthopt.models.registry import create_model, model_arguments
from depthopt.models.weights import save_weights
from depthopt.pipeline.dry_run import Speed, dry_run
from depthopt.pipeline.recipe import load_recipe
from tests.pipeline.small_run import NAME, SIZE, write_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
SLOW = {
    "vgg19_imagenet_depth",
    "resnet34_imagenet_layermerge",
    "mobilenetv2_140_imagenet_layermerge",
}
"""The papers' larger networks, whose recipes differ from the smallest one's in numbers only."""
IMAGENET = sorted(p for p in RECIPES.glob("*_imagenet_*.yaml") if p.stem not in SLOW)


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like ImageNet but for its size."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 20), ("val", 4)):
        for synset in ("n01440764", "n02102040"):
            folder = root / "imagenet" / split / synset
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (40, 30), (5 * i, 90, 200)).save(folder / f"{i}.JPEG")
    return root


@pytest.mark.parametrize("path", IMAGENET, ids=lambda path: path.stem)
def test_imagenet_recipes_dry_run_on_two_classes(
    path: Path, two_classes: Path, tmp_path: Path
) -> None:
    overrides = [
        f"data.root={two_classes}",
        "data.calibration_images=8",
        "model.input_size=[3,32,32]",
    ]
    if path.stem.startswith("deit"):  # whose embedding of positions has one size
        overrides.append("model.arguments={img_size: 32}")
    recipe = load_recipe(path, overrides)
    found = dry_run(recipe, tmp_path / "run", batch=2)
    missing = recipe.latency.device == "cuda" and not torch.cuda.is_available()
    if missing:
        (problem,) = found.problems
        assert f"runtime {recipe.latency.runtime!r} needs an NVIDIA GPU" in problem
        assert "\n" not in problem
    else:
        assert found.problems == ()
    assert found.images == {"train": 32, "calibration": 8, "test": 8}
    assert found.outputs == 2
    assert (found.entries is None) == missing
    stages = {stage.stage: stage for stage in found.stages}
    assert (stages["profile"].seconds is None) == (recipe.latency.device == "cuda")
    for name in ("teacher", "estimate", "apply", "finetune"):
        assert not stages[name].done
        assert stages[name].seconds is not None
        assert stages[name].seconds > 0
    assert "from timm's weights" in stages["teacher"].what, "two classes need a new head"
    assert stages["result"].what == "24 forward passes"
    assert not (tmp_path / "run").exists()


def test_all_problems_are_listed_together(tmp_path: Path) -> None:
    overrides = ["data.source=folder:nowhere", "latency.runtime=tensort"]
    found = dry_run(load_recipe(RECIPES / "quickstart.yaml", overrides), tmp_path / "run")
    assert len(found.problems) == 2
    assert "unknown runtime 'tensort'" in found.problems[0]
    assert "nowhere does not exist" in found.problems[1]
    assert all("\n" not in problem for problem in found.problems)
    stages = {stage.stage: stage for stage in found.stages}
    assert stages["profile"].seconds is None
    assert stages["finetune"].seconds is None
    assert stages["estimate"].seconds > 0


def test_trials_are_forecast_with_the_plans_that_they_carry_out(tmp_path: Path) -> None:
    recipe = RECIPES / "quickstart.yaml"
    found = dry_run(load_recipe(recipe, ["trials.steps=500"]), tmp_path / "run", batch=2)
    stages = {stage.stage: stage for stage in found.stages}
    assert stages["solve"].seconds > 5 * stages["apply"].seconds > 0
    assert "at most 6 of them carried out and finetuned for 500 steps" in stages["solve"].what
    untrained, measured = (
        next(stage for stage in found.stages if stage.stage == "solve")
        for found in (
            dry_run(load_recipe(recipe, said), tmp_path / "run", batch=2)
            for said in ([], ["pick=measured"])
        )
    )
    assert 0 < untrained.seconds < stages["solve"].seconds  # the pace is measured for each
    assert untrained.what.endswith("at most 6 of them carried out")
    assert measured.seconds is None


def test_work_takes_what_the_speeds_of_this_machine_make_of_it() -> None:
    speed = Speed(forward_s=0.5, step_s=2.0, step_bytes=1e9, macs64=100.0)
    work = Workload(forward_images=4, trained_images=3, macs64=50, clock_s=0.25)
    assert speed.of(work) == (4 * 0.5 + 3 * 2.0 + 0.5 + 0.25, None)
    assert speed.of(Workload(memory_bytes=3 * 10**9, kept_images=2)) == (0.0, 5.0)


def test_finished_stages_are_shown_as_done(finished: tuple[Path, Path]) -> None:
    recipe, folder = finished
    shutil.rmtree(folder / "applied")
    found = dry_run(load_recipe(recipe, ["data.workers=0"]), folder)
    done = [stage.stage for stage in found.stages if stage.done]
    assert done == ["teacher", "extract", "profile", "estimate", "solve"]


def test_the_command_prints_it_and_its_exit_code_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["depthopt", "run", *arguments, "--dry-run"])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    recipe = str(write_recipe(tmp_path))
    assert call(recipe, "--json") == 0
    assert json.loads(capsys.readouterr().out)["outputs"] == 10
    assert call(recipe, "model.checkpoint=gone.safetensors") == 1
    assert "problem: model.checkpoint gone.safetensors does not exist" in capsys.readouterr().out


def test_a_checkpoint_is_loaded_judged_and_refused_where_it_does_not_fit(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, folder = finished
    weights = folder / "teacher.safetensors"
    found = dry_run(load_recipe(recipe, [f"model.checkpoint={weights}"]), tmp_path / "new", batch=2)
    assert found.problems == ()
    assert found.original is not None
    assert found.original.images == 128
    assert found.original.chance == pytest.approx(10.2, abs=0.5)
    assert found.contents.startswith("10 classes (0, 1, 2, 3, ...); 1,220 images to train on, 128")
    assert found.inputs == ("input 1x32x32, bilinear; normalised by mean 0.305 and std 0.376")
    show_dry_run(console, found)
    shown = " ".join(capsys.readouterr().out.split())
    assert found.inputs in shown
    assert f"accuracy {found.original.text(found.metric)} on 128 held-out images" in shown
    save_weights(nn.Linear(3, 3), tmp_path / "other.safetensors")
    other = f"model.checkpoint={tmp_path / 'other.safetensors'}"
    (problem,) = dry_run(load_recipe(recipe, [other]), tmp_path / "new", batch=2).problems
    assert "other.safetensors does not fit" in problem
    assert found.original == dry_run(load_recipe(recipe, []), folder, batch=2).original


def test_a_network_that_knows_nothing_is_warned_of(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    model = create_model(NAME, model_arguments(NAME, SIZE, 10))
    save_weights(model, tmp_path / "fresh.safetensors")
    overrides = [f"model.checkpoint={tmp_path / 'fresh.safetensors'}"]
    found = dry_run(load_recipe(finished[0], overrides), tmp_path / "new", batch=2)
    assert found.original is not None
    assert found.original.near_chance
    (warning,) = found.warnings
    assert warning.startswith("the original is not better than chance: ")
    assert found.problems == ()


def test_a_method_is_said_with_what_the_recipe_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path)

    def said(*more: str) -> str:
        words = ["run", "small.yaml", "--method", "layermerge", "--dry-run", *more]
        monkeypatch.setattr("sys.argv", ["depthopt", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        assert not caught.value.code
        return capsys.readouterr().out

    found = json.loads(said("candidates.kinds=[drop]", "--json"))
    assert found["method"] == "layermerge"
    settings = {setting["key"]: setting for setting in found["settings"]}
    kinds, epochs = settings["candidates.kinds"], settings["finetune.epochs"]
    assert (kinds["value"], kinds["own"]) == (["merge"], ["drop"])
    assert (epochs["value"], epochs["own"]) == (180, 2)
    assert "arxiv" not in epochs["where"]
    assert epochs["where"]
    assert any("the recipe drop: the recipe's is taken" in told for told in found["warnings"])
    assert any("ask for 100000 training images" in told for told in found["warnings"])
    text = said()
    assert "method layermerge sets" in text
    assert "importance.train_images" in text
