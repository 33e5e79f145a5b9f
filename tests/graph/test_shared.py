"""Weights that two parts of a network read stay one, and are neither folded nor replaced."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthopt.core.candidate import kept_blocks
from depthopt.core.plan import Plan
from depthopt.extraction.extract import extract
from depthopt.models.weights import load_weights, save_weights
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from tests.networks import randomised

SIZE = (2, 6, 6)


class Tied(nn.Module):
    """Four convolutions with norms, whose weights are tied in one way or another."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.a, self.b = (
            nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)) for _ in range(2)
        )
        self.head, self.how = nn.Linear(4, 3), how
        if how == "one parameter":
            self.b[0].weight = self.a[0].weight
        if how == "one place":
            self.b[0].weight = nn.Parameter(self.a[0].weight.data)
        if how == "one norm":
            self.b[1] = self.a[1]
        if how == "statistics":
            self.b[1].running_mean = self.a[1].running_mean

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        y = F.relu(self.b(F.relu(self.a(x))))
        if self.how == "read by name":
            y = y + F.conv2d(x, self.a[0].weight, padding=2, dilation=2)
        if self.how == "a scale of a norm":
            y = y * self.a[1].weight.abs().mean()
        return self.head(y.mean((2, 3)))


REASONS = {
    "one parameter": {
        "a.0": "shares its weight with b.0.weight",
        "b.0": "shares its weight with a.0.weight",
    },
    "one place": {
        "a.0": "shares its weight with b.0.weight",
        "b.0": "shares its weight with a.0.weight",
    },
    "one norm": {},
    "statistics": {
        "a.1": "shares its running_mean with b.1.running_mean",
        "b.1": "shares its running_mean with a.1.running_mean",
    },
    "read by name": {"a.0": r"its weight is also read by conv2d (test_shared.py:"},
    "a scale of a norm": {"a.1": r"its weight is also read by abs (test_shared.py:"},
}


@pytest.mark.parametrize("how", REASONS)
@torch.no_grad()
def test_shared_weights_are_left_alone_and_said_to_be(how: str) -> None:
    model = randomised(Tied(how))
    chain, x = extract(model, SIZE), torch.randn(3, *SIZE)
    unused = {u.node: u.reason for u in chain.unused}
    for node, reason in REASONS[how].items():
        assert unused[node].startswith(reason)
    network = apply(model, chain, Plan("Tied", SIZE, kept_blocks(chain), 1, 1, 0))
    assert torch.equal(network(x), model(x))
    assert torch.allclose(fuse(network)(x), model(x), rtol=1e-5, atol=1e-5)


def test_tied_weights_stay_tied_and_are_saved(tmp_path) -> None:
    model = randomised(Tied("one parameter"))
    chain = extract(model, SIZE)
    network = apply(model, chain, Plan("Tied", SIZE, kept_blocks(chain), 1, 1, 0))
    for made in (network, fuse(network)):
        assert made.get_submodule("a.0").weight is made.get_submodule("b.0").weight
        save_weights(made, tmp_path / "tied.safetensors")
        before = made(torch.ones(1, *SIZE))
        with torch.no_grad():
            made.get_submodule("a.0").weight.zero_()
        load_weights(made, tmp_path / "tied.safetensors")
        assert torch.equal(made(torch.ones(1, *SIZE)), before)
