"""What an operation writes in place is read by what comes after it, as in the user's network."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthopt.errors import ModelError
from depthopt.graph.partial import record
from depthopt.graph.trace import trace

SIZE = (2, 6, 6)


class Written(nn.Module):
    """Two convolutions with a statement between them, of whose result nothing is made."""

    def __init__(self, statement: Callable[[nn.Module, Tensor], Tensor | None]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1)
        self.act, self.opaque = nn.SiLU(inplace=True), Opaque()
        self.statement = statement

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        found = self.statement(self, x)
        return self.b(x if found is None else found).flatten(1)


class Opaque(nn.Module):
    """Writes into its input, and cannot be traced into."""

    def forward(self, x: Tensor) -> float:
        x.clamp_(min=float(x.detach().min()) / 2)
        return 0.0


def double(x: Tensor) -> Tensor:
    return x * 2


STATEMENTS = {
    "method": lambda _, x: nothing(x.relu_()),
    "method with a factor": lambda _, x: nothing(x.mul_(0.5)),
    "method without a like": lambda _, x: nothing(x.fill_(0.5)),
    "function": lambda _, x: nothing(F.relu(x, inplace=True)),
    "function, by position": lambda _, x: nothing(F.leaky_relu(x, 0.2, True)),
    "function with an underscore": lambda _, x: nothing(F.relu_(x), torch.tanh_(x)),
    "module": lambda m, x: nothing(m.act(x)),
    "module, twice": lambda m, x: nothing(m.act(x), m.act(x)),
    "out": lambda _, x: nothing(torch.add(x, 1.5, out=x)),
    "out of another": lambda m, x: nothing(torch.mul(m.a.bias.sum(), x, out=x)),
    "chain": lambda _, x: nothing(x.add_(1).mul_(2).relu_()),
    "itself": lambda _, x: nothing(x.mul_(x)),
    "another name": lambda _, x: nothing(second(x).relu_()),
    "a view of all": lambda _, x: x.view(-1, 4, 4, 4).relu_(),
    "opaque": lambda m, x: nothing(m.opaque(x)),
    "a result that is read": lambda _, x: double(x.relu_()) + x,
    "types that are unlike": lambda _, x: nothing(x.add_(torch.ones(1, dtype=torch.double))),
}


def nothing(*_: object) -> None:
    """A statement's result is thrown away."""


def second(x: Tensor) -> Tensor:
    return x


@pytest.mark.parametrize("name", STATEMENTS)
@torch.no_grad()
def test_a_statement_is_not_lost(name: str) -> None:
    model = Written(STATEMENTS[name]).eval()
    network, x = trace(model, SIZE), torch.randn(3, *SIZE)
    assert torch.equal(network(x), model(x))


@pytest.mark.parametrize("name", ["function", "module", "method", "out", "opaque"])
def test_what_was_recorded_is_not_overwritten(name: str) -> None:
    model = Written(STATEMENTS[name]).eval()
    x = torch.randn(3, *SIZE)
    network, given = trace(model, SIZE), x.clone()
    assert torch.equal(record(network, given, {"a", "output"})["a"], model.a(x))
    assert torch.equal(given, x)


def test_an_input_that_is_normalised_in_place_stays_as_it_was() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x.sub_(0.5).div_(2)
            return self.conv(x)

    model, x = Normalised().eval(), torch.randn(3, *SIZE)
    network, given = trace(model, SIZE), x.clone()
    assert torch.equal(network(given), model(x.clone()))
    assert torch.equal(given, x)


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (
            lambda _, x: nothing(x[:, :2].mul_(2)),
            r"mul_ \(test_in_place.py:\d+\) writes",
        ),
        (lambda m, x: nothing(m.a.bias.add_(x.mean())), "a.bias changes whenever the network runs"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_line(
    statement: Callable[[nn.Module, Tensor], None], why: str
) -> None:
    model = Written(statement).eval().requires_grad_(False)
    with pytest.raises(ModelError, match=why):
        trace(model, SIZE)
