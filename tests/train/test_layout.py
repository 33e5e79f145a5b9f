"""Convolutions that oneDNN would train wrongly are trained with their channels outermost."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from depthopt.data.dataset import Dataset
from depthopt.data.tensors import TensorSplit
from depthopt.train.config import TrainConfig
from depthopt.train.finetune import finetune
from depthopt.train.layout import trained_layout


@pytest.mark.parametrize(
    ("convolution", "at_risk"),
    [
        (nn.Conv2d(4, 8, 1, stride=2), True),
        (nn.Conv2d(4, 8, 1, stride=(1, 2)), True),
        (nn.Conv2d(15, 8, 1, stride=3), True),
        (nn.Conv2d(24, 8, 1, stride=2, groups=2), True),
        (nn.Conv2d(1, 8, 1, stride=2), True),
        (nn.Conv2d(16, 8, 1, stride=2), False),
        (nn.Conv2d(4, 8, 1), False),
        (nn.Conv2d(4, 8, 3, stride=2), False),
        (nn.Conv2d(4, 4, 1, stride=2, groups=4), False),
    ],
)
def test_the_kind_is_known(convolution: nn.Conv2d, at_risk: bool) -> None:
    network = nn.Sequential(nn.ReLU(), convolution)
    wanted = torch.contiguous_format if at_risk else torch.channels_last
    assert trained_layout(network, torch.device("cpu")) == wanted
    assert trained_layout(network, torch.device("cuda")) == torch.channels_last


def test_such_a_network_learns_the_same_with_and_without_the_setting() -> None:
    """With channels innermost its gradients would be wrong, or the process would end."""
    torch.manual_seed(0)
    split = TensorSplit(torch.randn(32, 4, 8, 8), torch.randint(0, 3, (32,)))
    data = Dataset("random", ("a", "b", "c"), (4, 8, 8), split, split, split)
    config = TrainConfig(steps=6, batch_size=16, augment=False, distillation=0.0)
    found = []
    for channels_last in (True, False):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Conv2d(4, 8, 1, stride=2), nn.Flatten(), nn.Linear(128, 3))
        finetune(network, data, config=replace(config, channels_last=channels_last))
        found.append(nn.utils.parameters_to_vector(network.parameters()))
    assert torch.equal(*found)
