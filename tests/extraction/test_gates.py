"""Squeeze-excites that are found, and what is none."""

import pytest
import timm
import torch.nn.functional as F
from torch import Tensor, nn

from depthopt.core.chain import Chain, Gate
from depthopt.extraction.extract import extract


class Network(nn.Module):
    """A convolution, what is made of it, and another convolution."""

    def __init__(self, kind: str = "squeeze-excite", *, norm: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.squeeze, self.expand = nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1)
        self.norm = nn.BatchNorm2d(2) if norm else nn.Identity()
        self.pool, self.largest = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)

    def means(self, x: Tensor) -> Tensor:
        if self.kind == "pooled":
            return self.pool(x)
        if self.kind == "function":
            return F.adaptive_avg_pool2d(x, 1)
        if self.kind == "maximum":
            return self.largest(x)
        return x.mean((2, 3), keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        means = self.means(x)
        gate = self.expand(self.norm(self.squeeze(means)).relu()).sigmoid()
        product = x + gate if self.kind == "sum" else x * gate
        y = self.last(product)
        if self.kind in {"mean read", "source read", "product read", "gate read"}:
            read = {"mean": means, "source": x, "product": product, "gate": gate}
            y = y + read[self.kind.split()[0]][:, :4]
        return y


def found(model: nn.Module) -> Chain:
    return extract(model.eval(), (3, 8, 8))


@pytest.mark.parametrize("kind", ["squeeze-excite", "pooled", "function"])
def test_gates_are_found(kind: str) -> None:
    chain = found(Network(kind))
    assert [(gate.start, gate.end) for gate in chain.gates] == [(1, 3)]
    assert chain.gates[0].source == chain.blocks[0].output
    assert chain.gates[0].product == chain.blocks[3].input
    assert chain.gate_in(0, 4) == chain.gates[0]
    assert chain.gate_in(1, 4) is chain.gate_in(0, 3) is None


@pytest.mark.parametrize(
    "kind", ["maximum", "sum", "mean read", "source read", "product read", "gate read"]
)
def test_what_is_none_is_not(kind: str) -> None:
    assert found(Network(kind)).gates == ()


def test_a_norm_inside_is_not_known() -> None:
    assert found(Network(norm=True)).gates == ()


def test_those_of_timm() -> None:
    counts = {"mobilenetv3_small_050": 9, "regnety_002": 13, "seresnet18": 0, "resnet18": 0}
    for name, count in counts.items():
        chain = extract(timm.create_model(name).eval(), (3, 32, 32))
        assert len(chain.gates) == count, name


def test_a_changed_file_is_refused() -> None:
    chain = found(Network())
    with pytest.raises(ValueError, match="a gate runs from 2 to 9 in a chain of 4 blocks"):
        Chain(
            chain.model, chain.input_size, chain.blocks, (), (), (), gates=(Gate(2, 9, "x", "y"),)
        )
