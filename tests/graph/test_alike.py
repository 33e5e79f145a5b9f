"""Parts of a network that differ in their weights alone, and those that differ in more."""

from collections.abc import Callable

import pytest
import torch
from torch import fx, nn

from depthopt.errors import ModelError
from depthopt.graph.alike import Alike
from depthopt.graph.trace import trace


class Block(nn.Module):
    """A residual block with what may differ between two."""

    def __init__(self, width: int = 8, eps: float = 1e-5, power: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=eps)
        self.linear = nn.Linear(width, width)
        self.factor = nn.Parameter(torch.rand(width))
        self.register_buffer("shift", torch.zeros(width))
        self.dropout = nn.Dropout(0.1)
        self.power = power

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(self.norm(x)) + self.shift
        return x + self.dropout(y.pow(self.power) * self.factor)


def two(change: Callable[[Block], object] = lambda _: None, **other: float) -> fx.GraphModule:
    """Two blocks in a row, of which the second may be another."""
    torch.manual_seed(0)
    second = Block(**other)
    change(second)
    return trace(nn.Sequential(Block(), second).double().eval(), (4, 8))


def alike(network: fx.GraphModule) -> Alike:
    ends = {"input_1", "add_1", "add_3"}
    begin, first, second = (node for node in network.graph.nodes if node.name in ends)
    return Alike.of(network, [(begin, first), (first, second)])


@torch.no_grad()
def test_the_mean_of_two_blocks() -> None:
    network = two()
    found = alike(network)
    blocks = [network.get_submodule(name) for name in ("0", "1")]
    assert set(found.weights.values()) == {
        (f"0.{name}", f"1.{name}") for name, _ in Block().named_parameters()
    }
    part = found.averaged([0.25, 0.75])
    x = torch.randn(3, 4, 8, dtype=torch.float64)
    mean = Block().double().eval()
    for name, parameter in mean.named_parameters():
        own = [block.get_parameter(name) for block in blocks]
        parameter.copy_(0.25 * own[0] + 0.75 * own[1])
    torch.testing.assert_close(part(x), mean(x), rtol=0, atol=1e-14)
    before = blocks[0].get_parameter("factor").clone()
    found.set_mean([0.25, 0.75])
    assert not torch.equal(blocks[0].get_parameter("factor"), before)
    torch.testing.assert_close(network.get_submodule("0.linear").weight, mean.linear.weight)


@torch.no_grad()
def test_the_mean_of_equal_weights_is_theirs_bit_for_bit() -> None:
    network = two()
    network.get_submodule("1").load_state_dict(network.get_submodule("0").state_dict())
    for name, value in alike(network.float()).mean([0.5, 0.5]).items():
        assert torch.equal(value, network.state_dict()[name])


def test_what_drops_numbers_in_training_may_differ() -> None:
    assert alike(two(lambda block: setattr(block.dropout, "p", 0.3)))
    assert alike(two(lambda block: setattr(block.dropout, "p", 0.0))), "and is not in the graph"


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (two(eps=1e-6), "eps=1e-06"),
        (two(power=3), "one is given 2, the other 3"),
        (two(lambda block: setattr(block, "norm", nn.Identity())), "operations"),
        (two(lambda block: setattr(block, "linear", nn.Linear(8, 8, bias=False))), "bias=False"),
        (two(lambda block: block.shift.fill_(1.0)), "hold other numbers"),
        (two(lambda block: setattr(block.linear, "tag", 3)), "set up in another way"),
        (two(lambda block: setattr(block, "norm", nn.RMSNorm(8))), "RMSNorm"),
        (two(lambda block: setattr(block, "factor", nn.Parameter(torch.rand(1)))), "is (1,)"),
    ],
)
def test_what_differs_in_more_is_refused(network: fx.GraphModule, why: str) -> None:
    with pytest.raises(ModelError, match="cannot share weights") as refused:
        alike(network)
    assert why in str(refused.value)
