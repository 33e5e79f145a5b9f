"""Training: repeatable to the bit, and honest when it goes wrong."""

import copy
import random
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from depthopt.data.memory import MemorySplit
from depthopt.errors import DepthoptError, UsageError
from depthopt.tasks.evaluate import evaluate
from depthopt.train.finetune import TrainingDiverged, finetune
from tests.train.training import CONFIG, Stopped, make_data, make_model, stop_at, train, weights


def test_it_learns_and_leaves_the_model_ready_to_use():
    model, result = train(replace(CONFIG, epochs=15, learning_rate=0.01, evaluate_epochs=True))
    losses = [record.loss for record in result.history]
    assert len(losses) == 15
    assert losses[-1] < losses[0]
    assert evaluate(model, make_data().test.batches(16)).metric > 90
    assert result.history[-1].metric > 90
    assert result.steps == 60
    assert not model.training
    assert all(p.requires_grad and p.is_contiguous() for p in model.parameters())
    assert copy.deepcopy(model)(torch.zeros(1, 1, 8, 8)).shape == (1, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "learning_rate": 0.05, "ema_decay": None},
        {"channels_last": False, "clip_norm": None, "augment": False},
        {"mixed_precision": "bf16"},
    ],
)
def test_same_seed_same_bits_whatever_the_global_generators(changes):
    config = replace(CONFIG, **changes)
    first, _ = train(config)
    torch.manual_seed(99)
    model = make_model()
    torch.manual_seed(77)
    random.seed(77)
    state = torch.get_rng_state()
    finetune(model, make_data(), config=config)
    assert torch.equal(weights(first), weights(model))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(weights(first), weights(train(replace(config, seed=1))[0]))


def test_divergence_stops_with_the_place_and_keeps_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    data, model = make_data(), make_model()
    poisoned = _Poisoned(data.train, from_step=6)
    with pytest.raises(TrainingDiverged, match=r"epoch 2 of 3, step 7; lower learning_rate") as e:
        finetune(model, replace(data, train=poisoned), config=CONFIG, checkpoint=path)
    assert isinstance(e.value, DepthoptError)
    assert not isinstance(e.value, UsageError)
    assert "\n" not in str(e.value)
    undisturbed, _ = train()
    assert torch.equal(weights(train(checkpoint=path)[0]), weights(undisturbed))


class _Poisoned:
    """A split whose images are NaN from some step on."""

    def __init__(self, split, *, from_step):
        self.split, self.left = split, from_step
        self.targets = split.targets

    def __len__(self):
        return len(self.split)

    def batches(self, batch_size, **options):
        for images, labels in self.split.batches(batch_size, **options):
            self.left -= 1
            yield (images if self.left >= 0 else images * torch.nan), labels


@pytest.mark.parametrize("wrong", ["network", "teacher"])
def test_a_head_of_the_wrong_size_is_refused_before_any_step(wrong):
    networks = {"network": make_model(), "teacher": make_model(1)}
    networks[wrong][-1] = nn.Linear(512, 10)
    before = weights(networks["network"])
    with pytest.raises(UsageError, match=f"the {wrong}'s head gives 10 numbers .* 3 classes"):
        finetune(networks["network"], make_data(), teacher=networks["teacher"], config=CONFIG)
    assert torch.equal(weights(networks["network"]), before)


class WithUnused(nn.Module):
    """One of its modules takes no part."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = make_model(), nn.Identity()

    def forward(self, images):
        return self.used(images)


@pytest.mark.parametrize(
    ("matched", "message"),
    [
        ((("used.3", "9"),), "^9 cannot be matched: no module of that name"),
        ((("whole", "3"),), "^whole cannot be matched: no module of that name"),
        ((("unused", "3"), ("used.3", "3")), "^unused cannot be matched: no part of the .* pass"),
    ],
)
def test_modules_that_cannot_be_matched_are_named(matched, message):
    model, teacher = WithUnused(), make_model(1)
    config = replace(CONFIG, matching=1.0)
    with pytest.raises(UsageError, match=message):
        finetune(model, make_data(), teacher=teacher, matched=matched, config=config)
    assert not any(m._forward_pre_hooks for m in model.modules()), "no hook is left"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "TrainConfig.epochs is 0: Input should be greater than 0"),
        ({"optimizer": "adam"}, "TrainConfig.optimizer is 'adam'"),
        ({"mixed_precision": "half"}, "TrainConfig.mixed_precision is 'half'"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        train(replace(CONFIG, **changes))


def test_a_number_of_steps_need_not_be_whole_epochs(tmp_path):
    config = replace(CONFIG, steps=6)
    model, result = train(config)
    assert result.steps == 6
    assert len(result.history) == 2
    assert result.history[-1].learning_rate < 0.01 * CONFIG.learning_rate + 1e-3
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        train(config, checkpoint=path, progress=stop_at(5))
    assert torch.equal(weights(train(config, checkpoint=path)[0]), weights(model))


def test_a_target_stops_the_training_where_it_is_reached():
    config = replace(CONFIG, epochs=40, learning_rate=0.01, ema_decay=None)
    _, whole = train(replace(config, evaluate_epochs=True))
    first = next(i for i, record in enumerate(whole.history) if record.metric >= 80)
    _, stopped = train(replace(config, target_metric=80))
    assert len(stopped.history) == first + 1 < 40


def test_waiting_for_images_is_part_of_the_time():
    data = make_data()

    class Slow(MemorySplit):
        def batches(self, batch_size, **options):
            for batch in super().batches(batch_size, **options):
                time.sleep(0.02)
                yield batch

    split = data.train
    slow = Slow(split.pixels, split.targets, split.preprocessing, split.mirror)
    result = finetune(make_model(), replace(data, train=slow), config=CONFIG)
    for record in result.history:
        assert 0.08 <= record.waited_s <= record.seconds
