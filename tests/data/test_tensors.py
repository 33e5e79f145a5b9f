"""Examples of any kind in memory."""

import pytest
import torch

from depthopt.data.dataset import stratified
from depthopt.data.tensors import TensorSplit
from depthopt.errors import DataError

SPLIT = TensorSplit({"a": torch.arange(10), "b": torch.arange(10) * 2.0}, torch.arange(10) * 3)


def test_inputs_and_targets_stay_together():
    seen = []
    for inputs, targets in SPLIT.batches(4, shuffle_seed=3):
        assert torch.equal(inputs["b"], inputs["a"] * 2.0)
        assert torch.equal(targets, inputs["a"] * 3)
        seen += inputs["a"].tolist()
    assert len(seen) == len(set(seen)) == 8, "a last, incomplete batch is left out"
    assert [x["a"].tolist() for x, _ in SPLIT.batches(8)] == [list(range(8)), [8, 9]]


def test_a_pass_is_gone_on_with_and_shared_as_any_other():
    whole = [x["a"].tolist() for x, _ in SPLIT.batches(2, shuffle_seed=1)]
    assert [x["a"].tolist() for x, _ in SPLIT.batches(2, shuffle_seed=1, skip=3)] == whole[3:]
    halves = [
        [x["a"].tolist() for x, _ in SPLIT.batches(2, shuffle_seed=1, part=(i, 2))] for i in (0, 1)
    ]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole


def test_there_need_be_no_targets():
    alone = TensorSplit(torch.arange(4)).subset(torch.tensor([3, 1]))
    ((images, targets),) = alone.batches(2)
    assert images.tolist() == [3, 1]
    assert targets is None
    with pytest.raises(DataError, match="randaugment is for images in files"):
        next(alone.batches(2, randaugment="rand-m9"))


def test_targets_that_are_no_classes_are_held_out_at_random():
    held, others = stratified(torch.randn(20, 1), 5, seed=0)
    assert sorted(held.tolist() + others.tolist()) == list(range(20))
    assert held.tolist() != list(range(5))
    assert torch.equal(held, stratified(torch.randn(20, 1), 5, seed=0)[0])
