"""What a network does in training alone, its traced network does in training alone."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn
from torchvision.ops import StochasticDepth, stochastic_depth

from depthopt.errors import ModelError
from depthopt.graph.network import TracedNetwork
from depthopt.graph.trace import trace

SIZE = (2, 6, 6)


class Random(nn.Module):
    """A convolution, something that depends on the mode, and a convolution."""

    def __init__(self, step: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.norm = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.path, self.depth, self.step = DropPath(0.5), StochasticDepth(0.5, "row"), step
        self.noise = Noise()

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.step(self, self.a(x))).flatten(1)


class Noise(nn.Module):
    """Adds noise in training, as a branch that the user wrote."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return x + torch.randn_like(x)
        return x


STEPS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "function": lambda m, x: F.dropout(x, 0.5, m.training),
    "function of channels": lambda m, x: F.dropout2d(x, p=0.5, training=m.training),
    "rrelu": lambda m, x: F.rrelu(x, training=m.training),
    "module": lambda m, x: x + m.path(x),
    "torchvision's module": lambda m, x: x + m.depth(x),
    "torchvision's function": lambda m, x: stochastic_depth(x, 0.5, "row", m.training),
    "a branch": lambda m, x: m.noise(x),
    "always random": lambda _, x: F.dropout(x, 0.5),
}


def passed(network: nn.Module, x: Tensor, *, train: bool) -> Tensor:
    torch.manual_seed(1)
    return network.train(train)(x)


@pytest.mark.parametrize("name", STEPS)
def test_what_is_random_in_training_alone_stays_so(name: str) -> None:
    model = Random(STEPS[name]).eval()
    network, x = trace(model, SIZE), torch.randn(8, *SIZE)
    for train in (True, False):
        assert torch.equal(passed(network, x, train=train), passed(model, x, train=train))
    random = name == "always random"
    assert torch.equal(model.eval()(x), model(x)) is not random
    assert not torch.equal(network.train()(x), network(x))


def test_a_branch_around_convolutions_is_refused_with_its_line() -> None:
    def step(model: nn.Module, x: Tensor) -> Tensor:
        return x * 2 if model.training else x

    with pytest.raises(ModelError, match=r"else in training from mul \(test_training.py:\d+\) on"):
        trace(Random(step), SIZE)


def test_outputs_beside_the_first_are_for_training() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.head, self.other = nn.Conv2d(2, 4, 3), nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            x = self.a(x).mean((2, 3))
            return (self.head(x), self.other(x)) if self.training else self.head(x)

    model, x = Auxiliary().eval(), torch.randn(3, *SIZE)
    network = trace(model, SIZE)
    assert torch.equal(network(x), model(x))
    assert torch.equal(network.train()(x), model.train()(x)[0])


class Frozen(nn.Module):
    """Its norm stays in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4)

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


def test_a_norm_that_stays_in_evaluation_mode_does_so_traced() -> None:
    network: TracedNetwork = trace(Frozen().eval(), SIZE)
    network.train()
    assert (network.conv.training, network.norm.training) == (True, False)


def test_dropout_that_stays_on_in_evaluation_is_refused() -> None:
    class Stays(Frozen):
        def train(self, mode: bool = True) -> "Stays":
            nn.Module.train(self, mode)
            self.norm.train()
            return self

    with pytest.raises(ModelError, match="norm stays in training mode when the model is set to"):
        trace(Stays(), SIZE)


def test_reading_the_mode_is_as_it_was_once_traced() -> None:
    trace(Random(STEPS["function"]), SIZE)
    assert not hasattr(nn.Module, "training")
