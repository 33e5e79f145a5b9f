"""Made-up inputs, and batches as traced networks take them."""

import pytest
import torch
from torch import nn

from depthopt.core.inputs import InputSpec
from depthopt.errors import ModelError
from depthopt.graph.examples import blank, in_order, made_up
from depthopt.graph.partial import record
from depthopt.graph.trace import trace

SPEC = InputSpec.parse("image=1x4x4,step=scalar:int64[3..5],gain=2[0..1]")


class Three(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.table = nn.Embedding(9, 2)

    def forward(self, image, step, gain):
        return self.conv(image).mean((2, 3)) * gain + self.table(step)


def test_made_up_examples_are_of_their_types_and_ranges():
    found = made_up(SPEC, 50)
    assert [(x.dtype, tuple(x.shape)) for x in found.values()] == [
        (torch.float32, (50, 1, 4, 4)),
        (torch.int64, (50,)),
        (torch.float32, (50, 2)),
    ]
    assert set(found["step"].tolist()) == {3, 4, 5}
    assert 0 <= found["gain"].min() < found["gain"].max() <= 1
    assert torch.equal(made_up(SPEC, 50)["image"], found["image"])
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(made_up((1, 2, 3), 2, seed=7), torch.randn(2, 1, 2, 3, generator=generator))


def test_blank_inputs_are_of_the_weights_precision_unless_they_are_whole():
    assert {n: x.dtype for n, x in blank(SPEC, torch.zeros(1).double()).items()} == {
        "image": torch.float64, "step": torch.int64, "gain": torch.float64,
    }  # fmt: skip


@torch.no_grad()
def test_a_network_of_several_inputs_is_traced_and_recorded():
    model, inputs = Three().eval(), made_up(SPEC, 4)
    network = trace(model, SPEC)
    shuffled = {name: inputs[name] for name in ("gain", "image", "step")}
    torch.testing.assert_close(network(**shuffled), model(**inputs), rtol=0, atol=0)
    values = record(network, shuffled, {"output", "step"})
    assert torch.equal(values["output"], model(**inputs))
    assert torch.equal(values["step"], inputs["step"])


def test_other_inputs_are_named():
    network = trace(Three(), SPEC)
    with pytest.raises(ModelError, match=r"takes the inputs image, step, gain; got image, stop"):
        in_order(network, {"image": torch.zeros(1, 1, 4, 4), "stop": torch.zeros(1)})
