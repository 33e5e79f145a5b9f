"""Examples whose targets are a network's outputs."""

import pickle

import torch
from torch import nn

from depthopt.data.answered import answered
from depthopt.data.dataset import Dataset
from depthopt.data.tensors import TensorSplit


def data(examples: int = 20) -> Dataset:
    split = TensorSplit(torch.rand(examples, 1, 4, 4), torch.arange(examples))
    return Dataset("some", ("a", "b"), (1, 4, 4), split, split.subset(torch.arange(8)), split)


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Dropout(0.5)).eval()


def test_held_out_and_test_examples_have_the_networks_outputs_and_no_labels() -> None:
    plain, original = data(), network()
    found = answered(plain, original)
    for split, own in ((found.calibration, plain.calibration), (found.test, plain.test)):
        seen = list(split.batches(6))
        assert sum(len(inputs) for inputs, _ in seen) == len(split) == len(own)
        for inputs, targets in seen:
            assert targets is not None
            assert torch.equal(targets, original(inputs))
            assert not targets.requires_grad
        assert split.targets is None
    assert found.class_names == ()


def test_what_is_trained_on_has_no_targets() -> None:
    train = answered(data(), network()).train
    assert all(targets is None for _, targets in train.batches(6, shuffle_seed=1, augment=True))
    assert train.targets is None


def test_a_subset_and_a_part_of_each_batch_are_those_of_the_split() -> None:
    plain = data()
    found = answered(plain, network())
    chosen = torch.tensor([5, 2, 7])
    (inputs, _), *_ = found.test.subset(chosen).batches(8)
    assert torch.equal(inputs, plain.test.inputs[chosen])
    ours = list(found.test.batches(6, shuffle_seed=3, skip=1, part=(1, 2)))
    theirs = list(plain.test.batches(6, shuffle_seed=3, skip=1, part=(1, 2)))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(ours, theirs, strict=True))


def test_it_goes_to_other_processes() -> None:
    found = answered(data(), network())
    sent = pickle.loads(pickle.dumps(found.test))  # noqa: S301 - made the line before
    (_, mine), *_ = found.test.batches(4)
    (_, theirs), *_ = sent.batches(4)
    assert torch.equal(mine, theirs)
