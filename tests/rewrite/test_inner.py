"""What is left of a gate, or of a middle convolution, where fewer channels have to do."""

import numpy as np
import torch
from torch import nn

from depthopt.core.chain import Block, Layout
from depthopt.core.operators import Activation, Convolution
from depthopt.rewrite.inner import Gate, Middle, weighed

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


def seen(layers: tuple[nn.Conv2d, nn.Conv2d], means: torch.Tensor) -> Gate:
    found = Gate(BLOCKS, weights(layers))
    found.add(means[:30])
    found.add(means[30:60])
    found.hold_out(means[60:])
    return found


@torch.no_grad()
def test_it_weighs_as_the_network_does() -> None:
    layers = gate()
    x = torch.randn(3, 6, 5, 4, dtype=torch.float64)
    wanted = x * layers[1](layers[0](x.mean((2, 3), keepdim=True)).relu()).sigmoid()
    for found in (weighed(x, weights(layers), BLOCKS), Gate(BLOCKS, weights(layers)).through(x)):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def least_squares(design: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights (features, outputs), and the biases, of a regression with a bias."""
    with_ones = np.c_[design, np.ones(len(design))]
    solution = np.linalg.lstsq(with_ones, wanted, rcond=None)[0]
    return solution[:-1], solution[-1]


@torch.no_grad()
def test_what_is_left_of_a_gate_is_least_squares() -> None:
    layers = gate()
    x = torch.randn(80, 6, 2, 3, dtype=torch.float64)
    x[:, 5] = x[:, :3].sum(1) + 0.1 * torch.randn(80, 2, 3, dtype=torch.float64)
    channels = torch.tensor([0, 2, 3, 5])
    (weight, bias), expand = seen(layers, x).narrowed(channels)
    assert torch.equal(expand[0], layers[1].weight)
    assert not weight[:, [1, 4]].any()
    means = x[:60].mean((2, 3), keepdim=True)
    wanted = layers[0](means)[..., 0, 0].numpy()
    own = least_squares(means[:, channels, 0, 0].numpy(), wanted)
    np.testing.assert_allclose(weight[:, channels, 0, 0].T, own[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(bias, own[1], rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_copy_and_a_constant_go_at_no_cost() -> None:
    layers = gate()
    x = torch.randn(80, 6, 2, 3, dtype=torch.float64)
    x[:, 1], x[:, 4] = x[:, 0], 0.5
    (weight, bias), _ = seen(layers, x).narrowed(torch.tensor([0, 2, 3, 5]))
    means = x.mean((2, 3), keepdim=True)
    left = nn.functional.conv2d(means, weight, bias)
    torch.testing.assert_close(left, layers[0](means), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_all_channels_kept_is_exact() -> None:
    layers = gate()
    x = torch.randn(80, 6, 2, 3, dtype=torch.float64)
    (weight, bias), _ = seen(layers, x).narrowed(torch.arange(6))
    torch.testing.assert_close(weight, layers[0].weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(bias, layers[0].bias, rtol=1e-12, atol=1e-12)


MIDDLE = Convolution(5, 5, (3, 3), (2, 1), (1, 1, 0, 1))


@torch.no_grad()
def test_what_is_left_of_a_middle_convolution_is_least_squares() -> None:
    """What no output that stays reads goes; the rest is regressed for these."""
    torch.manual_seed(1)
    weight, bias = torch.randn(5, 5, 3, 3).double(), torch.randn(5).double()
    weight[torch.tensor([0, 2, 3])[:, None], torch.tensor([1, 4])] *= 1e-3
    x = torch.randn(12, 5, 9, 8, dtype=torch.float64)
    middle = Middle(block(MIDDLE, "relu"), ((weight, bias),))
    padded = nn.functional.pad(x, MIDDLE.padding)
    wanted = nn.functional.conv2d(padded, weight, bias, MIDDLE.stride)
    torch.testing.assert_close(middle.through(x), wanted.relu())
    middle.add(x[:8])
    middle.hold_out(x[8:])
    outputs, inputs = torch.tensor([0, 2, 3]), torch.tensor([0, 2, 3])
    ((found, shift),) = middle.narrowed(outputs)
    assert found.any(1).any(-1).any(-1).tolist() == [True, False, True, True, False]
    assert found.any(0).any(-1).any(-1).tolist() == [True, False, True, True, False]
    rows = nn.functional.unfold(padded[:8, inputs], MIDDLE.kernel_size, stride=MIDDLE.stride)
    own = least_squares(
        rows.transpose(1, 2).flatten(0, 1).numpy(),
        wanted[:8, outputs].permute(0, 2, 3, 1).flatten(0, 2).numpy(),
    )
    small = found[outputs[:, None], inputs].flatten(1).T
    np.testing.assert_allclose(small, own[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(shift[outputs], own[1], rtol=1e-3, atol=1e-3)
