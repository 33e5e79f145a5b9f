"""What the stage ``estimate`` is made from."""

from pathlib import Path
from typing import Any

import pytest

from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.stages import STAGES


def made_from(*overrides: str) -> Any:
    recipe = load_recipe(Path("quickstart"), overrides)
    return {stage.name: stage for stage in STAGES}["estimate"].settings(recipe)


@pytest.mark.parametrize("estimator", ["regression", "magnitude"])
@pytest.mark.parametrize(
    "override", ["importance.train_images=7", "importance.train.learning_rate=7"]
)
def test_a_short_training_is_nothing_to_an_estimator_without_one(
    estimator: str, override: str
) -> None:
    """So a table that is there holds where only the papers' methods would differ."""
    asked = f"importance.estimator={estimator}"
    assert made_from(asked, override) == made_from(asked)
    trained = "importance.estimator=finetune"
    assert made_from(trained, override) != made_from(trained)


def test_images_that_are_regressed_on_are() -> None:
    assert made_from("importance.images=7") != made_from()
