"""What is traced is the user's network, or refused with the line or module that differs."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthopt.errors import ModelError
from depthopt.graph.runs import alike
from depthopt.graph.trace import trace
from depthopt.graph.verify import check_rewritten, evaluating, relative
from depthopt.shallow.fuse import fuse

SIZE = (2, 6, 6)


class Plain(nn.Module):
    """Two convolutions, norms, and room for a lie between them."""

    def __init__(self, lie: Callable[[nn.Module, Tensor], Tensor] = lambda _, x: x) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.norm, self.b = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.lie, self.calls, self.seen = lie, 0, {"size": 0}

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.lie(self, F.relu(self.norm(self.a(x))))).flatten(1)


def counts(model: nn.Module, x: Tensor) -> Tensor:
    model.calls += 1
    return x * (2 if model.calls > 3 else 1)


def remembers(model: nn.Module, x: Tensor) -> Tensor:
    """What it keeps does not change again."""
    model.seen["size"] = 6
    return x


def random_constant(_: nn.Module, x: Tensor) -> Tensor:
    return x * torch.randn(())


def switches(model: nn.Module, x: Tensor) -> Tensor:
    """The first call is another than all that follow."""
    once, model.seen["once"] = model.seen.get("once", 0), 1
    return x * (1 + once)


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (counts, r"calls changes whenever the network runs, .*\(from 0 to 1 to 2\)"),
        (switches, r"something else when it runs again on the same inputs; it remembers seen"),
        (random_constant, r"traced at test_verify.py:\d+: it draws random numbers"),
    ],
)
def test_a_network_that_is_not_what_it_seems_is_refused(
    lie: Callable[[nn.Module, Tensor], Tensor], why: str
) -> None:
    with pytest.raises(ModelError, match=why):
        trace(Plain(lie).eval(), SIZE)


def test_what_is_only_remembered_is_no_lie() -> None:
    model = Plain(remembers).eval()
    trace(model, SIZE)
    assert model.seen["size"] == 0, "the user's own network never ran"


def test_the_module_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer that took one module for another."""
    original = nn.BatchNorm2d.forward
    seen: list[int] = []

    def twice(self: nn.BatchNorm2d, x: Tensor) -> Tensor:
        seen.append(1)
        return original(self, x) * (2 if len(seen) > 1 else 1)

    monkeypatch.setattr(nn.BatchNorm2d, "forward", twice)
    with pytest.raises(ModelError, match=r"tracing does not understand Plain"):
        trace(Plain().eval(), SIZE)


def test_a_network_on_the_meta_device_is_said_not_to_be_proven(caplog) -> None:
    caplog.set_level("INFO")
    trace(Plain().eval().to("meta"), SIZE)
    assert "Plain lies on the meta device: not proven" in caplog.text


def test_a_batch_of_two_has_to_be_taken() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(2, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x).view(1, 64)

    with pytest.raises(ModelError, match="the model refuses a batch of 2 inputs of 2x6x6: shape"):
        trace(Fixed().eval(), SIZE)


def test_fusing_what_hooks_on_all_modules_change_is_refused() -> None:
    network = trace(Plain().eval(), SIZE)
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, _, output: output + 1 if isinstance(module, nn.BatchNorm2d) else None
    )
    try:
        with pytest.raises(ModelError, match="the rewritten network's outputs differ by"):
            fuse(network)
    finally:
        hook.remove()


def test_rounding_of_the_type_is_allowed_and_no_more() -> None:
    network = trace(Plain().eval(), SIZE)
    other = fuse(network)
    for dtype, factor in ((torch.float32, 1e-5), (torch.float16, 1e-2)):
        with torch.no_grad():
            other.to(torch.float64).b.weight.mul_(1 + factor)
        check_rewritten(network.to(dtype), other.to(dtype), SIZE)
    with torch.no_grad():
        other.to(torch.float32).b.weight.mul_(1 + 1e-2)
    with pytest.raises(ModelError, match="relative, where rounding explains"):
        check_rewritten(network.to(torch.float32), other, SIZE)


def test_half_precision_that_does_not_hold_a_folded_weight_is_refused() -> None:
    model = Plain().eval()
    with torch.no_grad():
        model.a.weight.mul_(1000)
        model.norm.running_var.fill_(1e-6)
    with pytest.raises(ModelError, match=r"folding makes weights of up to .*; torch.float16 ends"):
        fuse(trace(model.half(), SIZE))


def test_each_module_gets_its_own_mode_back() -> None:
    model = Plain().train()
    model.norm.eval()
    with evaluating(model):
        assert not model.a.training
    assert (model.training, model.a.training, model.norm.training) == (True, True, False)


def test_tensors_are_compared_bit_for_bit_and_by_size() -> None:
    x = torch.tensor([1.0, float("nan"), float("inf")])
    assert alike(x, x.clone())
    assert not alike(x, x.double())
    assert not alike(x, x[:2])
    assert not alike(torch.ones(2), torch.ones(2) + 1e-7)
    assert relative(x, torch.tensor([1.5, 0.0, 0.0])) == 0.5
    assert relative(torch.ones(2), x[:2]) == float("inf")
    assert relative(x, x[:2]) == float("inf")
