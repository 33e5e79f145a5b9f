import pytest
import timm
import torch
from torch import Tensor, nn

from depthopt.core.operators import Convolution
from depthopt.rewrite.affine import folded
from depthopt.rewrite.regression import Regression
from depthopt.rewrite.set_weights import fresh_lengths, own_lengths, set_weights

SPEC = Convolution(4, 6, (3, 3), padding=(1, 1, 1, 1), groups=2)


def parts(seed: int = 0, *, bias: bool = False) -> tuple[nn.Conv2d, nn.BatchNorm2d, Regression]:
    """A convolution, a norm of random signs, and a regression that has seen its inputs."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=bias).double()
    norm = nn.BatchNorm2d(6).double()
    nn.init.normal_(norm.weight)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    regression = Regression(SPEC, {"y": 6})
    regression.add(inputs(), {"y": torch.randn(8, 6, 5, 5, dtype=torch.float64)})
    return conv, norm.eval(), regression


def inputs() -> Tensor:
    return torch.randn(8, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def wanted() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(6, 2, 3, 3, dtype=torch.float64, generator=generator)
    return weight, torch.randn(6, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("bias", [False, True])
def test_both_compute_what_is_given_at_the_length_that_is_given(bias: bool) -> None:
    conv, norm, regression = parts(bias=bias)
    signs = norm.weight.detach().sign()
    weight, offset = wanted()
    lengths = torch.linspace(0.1, 10, 6, dtype=torch.float64)
    set_weights(conv, norm, weight, offset, regression, lengths)
    torch.testing.assert_close(folded(conv, norm), (weight, offset))
    torch.testing.assert_close(own_lengths(conv), lengths)
    torch.testing.assert_close(norm.weight.detach().sign(), signs)


@torch.no_grad()
def test_training_on_the_same_images_computes_the_same() -> None:
    conv, norm, regression = parts()
    set_weights(conv, norm, *wanted(), regression, fresh_lengths(conv))
    evaluated = norm(conv(inputs()))
    torch.testing.assert_close(norm.train()(conv(inputs())), evaluated)


def test_a_channel_of_nothing_but_its_bias_is_set_too() -> None:
    conv, norm, regression = parts()
    weight, offset = wanted()
    weight[2] = 0
    set_weights(conv, norm, weight, offset, regression, own_lengths(conv))
    torch.testing.assert_close(folded(conv, norm), (weight, offset))


def test_a_channel_that_its_norm_had_switched_off_comes_back_at_its_length() -> None:
    conv, norm, regression = parts()
    nn.init.zeros_(norm.weight)
    before = own_lengths(conv)
    set_weights(conv, norm, *wanted(), regression, before)
    torch.testing.assert_close(folded(conv, norm), wanted())
    torch.testing.assert_close(own_lengths(conv), before)


def test_a_channel_without_a_length_is_set_as_it_is() -> None:
    conv, norm, regression = parts()
    nn.init.zeros_(conv.weight)
    set_weights(conv, norm, *wanted(), regression, own_lengths(conv))
    torch.testing.assert_close(folded(conv, norm), wanted())


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_fresh_lengths_are_those_that_timm_initialises_with(name: str) -> None:
    torch.manual_seed(0)
    convs = [m for m in timm.create_model(name).modules() if isinstance(m, nn.Conv2d)]
    large = [conv for conv in convs if conv.weight.numel() > 4000]
    assert len(large) > 15
    for conv in large:
        mean = own_lengths(conv).square().mean().sqrt()
        torch.testing.assert_close(mean, fresh_lengths(conv).mean(), rtol=0.05, atol=0)
