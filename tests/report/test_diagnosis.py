"""What the doctor says of networks of all sorts."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthopt.models.registry import create_model
from depthopt.report.diagnosis import Diagnosis, diagnose
from tests.networks import randomised
from tests.transformers import small

SIZE = (2, 8, 8)


def layer(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out)
    )


class Stranger(nn.Module):
    """Four layers and a head, with something of the user's own."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.a, self.b = layer(2, 4), layer(4, 4), layer(4, 4)
        self.drop, self.head, self.how = nn.Dropout2d(0.2), nn.Linear(4, 3), how
        if how == "tied":
            self.b[0].weight = self.a[0].weight
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = F.relu(self.stem(x))
        y = F.relu(self.b(F.relu(self.a(x))))
        if self.how == "dropout":
            y = self.drop(y)
        if self.how == "sliced":
            y = y + F.pad(x[:, :, ::2, ::2], (0, 4, 0, 4))
        if self.how == "counting":
            self.calls += 1
        found = self.head(y.mean((2, 3)))
        more = {"two outputs": y, "two kinds": "logits"}.get(self.how)
        return found if more is None else (found, more)


def of(how: str) -> Diagnosis:
    return diagnose(randomised(Stranger(how)), SIZE)


def test_a_network_with_dropout_is_understood() -> None:
    found = of("dropout")
    assert found.sound
    assert found.about.endswith("Stranger at 2x8x8, 411 parameters, float32, on cpu")
    assert "3 blocks, 3 of them with an activation" in found.understood
    assert found.understood[-1].startswith("random in training, and kept so: drop (Dropout2d(p=0.2")
    assert found.left_out == ()
    assert {part.holds for part in found.proof} == {True}
    assert found.versions["torch"] == torch.__version__.partition("+")[0]


def test_what_is_left_out_is_said_with_the_reason() -> None:
    tied, sliced = of("tied"), of("sliced")
    assert not any("random" in line for line in tied.understood), "its dropout is never called"
    assert tied.left_out[:2] == (
        "a.0: shares its weight with b.0.weight", "b.0: shares its weight with a.0.weight",
    )  # fmt: skip
    assert any(
        re.search(r"between stem.0 and a.0: also read by getitem", s) for s in sliced.left_out
    )
    assert tied.sound
    assert sliced.sound


def test_several_outputs_are_understood() -> None:
    found = of("two outputs")
    assert found.refused is None
    assert found.sound


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("two kinds", "Stranger returns a str in its output 1, not a tensor; wrap it in a module"),
        ("counting", "calls changes whenever the network runs, in evaluation mode too"),
    ],
)
def test_a_refusal_is_a_diagnosis(how: str, why: str) -> None:
    found = of(how)
    assert found.refused is not None
    assert found.refused.startswith(why)
    assert not found.sound
    assert found.versions


def test_what_replacing_keeps_is_said_by_kind() -> None:
    found = diagnose(create_model("small:residual", {}), (3, 16, 16))
    lines = "\n".join(found.exact)
    assert re.search(r"\d+ candidates of kind drop: what is left computes the same", lines)
    assert re.search(r"\d+ candidates of kind fit: not exact: regressed on images", lines)


def test_averaged_blocks_are_not_said_to_compute_the_same() -> None:
    found = diagnose(small("vit"), (3, 16, 16))
    (line,) = (line for line in found.exact if "kind share" in line)
    assert "not exact: other weights stand in" in line


def test_a_model_without_shapes_is_a_diagnosis_too() -> None:
    found = diagnose(nn.Sequential(nn.LazyConv2d(4, 3)), SIZE)
    assert "parameters without a shape" in found.about
    assert "0.weight has no shape yet" in str(found.refused)
