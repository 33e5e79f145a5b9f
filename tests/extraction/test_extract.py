import pytest
import timm
import torch
from torch import Tensor, nn

from depthopt.core.chain import Layout
from depthopt.core.operators import Activation
from depthopt.errors import ModelError
from depthopt.extraction.extract import extract
from tests.networks import Residual


def test_blocks_skips_and_projections_of_a_residual_network() -> None:
    chain = extract(Residual(), (2, 8, 8), name="net")
    assert [block.name for block in chain.blocks] == [
        "stem.0", "a1.0", "a2.0", "b1.0", "b2.0", "c1.0", "c2.0", "c3.0",
    ]  # fmt: skip
    relu, relu6 = Activation("relu"), Activation("relu6")
    activations = [block.activation for block in chain.blocks]
    assert activations == [relu6, relu6, relu, relu6, relu, relu6, relu6, None]
    skips = [(s.source, s.target, [layer.name for layer in s.branch]) for s in chain.skips]
    assert skips == [(1, 3, []), (3, 5, ["bp.0"]), (5, 8, [])]
    assert chain.barriers == ()
    assert chain.unused == ()
    assert chain.blocks[3].layout == Layout(4, (8, 8), 8, (4, 4))


def test_a_segment_is_inside_a_skip_or_covers_it() -> None:
    chain = extract(Residual(), (2, 8, 8))
    assert chain.why_illegal(1, 3) is None
    assert chain.why_illegal(0, 5) is None
    assert chain.why_illegal(6, 8) is None
    for start, end in [(0, 2), (2, 4), (4, 6)]:
        assert "crosses in part the skip" in (chain.why_illegal(start, end) or "")
    assert chain.why_illegal(3, 3) is not None
    assert set(chain.segments(2)) >= {(1, 3), (5, 7), (7, 8)}


@pytest.mark.parametrize(
    ("name", "blocks", "skips", "barriers", "unused"),
    [
        ("mobilenetv2_100", 52, 10, 0, []),
        ("resnet18", 17, 8, 1, []),
        ("resnet50", 49, 16, 1, []),
        ("efficientnet_lite0", 49, 9, 0, []),
        ("vgg11_bn", 8, 0, 4, ["ConvMlp hides 2 convolutions from tracing"]),
    ],
)
def test_timm_networks(
    name: str, blocks: int, skips: int, barriers: int, unused: list[str]
) -> None:
    with torch.device("meta"):  # no weight matters here
        model = timm.create_model(name)
    chain = extract(model, (3, 64, 64), name=name)
    assert (len(chain.blocks), len(chain.skips), len(chain.barriers)) == (blocks, skips, barriers)
    assert [part.reason for part in chain.unused] == unused


class Gated(nn.Module):
    """A gate between two convolutions, and one convolution that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.shared = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        x = self.b(x * x.mean((2, 3), keepdim=True).sigmoid())
        return self.c(self.shared(self.shared(x))).mean((2, 3))


def test_what_lies_between_blocks_is_a_barrier_with_a_reason() -> None:
    chain = extract(Gated(), (2, 8, 8))
    assert [block.name for block in chain.blocks] == ["a", "b", "c"]
    assert [barrier.position for barrier in chain.barriers] == [1, 2]
    assert "mul" in chain.barriers[0].reason
    assert "shared" in chain.barriers[1].reason
    assert [(u.node, u.reason) for u in chain.unused] == [
        ("shared", "is called 2 times with shared weights")
    ] * 2


class Untraceable(nn.Module):
    """Control flow on data inside one module."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.odd = Odd()

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.odd(self.a(x))).mean((2, 3))


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_module_that_cannot_be_traced_is_opaque() -> None:
    chain = extract(Untraceable(), (2, 8, 8))
    assert [block.name for block in chain.blocks] == ["a", "b"]
    assert [barrier.reason for barrier in chain.barriers] == ["Odd odd"]


def test_the_model_is_not_changed() -> None:
    model = Residual().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    extract(model, (2, 8, 8))
    assert model.training
    assert model.act.inplace
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_unusable_models_are_refused_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match="Linear has no convolution"):
        extract(nn.Linear(3, 3), (3, 8, 8))
    with pytest.raises(ModelError, match=r"refuses an input of 5x8x8: .* 2 channels, but got 5"):
        extract(Residual(), (5, 8, 8))
    assert capfd.readouterr().err == ""
    broken = Residual()
    broken.a1[0].weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"a1\.0\.weight holds NaN"):
        extract(broken, (2, 8, 8))
