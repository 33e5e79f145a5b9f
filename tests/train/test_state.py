"""Checkpoints: a training stopped at any moment ends in the same bits; others are refused."""

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from depthopt.core import digests, writing
from depthopt.errors import ArtefactError
from depthopt.train.finetune import finetune
from depthopt.train.state import check_state
from tests.malicious import write_checkpoint
from tests.train.training import (
    CONFIG,
    LONG,
    Stopped,
    make_data,
    make_model,
    stop_at,
    train,
    weights,
)


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


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import torch
from tests.train.training import LONG, finetune, make_data, make_model
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
    with pytest.raises(ArtefactError, match=r"checkpoint.safetensors is not a whole checkpoint"):
        train(checkpoint=path)
    assert not mark.exists()


@pytest.mark.parametrize("kept_bytes", [0, 100, -10])
def test_a_damaged_checkpoint_is_refused(kept_bytes, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    train(checkpoint=path)
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(ArtefactError, match=r"checkpoint.safetensors is not a whole checkpoint"):
        train(checkpoint=path)


def test_a_changed_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    train(checkpoint=path)
    whole = path.read_bytes()
    for place in (len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ArtefactError, match=r"was changed after .*; delete it to begin"):
            train(checkpoint=path)


def test_a_checkpoint_of_another_run_is_told(tmp_path, caplog):
    path = tmp_path / "checkpoint.safetensors"
    train(checkpoint=path, made_from="x")
    check_state(path, "x")
    with pytest.raises(ArtefactError, match="is of another run"):
        check_state(path, "y")
    content = path.read_bytes()
    head = digests.metadata(content)["depthopt_checkpoint"]
    told = json.loads(head)
    del told["made_from"]
    path.write_bytes(save(load(content), {"depthopt_checkpoint": json.dumps(told)}))
    check_state(path, "y")
    assert "carries no sha256" in caplog.text, "it is of an earlier version"


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        train(checkpoint=path, progress=stop_at(7))
    before = path.read_bytes()

    def full(_handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            train(checkpoint=path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert torch.equal(weights(train()[0]), weights(train(checkpoint=path)[0]))
