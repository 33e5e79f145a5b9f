"""A protocol in words: the papers' to the letter, and what is otherwise than theirs."""

from dataclasses import replace

import pytest

from depthopt.pipeline.protocol import PAPERS, protocol
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.short_training import shares
from depthopt.train.config import TrainConfig

WHOLE = {"train_images": 50_000, "score_images": 50_000, "held_out": "training"}


def test_the_papers_own() -> None:
    found = protocol(PAPERS, **WHOLE, start="at_once")
    assert found == "195 steps of 256, sgd 0.1, scored on 50000 training images"


@pytest.mark.parametrize(("method", "steps"), [("layermerge", 195), ("depth", 4809)])
def test_a_papers_method_has_its_protocol(method, steps) -> None:
    """LayerMerge trains on a part of ImageNet, the method of 2023 on all that is not scored on."""
    recipe = Recipe.model_validate({
        "method": method,
        "model": {"name": "timm:mobilenetv2_100", "input_size": [3, 224, 224]},
        "data": {"source": "folder:imagenet"},
        "budget": {"speedup": 1.5},
    })  # fmt: skip
    section = recipe.importance
    found = protocol(
        section.train,
        train_images=shares(section, 1_281_167)[0],
        score_images=section.score_images,
        held_out="training",
        start=recipe.apply.start,
    )
    assert found == f"{steps} steps of 256, sgd 0.1, scored on 50000 training images"
    assert (section.kept, recipe.apply.form) == (True, "expanded")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"score_images": 2000}, "scored on 2000 training images, reduced"),
        (
            {"train_images": 512},
            "2 steps of 256, sgd 0.1, scored on 50000 training images, reduced",
        ),
        ({"held_out": "calibration"}, "scored on 50000 calibration images"),
        ({"start": "annealed"}, "images, anneal 0.5, activations annealed"),
    ],
)
def test_what_is_less_is_called_reduced(changed, words) -> None:
    config = replace(PAPERS, anneal=0.25) if "start" in changed else PAPERS
    found = protocol(config, **{**WHOLE, "start": "at_once", **changed})
    assert found.endswith(words.replace("0.5", "0.25"))


def test_fewer_steps_are_reduced_and_more_are_not() -> None:
    few, many = (replace(PAPERS, steps=steps) for steps in (8, 400))
    assert protocol(few, **WHOLE, start="at_once").startswith("8 steps of 256")
    assert protocol(few, **WHOLE, start="at_once").endswith(", reduced")
    assert "reduced" not in protocol(many, **WHOLE, start="at_once")


def test_every_setting_that_scores_depend_on_is_said() -> None:
    """Two tables may be joined where the words are the same, so that they must not be too few."""
    others = {
        "optimizer": "adamw", "learning_rate": 0.2, "warmup": 0.5, "weight_decay": 0.1,
        "decay_norms": False, "frozen_norms": True, "momentum": 0.5, "nesterov": False,
        "clip_norm": 1.0, "label_smoothing": 0.2, "mixup": 0.5, "cutmix": 0.5,
        "distillation": 0.5, "ema_decay": 0.5, "augment": False, "randaugment": "rand-m9",
        "mixed_precision": "bf16", "steps": 3, "batch_size": 16, "accumulation": 2,
        "target_metric": 5.0, "epochs": 2,
    }  # fmt: skip
    silent = {"temperature", "matching", "anneal", "seed", "channels_last", "compile",
              "evaluate_epochs", "checkpoint_every_s", "trackers"}  # fmt: skip
    assert set(others) | silent == set(TrainConfig.__dataclass_fields__)
    found = {
        protocol(replace(PAPERS, **{name: value}), **WHOLE, start="at_once")
        for name, value in others.items()
    }
    assert len(found) == len(others)
    assert protocol(PAPERS, **WHOLE, start="at_once") not in found


def test_what_a_training_has_no_use_for_is_not_said() -> None:
    cold = replace(PAPERS, temperature=9.0, anneal=0.1, seed=4, channels_last=False)
    assert protocol(cold, **WHOLE, start="at_once") == protocol(PAPERS, **WHOLE, start="at_once")
    warm = replace(cold, distillation=0.5)
    assert "distillation 0.5, temperature 9" in protocol(warm, **WHOLE, start="at_once")
