"""Training: repeatable to the bit, resumable at any step, and honest when it goes wrong."""

import copy
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from depthopt.core import artefacts
from depthopt.errors import ArtefactError, DepthoptError, UsageError
from depthopt.rewrite.inserted import InsertedActivation
from depthopt.train.config import TrainConfig
from depthopt.train.dataset import Dataset, Preprocessing
from depthopt.train.evaluate import evaluate
from depthopt.train.finetune import TrainingDiverged, finetune
from depthopt.train.loss import training_loss
from depthopt.train.memory import MemorySplit
from tests.malicious import write_checkpoint

CONFIG = TrainConfig(epochs=3, batch_size=16, ema_decay=0.9, checkpoint_every_s=0)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_data():
    """Three classes of 8 x 8 images that differ in which rows are bright."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    pixels = torch.randint(0, 90, (120, 1, 8, 8), generator=generator).byte()
    for i, label in enumerate(labels.tolist()):
        pixels[i, 0, 2 + 2 * label] += 150
    view = Preprocessing((1, 8, 8), (0.3,), (0.2,))
    train, calibration, test = (
        MemorySplit(pixels[at], labels[at], view, mirror=True)
        for at in (slice(0, 70), slice(70, 90), slice(90, 120))
    )
    return Dataset("rows", ("a", "b", "c"), view, train, calibration, test)


def make_model(seed=0, width=8):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64 * width, 3),
    )


def weights(model):
    return torch.cat([value.double().flatten() for value in model.state_dict().values()])


def train(config=CONFIG, **options):
    model = make_model()
    result = finetune(model, make_data(), config=config, **options)
    return model, result


class Stopped(BaseException):
    """Ends a training between two steps, as a kill would."""


def stop_at(step):
    def progress(done, _steps, _note):
        if done == step:
            raise Stopped

    return progress


def test_it_learns_and_leaves_the_model_ready_to_use():
    model, result = train(replace(CONFIG, epochs=15, learning_rate=0.01, evaluate_epochs=True))
    losses = [record.loss for record in result.history]
    assert len(losses) == 15
    assert losses[-1] < losses[0]
    assert evaluate(model, make_data().test.batches(16)).accuracy > 90
    assert result.history[-1].accuracy > 90
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


@pytest.mark.parametrize("changes", [{}, {"optimizer": "sgd"}, {"mixed_precision": "fp16"}])
@pytest.mark.parametrize("step", [1, 4, 6, 12])
def test_stopped_and_resumed_ends_in_the_same_bits(step, changes, tmp_path):
    config = replace(CONFIG, **changes)
    undisturbed, expected = train(config)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        train(config, checkpoint=path, progress=stop_at(step))
    resumed, result = train(config, checkpoint=path)
    assert torch.equal(weights(undisturbed), weights(resumed))
    assert [r.loss for r in result.history] == [r.loss for r in expected.history]


def test_a_finished_checkpoint_needs_no_step(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    first, expected = train(checkpoint=path)
    again, result = train(checkpoint=path, progress=stop_at(1))
    assert torch.equal(weights(first), weights(again))
    assert result == expected


LONG = replace(CONFIG, epochs=100)

CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import torch
from tests.train.test_finetune import LONG, finetune, make_data, make_model
torch.set_num_threads(1)
finetune(make_model(), make_data(), config=LONG, checkpoint=Path({path!r}),
         progress=lambda *_: time.sleep(0.005))
"""


def kill_a_training(path, *, delay_s):
    """Start a training in a process of its own, and kill it after its next checkpoint."""
    script = CHILD.format(here=str(Path(__file__).parents[2]), path=str(path))
    before = path.stat().st_mtime_ns if path.exists() else None
    with subprocess.Popen([sys.executable, "-c", script]) as child:
        while child.poll() is None and (not path.exists() or path.stat().st_mtime_ns == before):
            time.sleep(0.005)
        time.sleep(delay_s)
        child.kill()
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed_ends_in_the_same_bits(kills, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    for _ in range(kills):
        kill_a_training(path, delay_s=random.uniform(0, 0.3))
    resumed, _ = train(LONG, checkpoint=path)
    undisturbed, _ = train(LONG)
    assert torch.equal(weights(undisturbed), weights(resumed))


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    train(checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ArtefactError, match="another model, data set or configuration"):
        train(replace(CONFIG, learning_rate=1e-4), checkpoint=path)
    with pytest.raises(ArtefactError, match="another model"):
        finetune(make_model(width=4), make_data(), config=CONFIG, checkpoint=path)
    assert path.read_bytes() == before
    train(replace(CONFIG, checkpoint_every_s=60), checkpoint=path)


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_malicious_checkpoint_is_refused_and_not_executed(kind, tmp_path):
    path, mark = tmp_path / "checkpoint.safetensors", tmp_path / "mark"
    write_checkpoint(path, mark, kind)
    with pytest.raises(ArtefactError, match=r"checkpoint.safetensors is no whole checkpoint"):
        train(checkpoint=path)
    assert not mark.exists()


@pytest.mark.parametrize("kept_bytes", [0, 100, -10])
def test_a_damaged_checkpoint_is_refused(kept_bytes, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    train(checkpoint=path)
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(ArtefactError, match=r"checkpoint.safetensors is no whole checkpoint"):
        train(checkpoint=path)


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        train(checkpoint=path, progress=stop_at(7))
    before = path.read_bytes()

    def full(_handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(artefacts.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            train(checkpoint=path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert torch.equal(weights(train()[0]), weights(train(checkpoint=path)[0]))


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

    def __len__(self):
        return len(self.split)

    def batches(self, batch_size, **options):
        for images, labels in self.split.batches(batch_size, **options):
            self.left -= 1
            yield (images if self.left >= 0 else images * torch.nan), labels


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
    strangers = replace(data, train=replace(data.train, labels=data.train.labels.roll(1)))
    student = make_model(seed=5)
    config = replace(CONFIG, epochs=15, learning_rate=0.01, distillation=1.0)
    finetune(student, strangers, teacher=teacher, config=config)
    assert evaluate(student, data.test.batches(16)).accuracy > 90
    assert torch.equal(weights(teacher), before)
    assert teacher.training


def test_the_loss_weighs_label_against_teacher():
    logits, answer = torch.randn(2, 4, 3).unbind()
    labels = torch.tensor([0, 1, 2, 0])
    config = TrainConfig(distillation=0.25, temperature=3.0, label_smoothing=0.1)
    hard = F.cross_entropy(logits, labels, label_smoothing=0.1)
    p, q = (answer / 3).softmax(1), (logits / 3).softmax(1)
    soft = 9 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(training_loss(logits, labels, None, config), hard)
    torch.testing.assert_close(
        training_loss(logits, labels, answer, config), 0.75 * hard + 0.25 * soft
    )


def test_the_learning_rate_rises_then_falls_to_zero():
    config = replace(CONFIG, epochs=20, warmup=0.25, learning_rate=0.01)
    rates = [record.learning_rate for record in train(config)[1].history]
    peak = rates.index(max(rates))
    assert peak in (4, 5)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) <= 0.01
    assert rates[-1] < 1e-4


@pytest.mark.parametrize("wrong", ["network", "teacher"])
def test_a_head_of_the_wrong_size_is_refused_before_any_step(wrong):
    networks = {"network": make_model(), "teacher": make_model(1)}
    networks[wrong][-1] = nn.Linear(512, 10)
    before = weights(networks["network"])
    with pytest.raises(UsageError, match=f"the {wrong}'s head gives 10 numbers .* 3 classes"):
        finetune(networks["network"], make_data(), teacher=networks["teacher"], config=CONFIG)
    assert torch.equal(weights(networks["network"]), before)


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


class WithInserted(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inserted = InsertedActivation("relu")
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


def plain_model():
    """Nothing in it depends on what else is in the batch, or on chance."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3))


@pytest.mark.parametrize("parts", [2, 3, 16])
def test_a_batch_in_parts_is_the_same_batch(parts):
    whole, divided = plain_model(), plain_model()
    finetune(whole, make_data(), config=CONFIG)
    finetune(divided, make_data(), config=replace(CONFIG, accumulation=parts))
    torch.testing.assert_close(weights(divided), weights(whole), rtol=1e-4, atol=1e-5)
    assert not torch.equal(weights(whole), weights(plain_model()))


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
    first = next(i for i, record in enumerate(whole.history) if record.accuracy >= 80)
    _, stopped = train(replace(config, target_accuracy=80))
    assert len(stopped.history) == first + 1 < 40


@pytest.mark.parametrize("changes", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1}])
def test_mixed_batches_are_resumed_to_the_bit_and_still_teach(changes, tmp_path):
    config = replace(CONFIG, epochs=25, learning_rate=0.01, **changes)
    model, _ = train(config)
    assert evaluate(model, make_data().test.batches(16)).accuracy > 80
    assert not torch.equal(weights(model), weights(train(replace(config, mixup=0, cutmix=0))[0]))
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        train(config, checkpoint=path, progress=stop_at(9))
    assert torch.equal(weights(train(config, checkpoint=path)[0]), weights(model))


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


def test_trackers_are_told(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = replace(CONFIG, trackers=("tensorboard",), evaluate_epochs=True)
    told, result = train(config, log_dir=tmp_path / "logs")
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert len(events.Scalars("loss")) == result.steps
    assert [e.value for e in events.Scalars("accuracy")] == pytest.approx(
        [record.accuracy for record in result.history]
    )
    assert torch.equal(weights(told), weights(train(replace(config, trackers=()))[0]))
    with pytest.raises(UsageError, match="tracker 'tensorbord' is unknown or not installed"):
        train(replace(CONFIG, trackers=("tensorbord",)), log_dir=tmp_path)


def test_waiting_for_images_is_part_of_the_time():
    data = make_data()

    class Slow(MemorySplit):
        def batches(self, batch_size, **options):
            for batch in super().batches(batch_size, **options):
                time.sleep(0.02)
                yield batch

    split = data.train
    slow = Slow(split.pixels, split.labels, split.preprocessing, split.mirror)
    result = finetune(make_model(), replace(data, train=slow), config=CONFIG)
    for record in result.history:
        assert 0.08 <= record.waited_s <= record.seconds


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
from tests.train.test_finetune import CONFIG, finetune, make_data, plain_model
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
