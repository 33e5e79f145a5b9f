"""What candidates are trained on, and scored on: seeded, apart, and the same for all."""

from pathlib import Path

import pytest
import torch

from depthopt.data.dataset import Dataset
from depthopt.data.tensors import TensorSplit
from depthopt.pipeline.context import Context
from depthopt.pipeline.folder import RunFolder
from depthopt.pipeline.processes import Processes
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.run import Silent
from depthopt.pipeline.short_training import remark, short_training, short_training_workload
from depthopt.pipeline.stages import STAGES
from depthopt.train.config import TrainConfig

SIZE = (1, 4, 4)


def split(first: int, images: int) -> TensorSplit:
    """Each image holds its own number, so that it can be told from all others."""
    numbers = torch.arange(first, first + images).float()
    return TensorSplit(numbers.view(-1, 1, 1, 1).expand(-1, *SIZE), torch.arange(images) % 2)


DATA = Dataset("numbers", ("even", "odd"), SIZE, split(0, 40), split(40, 8), split(48, 8))


def context(folder: Path, importance: dict, **more) -> Context:
    recipe = Recipe.model_validate({
        "model": {"name": "timm:resnet18", "input_size": SIZE},
        "data": {"source": "memory:numbers"},
        "budget": {"speedup": 2},
        "importance": {"estimator": "finetune", **importance},
        **more,
    })  # fmt: skip
    found = Context(recipe, RunFolder(folder), Silent(), Processes())
    found.__dict__["data"] = DATA
    return found


def numbers(part: TensorSplit) -> set[int]:
    return set(part.inputs[:, 0, 0, 0].int().tolist())


def test_scores_are_of_training_images_that_are_not_trained_on(tmp_path) -> None:
    short = short_training(context(tmp_path, {"score_images": 10, "train_images": 12}))
    train = numbers(DATA.train)
    trained, scored, fitted = map(numbers, (short.data.train, short.scored, short.fitted))
    assert (len(trained), len(scored), len(fitted)) == (12, 10, 30)
    assert trained < fitted == train - scored
    assert len({number % 2 for number in scored}) == 2
    assert short.scored.targets.sum() == 5, "each class in proportion"
    assert short.protocol.startswith("1 steps of 12, adamw 0.0005, scored on 10 training images")
    assert short.protocol.endswith("reduced")


def test_the_images_depend_on_the_recipes_seed_alone(tmp_path) -> None:
    wanted = {"score_images": 10, "train_images": 12}
    first, again = (short_training(context(tmp_path, wanted)) for _ in range(2))
    other = short_training(context(tmp_path, wanted, seed=1))
    assert numbers(first.scored) == numbers(again.scored) != numbers(other.scored)
    assert numbers(first.data.train) == numbers(again.data.train)


def test_left_out_they_are_the_calibration_images(tmp_path) -> None:
    short = short_training(context(tmp_path, {}))
    assert short.scored is DATA.calibration
    assert short.data.train is short.fitted is DATA.train
    assert "scored on 8 calibration images" in short.protocol


def test_other_estimators_train_nothing_and_say_nothing(tmp_path) -> None:
    short = short_training(context(tmp_path, {"estimator": "regression", "score_images": 10}))
    assert (short.data, short.scored, short.protocol) == (DATA, DATA.calibration, "")


@pytest.mark.parametrize(
    ("asked", "trained", "scored"),
    [
        ({"score_images": 41}, 20, 20),
        ({"score_images": 50_000, "train_images": 50_000}, 20, 20),
        ({"score_images": 10, "train_images": 70}, 35, 5),
    ],
)
def test_too_few_are_shared_out_in_proportion(asked, trained, scored, tmp_path) -> None:
    run = context(tmp_path, asked)
    short = short_training(run)
    assert (len(short.data.train), len(short.scored)) == (trained, scored)
    assert not numbers(short.data.train) & numbers(short.scored)
    assert f"trained on {trained} and scored on {scored}" in (remark(run) or "")
    assert "reduced" in short.protocol


def test_nothing_is_said_where_there_are_enough(tmp_path) -> None:
    assert remark(context(tmp_path, {"score_images": 10, "train_images": 30})) is None
    assert remark(context(tmp_path, {"train_images": 100})) is None


def test_how_activations_begin_is_digested_only_where_it_is_no_default(tmp_path) -> None:
    """Stages of earlier versions, which always began as the identity, still hold."""
    (estimate,) = (stage for stage in STAGES if stage.name == "estimate")

    def settings(estimator: str, start: str):
        importance = {"estimator": estimator}
        return estimate.settings(context(tmp_path, importance, apply={"start": start}).recipe)

    assert len(settings("finetune", "annealed")) == 2
    assert settings("regression", "annealed") == settings("regression", "at_once")
    assert settings("finetune", "at_once")[2:] == ["at_once"]


def test_the_work_is_that_of_the_images_trained_on(tmp_path) -> None:
    train = TrainConfig(epochs=1, batch_size=4, distillation=0.0)
    section = context(tmp_path, {"score_images": 10, "train_images": 12}).recipe.importance
    section = section.model_copy(update={"train": train})
    work = short_training_workload(section, images=40, parameters=0)
    assert (work.trained_images, work.forward_images) == (12, 0)
