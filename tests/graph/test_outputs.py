"""Outputs of several tensors, as one."""

from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import Tensor, nn

from depthopt.errors import ModelError
from depthopt.graph.outputs import AsOne, leaves, numbers_of, one_tensor
from depthopt.graph.trace import trace

Pair = namedtuple("Pair", "first second")
A, B = torch.arange(12.0).view(2, 3, 2), torch.arange(2.0)


@pytest.mark.parametrize(
    ("output", "names"),
    [
        (A, [""]),
        (OrderedDict(out=A, aux=None), ["out"]),
        ((A, B), ["0", "1"]),
        ([A, None, B], ["0", "2"]),
        (OrderedDict(out=A, aux=B), ["out", "aux"]),
        ({"boxes": [A, B], "scores": B}, ["boxes.0", "boxes.1", "scores"]),
        (Pair(A, B), ["0", "1"]),
    ],
)
def test_every_tensor_has_a_name_and_their_numbers_lie_in_order(
    output: object, names: list[str]
) -> None:
    found = leaves(nn.Identity(), output)
    assert list(found) == names
    one = one_tensor(nn.Identity(), output)
    if len(found) == 1:
        assert one is A
        return
    assert torch.equal(one, torch.cat([t.reshape(2, -1) for t in found.values()], 1))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("logits", "returns a str, not a tensor"),
        ({"out": A, "size": 3}, "returns a int in its output size, not a tensor"),
        ((), "returns no tensor"),
        ([None], "returns no tensor"),
        ((A, B.long()), r"returns torch.int64 of shape \(2,\) as output 1, beside torch.float32"),
        ((A, A[:1]), r"of shape \(1, 3, 2\) as output 1"),
        ((A, torch.tensor(1.0)), r"of shape \(\) as output 1"),
    ],
)
def test_what_is_not_tensors_of_one_batch_is_refused(output: object, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        one_tensor(nn.Identity(), output)
    assert "\n" not in str(caught.value)


class Heads(nn.Module):
    """Gives what ``shape`` makes of two tensors."""

    def __init__(self, shape: object) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.shape = shape

    def forward(self, x: Tensor) -> object:
        features = nn.functional.dropout(self.body(x).relu(), 0.2, self.training)
        return self.shape(features, self.head(features))


SHAPES = {
    "tuple": lambda a, b: (a, b),
    "list": lambda a, b: [a, b],
    "dict": lambda a, b: {"features": a, "out": b},
    "ordered": lambda a, b: OrderedDict(features=a, out=b),
    "named": Pair,
    "nested": lambda a, b: {"pyramid": [a, a.mean((2, 3))], "out": b},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_traced_network_gives_its_outputs_as_the_model_does(shape: str) -> None:
    model = Heads(SHAPES[shape]).eval()
    traced = trace(model, (3, 8, 8))
    images = torch.rand(2, 3, 8, 8)
    wanted, found = leaves(model, model(images)), leaves(traced, traced(images))
    assert list(wanted) == list(found)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert torch.equal(AsOne(traced)(images), one_tensor(model, model(images)))
    assert numbers_of(model, (3, 8, 8)) == tuple(t[0].numel() for t in wanted.values())


def test_a_network_of_several_outputs_may_have_fewer_in_no_mode() -> None:
    class MoreInTraining(Heads):
        def forward(self, x: Tensor) -> object:
            features = self.body(x).relu()
            out = self.head(features)
            return (out, features, out) if self.training else (out, features)

    with pytest.raises(ModelError, match="does something else in training"):
        trace(MoreInTraining(None).eval(), (3, 8, 8))
