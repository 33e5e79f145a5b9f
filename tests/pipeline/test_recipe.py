from pathlib import Path

import pytest
import timm

from depthopt.errors import RecipeError
from depthopt.pipeline.recipe import load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"


def test_there_are_recipes() -> None:
    networks = ["mobilenetv2_100", "mobilenetv2_140", "resnet34", "resnet50", "efficientnet_lite0"]
    assert {path.stem for path in RECIPES} == {
        "quickstart",
        "mobilenetv2_100_fashion_onnxruntime",
        "resnet18_fashion_onnxruntime",
        "vit_fashion_onnxruntime",
        *(f"deit_{size}_imagenet_onnxruntime" for size in ("small", "base")),
        "unet_scenes_onnxruntime",
        "denoiser_photographs_onnxruntime",
        "resnet18_embedding_onnxruntime",
        *(f"{network}_voc_onnxruntime" for network in ("lraspp", "deeplabv3", "fcn")),
        *(f"{network}_imagenet_{r}" for network in networks for r in ("onnxruntime", "tensorrt")),
        "mobilenetv2_100_imagenet_tensorrt_rtx",
        *(f"{network}_imagenet_layermerge" for network in networks[:3]),
        *(f"{network}_imagenet_depth" for network in ("mobilenetv2_100", "vgg19")),
        *(f"mobilenetv2_100_fashion_{method}" for method in ("layermerge", "depth")),
    }


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_follows_the_schema_and_says_how_to_run_it(path: Path) -> None:
    load_recipe(path)
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(f"depthopt run {path.stem}" in line for line in head)
    assert any(line.startswith("# Prerequisites:") for line in head)
    if "imagenet" in path.stem:
        assert any(line.startswith("# Time:") for line in head)
        shown = timm.get_pretrained_cfg(load_recipe(path).model.name)
        data, paper = load_recipe(path).data, load_recipe(path).method != "depthopt"
        sees = "bilinear" if paper else shown.interpolation  # as the papers' code evaluates
        assert (data.interpolation, data.crop_pct) == (sees, shown.crop_pct)
        assert not paper or "published by the authors, not run by us" in "\n".join(head)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipes_name_says_its_method_or_its_runtime(path: Path) -> None:
    recipe = load_recipe(path)
    said = recipe.latency.runtime if recipe.method == "depthopt" else recipe.method
    assert path.stem == "quickstart" or path.stem.endswith(f"_{said}")
    on_gpu = "_tensorrt" in path.stem or (said == recipe.method and "imagenet" in path.stem)
    assert (recipe.latency.device == "cuda") == on_gpu


def test_overrides_are_yaml_values() -> None:
    recipe = load_recipe(
        QUICKSTART, ["budget.speedup=3", "candidates.kernel_sizes=[1, 3]", "finetune.epochs=2"]
    )
    assert recipe.budget.speedup == 3
    assert recipe.candidates.kernel_sizes == (1, 3)
    assert recipe.finetune.epochs == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.sped=3", r"unknown key budget.sped; did you mean speedup\?"),
        ("finetune.epoch=3", r"unknown key finetune.epoch; did you mean epochs\?"),
        ("latency.build.workspace=3", r"unknown key latency.build.workspace; did you mean work"),
        ("latency.build.optimization_level=6", r"optimization_level: .*less than or equal to 5"),
        ("modle.name=x", r"unknown key modle; did you mean model\?"),
        ("budget.ms=3", "give exactly one of speedup, ms, cost"),
        ("trials.steps=-1", "trials.steps: Input should be greater than or equal to 0"),
        ("finetune.epochs=0", r"finetune.epochs: .*greater than 0"),
        ("model.input_size=[1, 32]", r"model.input_size"),
        ("finetune", "not of the form key.path=value"),
        ("model.name.first=x", "name is not a section"),
        ("budget.speedup=[1", "is not a YAML value"),
    ],
)
def test_mistakes_are_told_in_one_line(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(QUICKSTART, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("budget", ["{speedup: 2, measured: false}", "{cost: 0.5}"])
def test_trials_need_a_budget_that_is_measured(budget: str) -> None:
    with pytest.raises(RecipeError, match=r"yaml: trials\.steps needs a budget .* by measuring"):
        load_recipe(QUICKSTART, [f"budget={budget}", "trials.steps=50"])
    assert load_recipe(QUICKSTART, [f"budget={budget}"]).trials.steps == 0


def test_unreadable_recipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe(tmp_path / "none.yaml")
    path = tmp_path / "bad.yaml"
    path.write_text("model: [")
    with pytest.raises(RecipeError, match=r"bad\.yaml cannot be read"):
        load_recipe(path)
    path.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(RecipeError, match=r"bad\.yaml cannot be read"):
        load_recipe(path)
    path.write_text("just words")
    with pytest.raises(RecipeError, match="holds no mapping"):
        load_recipe(path)
    path.write_text("model: {name: resnet18, input_size: [1, 32, 32]}\nbudget: {speedup: 2}")
    with pytest.raises(RecipeError, match="data is missing"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("latency.batch=true", "latency.batch: .* not a boolean"),
        ("finetune.epochs=true", "finetune.epochs: .* not a boolean"),
        ("importance.ridges=[]", "importance.ridges: .* at least 1 item"),
        ("importance.ridges=[.inf]", "importance.ridges.0: .* finite"),
        ("seed=1" + "0" * 30, "seed: .* less than or equal"),
        ("seed=-1", "seed: .* greater than or equal to 0"),
        ("data.std=[0]", "data.std.0: .* greater than 0"),
        ("data.mean=[.nan]", "data.mean.0: .* finite"),
        ("finetune.mixup=.inf", "finetune.mixup: .* finite"),
        ("finetune.weight_decay=.inf", "finetune.weight_decay: .* finite"),
        ("model.input_size=[3,100000,100000]", "model.input_size: .* more than"),
        ("model.arguments={a: .nan}", "model.arguments.a"),
        ("latency.build.workspace_mib=true", "workspace_mib: .* not a boolean"),
        ("seed=0x" + "f" * 9000, "got a number of thousands of digits"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(QUICKSTART, [override])


def test_a_key_that_comes_twice_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(QUICKSTART.read_text() + "\nseed: 1\nseed: 2\n")
    with pytest.raises(RecipeError, match=r"the key 'seed' on line \d+ is on line \d+ already"):
        load_recipe(path)


def test_a_bomb_of_aliases_is_one_short_line(tmp_path: Path) -> None:
    lines = ["a0: &a0 x"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    path = tmp_path / "r.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(RecipeError, match="aliases stand for more than") as caught:
        load_recipe(path)
    assert len(str(caught.value)) < 300
    path.write_text("model: " + "x" * 200_000)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert len(str(caught.value)) < 1000
