"""Networks as users give them: wrapped, tied, without shapes, or none at all."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm, weight_norm

from depthopt.errors import ModelError
from depthopt.graph.original import copied, deepcopied, unwrapped


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1)).eval()


@pytest.mark.parametrize(
    "wrap", [torch.compile, nn.DataParallel, torch.optim.swa_utils.AveragedModel]
)
def test_wrappers_are_taken_off(wrap) -> None:
    model, x = small(), torch.randn(1, 2, 3, 3)
    made = copied(wrap(model))
    assert type(made) is nn.Sequential
    assert torch.equal(made(x), model(x))


def test_wrappers_inside_are_taken_off() -> None:
    model = nn.Sequential(torch.compile(small()), nn.Flatten())
    assert list(copied(model).state_dict()) == ["0.0.weight", "0.0.bias", "0.2.weight", "0.2.bias"]


def test_weights_in_one_place_are_tied_in_a_copy() -> None:
    model = small()
    model[2].weight = nn.Parameter(model[0].weight.data)
    model[2].bias = model[0].bias
    made = copied(model)
    assert made[2].weight is made[0].weight
    assert made[2].bias is made[0].bias
    assert made[0].weight.data_ptr() != model[0].weight.data_ptr()


def test_weights_that_overlap_are_refused() -> None:
    model = small()
    model[2].weight = nn.Parameter(model[0].weight.data.transpose(0, 1))
    with pytest.raises(ModelError, match=r"0.weight and 2.weight overlap in memory"):
        copied(model)


@pytest.mark.parametrize("norm", [weight_norm, spectral_norm])
def test_weights_with_a_history_are_copied(norm) -> None:
    model = nn.Sequential(norm(nn.Conv2d(2, 2, 1)))
    x = torch.randn(1, 2, 3, 3)
    model(x)
    model.eval()
    assert torch.equal(deepcopied(model)(x), model(x))


def test_a_model_of_several_devices_or_none_is_told_apart() -> None:
    half_meta = small()
    half_meta[2] = half_meta[2].to("meta")
    with pytest.raises(ModelError, match=r"several devices \(cpu, meta\); move it to one"):
        copied(half_meta)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: "resnet18", "a model is a torch.nn.Module; got str"),
        (lambda: torch.jit.script(nn.ReLU()), "TorchScript model cannot be traced"),
        (lambda: nn.Sequential(nn.LazyConv2d(2, 1)), "0.weight has no shape yet; run one batch"),
    ],
)
def test_what_is_no_network_that_can_be_traced_is_refused(model, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        copied(model())


def test_a_hook_on_the_network_itself_is_refused() -> None:
    model = small()
    model.register_forward_hook(lambda *_: None)
    with pytest.raises(ModelError, match="Sequential itself carries a hook"):
        unwrapped(model)


def test_what_cannot_be_copied_is_refused() -> None:
    model = small()
    model.file = Path(__file__).open()  # noqa: SIM115 - a handle that no copy can share
    with model.file, pytest.raises(ModelError, match="Sequential cannot be copied: cannot pickle"):
        copied(model)
