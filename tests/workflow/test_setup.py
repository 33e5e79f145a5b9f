"""What is chosen for a network and data, and what is refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from depthopt.errors import DepthoptError, RecipeError, UsageError
from depthopt.models.memory import memory_name
from depthopt.workflow.setup import EPOCHS, Setup, set_up
from depthopt.workflow.wish import Wish

CODE = """
from torch import nn

def build(num_classes=7):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes),
    )
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def remarks(setup: Setup) -> dict[str, str]:
    return dict(setup.remarks)


def test_of_a_name_and_a_data_set_all_is_chosen() -> None:
    found = set_up(Wish(model="resnet10t", data="digits"))
    recipe, said = found.recipe, remarks(found)
    assert (recipe.model.input_size, recipe.model.checkpoint) == ((1, 32, 32), None)
    assert recipe.budget.speedup == 2
    assert recipe.data.mean is None
    assert EPOCHS[0] <= recipe.finetune.epochs <= EPOCHS[1]
    assert recipe.teacher.epochs == 2 * recipe.finetune.epochs
    assert "trained first" in said["weights"]
    assert "10 classes" in said["data"]
    assert "mean 0.305 and std 0.376" in said["images"]
    assert not found.runs_code


def test_what_is_asked_for_is_taken() -> None:
    wish = Wish(
        model="resnet10t",
        data="digits",
        speedup=1.5,
        input_size=64,
        epochs=3,
        seed=4,
        overrides=["latency.threads=2", "data.mean=[0.5]"],
    )
    recipe = set_up(wish).recipe
    assert recipe.model.input_size == (1, 64, 64)
    assert (recipe.budget.speedup, recipe.finetune.epochs, recipe.seed) == (1.5, 3, 4)
    assert (recipe.latency.threads, recipe.data.mean) == (2, (0.5,))


def test_a_method_is_taken_and_its_finetune_is_as_long_as_the_data_asks_for() -> None:
    found = set_up(Wish(model="resnet10t", data="digits", overrides=["method=layermerge"]))
    assert found.recipe.candidates.kinds == ("merge",)
    assert found.recipe.finetune.epochs <= EPOCHS[1]
    assert remarks(found)["method"].startswith("layermerge, but for finetune.epochs")
    assert "method" not in remarks(set_up(Wish(model="resnet10t", data="digits")))


def test_weights_are_normalised_for_as_their_source_says(tmp_path: Path) -> None:
    import timm

    path = tmp_path / "mine.pth"
    model = timm.create_model("resnet10t", num_classes=10)
    torch.save({"state_dict": model.state_dict()}, path)
    found = set_up(Wish(model="resnet10t", data="digits", checkpoint=path))
    assert found.recipe.model.input_size == (3, 32, 32), "the checkpoint's are of three channels"
    assert found.recipe.model.checkpoint == path.resolve()
    assert found.recipe.data.mean == pytest.approx((0.485, 0.456, 0.406))
    assert found.recipe.data.crop_pct == 1
    assert "took state_dict" in remarks(found)["weights"]


def test_a_head_of_another_size_is_said_to_be_trained(tmp_path: Path) -> None:
    import timm

    path = tmp_path / "mine.pth"
    torch.save(timm.create_model("resnet10t", in_chans=1, num_classes=5).state_dict(), path)
    found = set_up(Wish(model="resnet10t", data="digits", checkpoint=path))
    assert "trained" in remarks(found)["weights"]
    assert "5 numbers" in remarks(found)["weights"]


def test_a_network_in_memory_says_its_channels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = set_up(Wish(model=memory_name(model), data="digits", given=model))
    assert found.recipe.model.input_size == (3, 32, 32)
    assert remarks(found)["weights"] == "as they are in memory"


def test_a_file_s_callable_is_made_for_the_classes_of_the_data(code: Path) -> None:
    found = set_up(Wish(model=f"{code}:build", data="digits", allow_code=True))
    assert found.recipe.model.input_size == (3, 32, 32)
    assert found.recipe.model.sha256 is not None
    assert found.runs_code


def test_a_file_is_not_run_unless_that_is_allowed(code: Path) -> None:
    with pytest.raises(UsageError, match="--allow-code"):
        set_up(Wish(model=f"{code}:build", data="digits"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "resnet10x"}, "timm knows no model 'resnet10x'"),
        ({"data": "digit"}, "did you mean digits"),
        ({"overrides": ["budget.speed=2"]}, "did you mean speedup"),
        ({"checkpoint": Path("a.pth"), "pretrained": True}, "leave out one of the two"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, object], message: str) -> None:
    wish = Wish(**({"model": "resnet10t", "data": "digits"} | changed))  # type: ignore[arg-type]
    with pytest.raises(DepthoptError, match=message) as caught:
        set_up(wish)
    assert "\n" not in str(caught.value)


def test_an_override_is_of_the_schema() -> None:
    with pytest.raises(RecipeError, match=r"the recipe for this command: finetune\.epochs"):
        set_up(Wish(model="resnet10t", data="digits", overrides=["finetune.epochs=-1"]))
