"""Single steps: teachers, mixing, parts of a batch, inserted activations, several processes."""

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.layers import BatchNormAct2d
from timm.optim import create_optimizer_v2
from torch import nn

from depthopt.core.metric import Metric
from depthopt.core.operators import Activation
from depthopt.data.tensors import TensorSplit
from depthopt.errors import UsageError
from depthopt.graph.trace import trace
from depthopt.rewrite.inserted import InsertedActivation
from depthopt.tasks.evaluate import evaluate
from depthopt.tasks.task import Task
from depthopt.train import trainer
from depthopt.train.config import TrainConfig
from depthopt.train.finetune import finetune
from tests.train.training import (
    CONFIG,
    Stopped,
    make_data,
    make_model,
    plain_model,
    stop_at,
    train,
    weights,
)


class Undecided(nn.Module):
    """Cannot be traced: what it does depends on its input."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images) if images.isfinite().all() else images


@pytest.mark.parametrize("wrapper", [lambda network: network, Undecided])
def test_a_teacher_is_imitated_and_not_changed(wrapper):
    teacher = wrapper(train(replace(CONFIG, epochs=15, learning_rate=0.01))[0])
    teacher.train()
    before = weights(teacher).clone()
    data = make_data()
    strangers = replace(data, train=replace(data.train, targets=data.train.targets.roll(1)))
    student = make_model(seed=5)
    config = replace(CONFIG, epochs=15, learning_rate=0.01, distillation=1.0)
    finetune(student, strangers, teacher=teacher, config=config)
    assert evaluate(student, data.test.batches(16)).metric > 90
    assert torch.equal(weights(teacher), before)
    assert teacher.training


def test_matched_tensors_come_closer_to_the_teachers():
    teacher, _ = train(replace(CONFIG, epochs=15, learning_rate=0.01))
    images = next(make_data().train.batches(64))[0]

    def distance(matching):
        student = make_model(seed=5)
        finetune(
            student,
            make_data(),
            teacher=teacher,
            matched=[("3", "3"), ("7", "7")],
            config=replace(CONFIG, epochs=15, learning_rate=0.01, matching=matching),
        )
        assert not any(module._forward_pre_hooks for module in student.modules())
        with torch.no_grad():
            return float((student[:3](images) - teacher[:3](images)).square().mean())

    assert distance(5.0) < 0.5 * distance(0.0)


def test_the_input_of_a_norm_with_an_activation_is_matched_by_its_name_in_the_chain():
    def preactivated(seed):
        torch.manual_seed(seed)
        layers = nn.Conv2d(1, 8, 3), nn.ReLU(), BatchNormAct2d(8), nn.Conv2d(8, 8, 3)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 16, 3))

    teacher, images = preactivated(1).eval(), next(make_data().train.batches(64))[0]

    def distance(matching):
        student = trace(preactivated(5), (1, 8, 8))
        config = replace(CONFIG, epochs=5, learning_rate=0.01, matching=matching)
        finetune(student, make_data(), teacher=teacher, matched=[("2.0", "2.0")], config=config)
        with torch.no_grad():
            own = student.get_submodule("0")(images).relu()
            return float((own - teacher[:2](images)).square().mean())

    assert distance(5.0) < 0.5 * distance(0.0)


def test_the_learning_rate_rises_then_falls_to_zero():
    config = replace(CONFIG, epochs=20, warmup=0.25, learning_rate=0.01)
    rates = [record.learning_rate for record in train(config)[1].history]
    peak = rates.index(max(rates))
    assert peak in (4, 5)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) <= 0.01
    assert rates[-1] < 1e-4


class WithInserted(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inserted = InsertedActivation(Activation("relu"))
        self.inserted.share.zero_()
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        return self.head(self.inserted(x.flatten(1)))


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_inserted_activations_come_into_their_own(ema_decay):
    model = WithInserted()
    shares = []

    def remember(module, _inputs, _output):
        if module.training:
            shares.append(float(module.share))

    hook = model.inserted.register_forward_hook(remember)
    finetune(model, make_data(), config=replace(CONFIG, ema_decay=ema_decay, anneal=0.5))
    hook.remove()
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.2
    assert shares[len(shares) // 2] == 1.0
    assert float(model.inserted.share) == 1.0


@pytest.mark.parametrize("parts", [2, 3, 16])
def test_a_batch_in_parts_is_the_same_batch(parts):
    whole, divided = plain_model(), plain_model()
    finetune(whole, make_data(), config=CONFIG)
    finetune(divided, make_data(), config=replace(CONFIG, accumulation=parts))
    torch.testing.assert_close(weights(divided), weights(whole), rtol=1e-4, atol=1e-5)
    assert not torch.equal(weights(whole), weights(plain_model()))


TO_BE_MIXED = replace(CONFIG, epochs=25, learning_rate=0.01)


@cache
def weights_without_mixing():
    return weights(train(TO_BE_MIXED)[0])


@pytest.mark.parametrize("changes", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1}])
def test_mixed_batches_are_resumed_to_the_bit_and_still_teach(changes, tmp_path):
    config = replace(TO_BE_MIXED, **changes)
    model, _ = train(config)
    assert evaluate(model, make_data().test.batches(16)).metric > 80
    assert not torch.equal(weights(model), weights_without_mixing())
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        train(config, checkpoint=path, progress=stop_at(9))
    resumed, _ = train(replace(config, checkpoint_every_s=60), checkpoint=path)
    assert torch.equal(weights(resumed), weights(model))


def test_trackers_are_told(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = replace(CONFIG, trackers=("tensorboard",), evaluate_epochs=True)
    told, result = train(config, log_dir=tmp_path / "logs")
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert len(events.Scalars("loss")) == result.steps
    assert [e.value for e in events.Scalars("accuracy")] == pytest.approx(
        [record.metric for record in result.history]
    )
    assert torch.equal(weights(told), weights(train(replace(config, trackers=()))[0]))
    with pytest.raises(UsageError, match="tracker 'tensorbord' is unknown or not installed"):
        train(replace(CONFIG, trackers=("tensorbord",)), log_dir=tmp_path)


@pytest.mark.slow
def test_a_compiled_network_trains_to_the_same_weights_but_for_rounding():
    config = replace(CONFIG, epochs=1, ema_decay=None)
    compiled, plain = plain_model(), plain_model()
    finetune(compiled, make_data(), config=replace(config, compile=True))
    finetune(plain, make_data(), config=config)
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=1e-3, atol=1e-4)


SHARED = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import torch
from safetensors.torch import save_file
from tests.train.training import CONFIG, finetune, make_data, plain_model
torch.set_num_threads(1)
model = plain_model()
finetune(model, make_data(), config=CONFIG, checkpoint=Path({path!r}))
save_file(model.state_dict(), {path!r} + torch.os.environ["RANK"])
"""


@pytest.mark.slow  # starts two processes, which takes a quarter of a minute
def test_two_processes_train_as_one(tmp_path):
    script, path = tmp_path / "script.py", str(tmp_path / "out")
    script.write_text(SHARED.format(here=str(Path(__file__).parents[2]), path=path))
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    subprocess.run([sys.executable, *launch, str(script)], check=True, timeout=120)
    first, second = (load_file(path + rank) for rank in "01")
    assert all(torch.equal(first[name], second[name]) for name in first)
    alone = plain_model()
    finetune(alone, make_data(), config=CONFIG)
    torch.testing.assert_close(first, dict(alone.state_dict()), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulation": 17}, "accumulation 17 is more than the 16 images"),
        ({"mixup": 0.5, "batch_size": 15}, "pair images"),
        ({"randaugment": "random"}, "TrainConfig.randaugment"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        train(replace(CONFIG, **changes))


def test_what_cannot_be_mixed_or_trained_on_is_refused():
    data = make_data()
    mixed = TrainConfig(steps=1, mixup=0.2)
    numbers = Task(
        name="numbers", metric=Metric("error"), divergence=nn.MSELoss(), loss=nn.MSELoss(),
        measure=nn.MSELoss(),
    )  # fmt: skip
    with pytest.raises(UsageError, match="mix images and labels, which task numbers on rows does"):
        finetune(make_model(), data, task=numbers, config=mixed)
    images, _ = next(data.train.batches(32))
    blind = replace(data, train=TensorSplit(images))
    with pytest.raises(UsageError, match="rows has no targets to train on; give a teacher"):
        finetune(make_model(), blind)


def test_norms_decay_where_asked_for():
    """With a rate of decay above all else, what decays is near 0 after some steps."""
    config = replace(CONFIG, steps=4, learning_rate=0.05, weight_decay=10.0, optimizer="sgd")
    norms = {}
    for decays in (False, True):
        network = train(replace(config, decay_norms=decays))[0]
        norms[decays] = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms[decays]
    assert all(norm.weight.abs().mean() > 0.5 for norm in norms[False])
    assert all(norm.weight.abs().mean() < 0.5 for norm in norms[True])


def test_norms_keep_their_statistics_where_asked_for():
    """And are used with them: in evaluation the network is what it was while it was trained."""
    config = replace(CONFIG, steps=3, evaluate_epochs=True)
    fresh = [m for m in make_model().modules() if isinstance(m, nn.BatchNorm2d)]
    for frozen in (False, True):
        network = train(replace(config, frozen_norms=frozen))[0]
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        same = [
            torch.equal(a.running_mean, b.running_mean) for a, b in zip(fresh, norms, strict=True)
        ]
        assert same
        assert all(same) == frozen == any(same)
        assert not any(torch.equal(a.weight, b.weight) for a, b in zip(fresh, norms, strict=True))


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_nesterovs_or_plain(nesterov):
    config = replace(
        CONFIG, steps=2, batch_size=48, optimizer="sgd", learning_rate=0.1, weight_decay=0.0,
        warmup=0.0, augment=False, clip_norm=None, nesterov=nesterov, channels_last=False,
    )  # fmt: skip
    found = {plain: train(replace(config, nesterov=plain))[0] for plain in (nesterov, not nesterov)}
    assert not torch.allclose(weights(found[nesterov]), weights(found[not nesterov]))
    assert trainer._optimizer(config) == ("sgd" if nesterov else "momentum")
    made = create_optimizer_v2(make_model(), opt=trainer._optimizer(config), lr=0.1, momentum=0.9)
    assert {group["nesterov"] for group in made.param_groups} == {nesterov}
