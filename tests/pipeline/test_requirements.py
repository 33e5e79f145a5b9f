"""What a run would refuse after hours is refused before its first stage, by the recipe's key."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from depthopt.data.dataset import Dataset
from depthopt.data.tensors import TensorSplit
from depthopt.errors import DepthoptError
from depthopt.pipeline.context import Context
from depthopt.pipeline.dry_run import dry_run
from depthopt.pipeline.folder import RunFolder
from depthopt.pipeline.processes import Processes
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.requirements import shortcomings
from depthopt.pipeline.run import Silent, run
from tests.pipeline.small_run import NAME, SIZE, Log

SMALL = {
    "model": {"name": NAME, "input_size": SIZE},
    "data": {"source": "digits"},
    "budget": {"speedup": 1.5},
    "pick": "predicted",
}


def recipe(**sections: dict[str, object]) -> Recipe:
    return Recipe.model_validate({**SMALL, **sections})


def digits_like(train: int = 40, held_out: int = 8, classes: int = 10) -> Dataset:
    def some(count: int) -> TensorSplit:
        return TensorSplit(torch.randn(count, *SIZE), torch.arange(count) % classes)

    names = tuple(map(str, range(10)))
    return Dataset("memory:0", names, SIZE, some(train), some(held_out), some(10))


def found(given: Recipe, data: Dataset, until: str = "result") -> tuple[str, ...]:
    context = Context(given, RunFolder(Path("none")), Silent(), Processes())
    context.__dict__["data"] = data  # the cached property
    return shortcomings(context, until)


REFUSED: dict[str, tuple[dict[str, dict[str, object]], Callable[[], Dataset], str, str]] = {
    "few images to apply on": (
        {"apply": {"images": 3}},
        digits_like,
        "apply",
        "apply.images is 3; regressing needs 5 or more, of which one is held out",
    ),
    "few to train on": (
        {},
        lambda: digits_like(train=4),
        "apply",
        "data.source memory:0 leaves 4 training images beside 8 held out (data.calibration_images)",
    ),
    "few to regress each candidate on": (
        {"importance": {"estimator": "finetune", "images": 4}},
        digits_like,
        "estimate",
        "importance.images is 4; regressing needs 5",
    ),
    "one target": ({}, lambda: digits_like(classes=1), "teacher", "has only one target, 0, on"),
    "targets beyond the network's": (
        {},
        lambda: digits_like(held_out=12, classes=12),
        "teacher",
        "train split: labels from 0 to 11 do not fit a network of 10",
    ),
    "odd batches that are mixed": (
        {"finetune": {"mixup": 0.2, "batch_size": 33}},
        digits_like,
        "finetune",
        "finetune: mixup and cutmix pair images; make 33 per process an even number",
    ),
    "few images that are mixed": (
        {"teacher": {"cutmix": 0.2}},
        lambda: digits_like(train=41),
        "teacher",
        "teacher: mixup and cutmix pair images; make 41 per process",
    ),
    "more parts than images": (
        {"finetune": {"batch_size": 8, "accumulation": 9}},
        digits_like,
        "finetune",
        "finetune: accumulation 9 is more than the 8 images of a batch",
    ),
    "an unknown tracker": (
        {"finetune": {"trackers": ["nobody"]}},
        digits_like,
        "finetune",
        "finetune: tracker 'nobody' is unknown",
    ),
}


@pytest.mark.parametrize(("sections", "data", "stage", "message"), REFUSED.values(), ids=REFUSED)
def test_it_is_named_by_its_key_if_its_stage_is_to_come(
    sections: dict[str, dict[str, object]], data: Callable[[], Dataset], stage: str, message: str
) -> None:
    said = found(recipe(**sections), data(), stage)
    assert any(message in each for each in said)
    assert all("\n" not in each for each in said)
    earlier = {"apply": "solve", "finetune": "apply"}.get(stage)
    if earlier is not None:
        assert found(recipe(**sections), data(), earlier) == ()


@pytest.mark.parametrize(
    ("train", "images", "sizes"),
    [
        (1000, 1000, [64] * 15),
        (1000, 300, [64] * 5),
        (1000, 256, [51] * 6),
        (60, 2048, [12] * 5),
        (7, 2048, [1] * 7),
        (1000, 5, [1] * 5),
    ],
)
def test_of_few_images_there_are_enough_batches_to_hold_one_out(
    train: int, images: int, sizes: list[int]
) -> None:
    context = Context(recipe(), RunFolder(Path("none")), Silent(), Processes())
    context.__dict__["data"] = digits_like(train=train)
    batches = context.train_inputs(images, least=5)
    assert [len(batch) for batch in batches] == sizes
    assert len(batches) == len(sizes)


def test_nothing_is_said_of_what_is_enough() -> None:
    assert found(recipe(), digits_like()) == ()


def test_a_split_without_targets_is_refused_but_for_training() -> None:
    data = digits_like()
    bare = TensorSplit(torch.randn(6, *SIZE))
    data = Dataset("memory:0", data.class_names, SIZE, bare, bare, data.test)
    assert [each.split(", so")[0] for each in found(recipe(), data, "teacher")] == [
        "data.source memory:0 has no targets in its calibration split"
    ]


def test_dry_run_and_run_say_the_same_before_anything_is_done(tmp_path: Path) -> None:
    given = recipe(apply={"images": 4}, teacher={"steps": 1})
    (problem,) = dry_run(given, tmp_path / "out", batch=2).problems
    log = Log()
    with pytest.raises(DepthoptError) as told:
        run(given, tmp_path / "out", reporter=log)
    assert str(told.value) == problem
    assert problem.startswith("apply.images is 4; ")
    assert log.done == ["teacher"]
    assert not list((tmp_path / "out").glob("*.safetensors"))
