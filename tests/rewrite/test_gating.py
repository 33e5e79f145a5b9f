"""What is left of a gate where fewer channels have to do."""

import numpy as np
import torch
from torch import nn

from depthopt.core.chain import Block, Layout
from depthopt.core.operators import Activation, Convolution
from depthopt.rewrite.gating import Gating, weighed

SQUEEZE, EXPAND = Convolution(6, 4, (1, 1)), Convolution(4, 6, (1, 1))


def block(operator: Convolution, activation: str | None) -> Block:
    layout = Layout(operator.in_channels, (1, 1), operator.out_channels, (1, 1))
    return Block("b", operator, layout, activation and Activation(activation), "", "", "", "")


BLOCKS = (block(SQUEEZE, "relu"), block(EXPAND, "sigmoid"))


def gate(seed: int = 0) -> tuple[nn.Conv2d, nn.Conv2d]:
    torch.manual_seed(seed)
    return nn.Conv2d(6, 4, 1).double(), nn.Conv2d(4, 6, 1).double()


def weights(layers: tuple[nn.Conv2d, nn.Conv2d]) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    return tuple((layer.weight.detach(), layer.bias.detach()) for layer in layers)


def seen(layers: tuple[nn.Conv2d, nn.Conv2d], means: torch.Tensor) -> Gating:
    gating = Gating(BLOCKS, weights(layers))
    gating.add(means[:30])
    gating.add(means[30:60])
    gating.hold_out(means[60:])
    return gating


@torch.no_grad()
def test_it_weighs_as_the_network_does() -> None:
    layers = gate()
    x = torch.randn(3, 6, 5, 4, dtype=torch.float64)
    wanted = x * layers[1](layers[0](x.mean((2, 3), keepdim=True)).relu()).sigmoid()
    torch.testing.assert_close(weighed(x, weights(layers), BLOCKS), wanted, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_what_is_left_is_least_squares() -> None:
    layers = gate()
    means = torch.randn(80, 6, 1, 1, dtype=torch.float64)
    means[:, 5] = means[:, :3].sum(1) + 0.1 * torch.randn(80, 1, 1, dtype=torch.float64)
    channels = torch.tensor([0, 2, 3, 5])
    (weight, bias), expand = seen(layers, means).narrowed(channels, [1e-12])
    assert torch.equal(expand[0], layers[1].weight)
    assert not weight[:, [1, 4]].any()
    design = np.c_[means[:60, channels, 0, 0].numpy(), np.ones(60)]
    wanted = layers[0](means[:60])[..., 0, 0].numpy()
    solution = np.linalg.lstsq(design, wanted, rcond=None)[0]
    np.testing.assert_allclose(weight[:, channels, 0, 0].T, solution[:-1], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(bias, solution[-1], rtol=1e-6, atol=1e-8)


@torch.no_grad()
def test_a_copy_and_a_constant_go_at_no_cost() -> None:
    layers = gate()
    means = torch.randn(80, 6, 1, 1, dtype=torch.float64)
    means[:, 1], means[:, 4] = means[:, 0], 0.5
    (weight, bias), _ = seen(layers, means).narrowed(torch.tensor([0, 2, 3, 5]), [1e-10])
    left = nn.functional.conv2d(means, weight, bias)
    torch.testing.assert_close(left, layers[0](means), rtol=1e-7, atol=1e-7)


@torch.no_grad()
def test_all_channels_kept_is_exact() -> None:
    layers = gate()
    means = torch.randn(80, 6, 1, 1, dtype=torch.float64)
    (weight, bias), _ = seen(layers, means).narrowed(torch.arange(6), [1e-6, 0.1])
    torch.testing.assert_close(weight, layers[0].weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(bias, layers[0].bias, rtol=1e-12, atol=1e-12)
