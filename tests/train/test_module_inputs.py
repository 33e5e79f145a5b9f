"""Reading what goes into modules."""

import torch
from torch import nn

from depthopt.train.module_inputs import Taps


def test_a_module_is_read_by_any_of_its_names():
    shared = nn.ReLU()
    network = nn.Sequential(nn.Linear(2, 2), shared, nn.Linear(2, 2), shared)
    taps = Taps(network, ["1", "3"])
    network(torch.ones(1, 2))
    first, second = taps.values
    assert torch.equal(first, second), "the last call's input"
    taps.remove()
    assert not shared._forward_pre_hooks
