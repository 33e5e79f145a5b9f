"""Every structure that extraction knows, on networks of a few layers."""

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm

from depthopt.core.chain import Chain
from depthopt.core.operators import Activation, AveragePooling, Convolution
from depthopt.errors import ModelError
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import latency_keys
from tests.networks import Residual, randomised

SIZE = (4, 8, 8)
RELU = Activation("relu")


def conv(
    i: int, o: int, k: int = 3, s: int = 1, *, act: bool = True, norm: bool = True
) -> nn.Module:
    layers = [nn.Conv2d(i, o, k, s, k // 2), *([nn.BatchNorm2d(o)] if norm else [])]
    return nn.Sequential(*layers, *([nn.ReLU()] if act else []))


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Net(nn.Module):
    """A stem, one unit and a last convolution."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.last = conv(4, 4), conv(4, 4)
        for name, part in parts.items():
            setattr(self, name, part)
        randomised(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.unit(self.stem(x))).mean((2, 3))

    def unit(self, x: Tensor) -> Tensor:
        raise NotImplementedError


def skips(chain: Chain) -> list[tuple[int, int]]:
    return [(skip.source, skip.target) for skip in chain.skips]


def names(chain: Chain) -> list[str]:
    return [block.name for block in chain.blocks]


class Pooled(Net):
    def unit(self, x: Tensor) -> Tensor:
        return torch.relu(self.b(self.a(x)) + self.p(self.pool(x)))


def pooled() -> Net:
    pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
    return Pooled(a=conv(4, 4, s=2), b=conv(4, 4, act=False), p=conv(4, 4, 1, act=False), pool=pool)


def test_a_projection_behind_average_pooling() -> None:
    chain = extract(pooled(), SIZE)
    (skip,) = chain.skips
    pool, projection = skip.branch
    assert (skip.source, skip.target, projection.name, pool.name) == (1, 3, "p.0", "pool")
    assert pool.operator == AveragePooling(4, (2, 2), (2, 2))
    assert projection.operator == Convolution(4, 4, (1, 1))
    assert chain.barriers == ()
    (drop,) = (c for c in candidates(chain, kinds=("drop",)) if c.kind == "drop")
    assert [str(key) for key in latency_keys(chain, drop)] == [
        "avgpool 4-4 k2x2 s2x2 g4 @8x8", "conv 4-4 k1x1 @4x4 relu",
    ]  # fmt: skip


def test_pooling_over_windows_of_unequal_size_is_no_convolution() -> None:
    chain = extract(pooled(), (4, 7, 7))
    assert chain.skips == ()
    assert ("pool", "averages over windows of unequal size") in {
        (unused.node, unused.reason) for unused in chain.unused
    }


class Behind(Net):
    def unit(self, x: Tensor) -> Tensor:
        return self.b(self.a(x)) + x


def test_an_add_behind_the_activation() -> None:
    chain = extract(Behind(a=conv(4, 4), b=conv(4, 4)), SIZE)
    assert skips(chain) == [(1, 3)]
    assert (chain.barriers, chain.unused) == ((), ())
    assert chain.why_unmergeable(1, 3) is None
    assert chain.ending(2, 3).activation == RELU
    assert chain.ending(1, 3).activation is None
    (keep,) = (c for c in candidates(chain) if (c.kind, c.start) == ("keep", 2))
    assert [str(key) for key in latency_keys(chain, keep)] == [
        "conv 4-4 k3x3 p1,1,1,1 @8x8 relu", "identity 4 @8x8 +add",
    ]  # fmt: skip


class PreActivated(Net):
    def unit(self, x: Tensor) -> Tensor:
        return self.b(self.a(self.act(self.norm(x)))) + x


def test_a_norm_that_no_convolution_can_absorb_is_a_block() -> None:
    chain = extract(
        PreActivated(a=conv(4, 4), b=conv(4, 4, act=False), norm=nn.BatchNorm2d(4), act=nn.ReLU()),
        SIZE,
    )
    assert names(chain) == ["stem.0", "norm", "a.0", "b.0", "last.0"]
    assert chain.blocks[1].operator.is_scaling
    assert chain.blocks[1].activation == RELU
    assert skips(chain) == [(1, 4)]
    assert chain.barriers == ()


class Reparameterised(Net):
    def unit(self, x: Tensor) -> Tensor:
        return torch.relu(self.p(x) + self.a(x) + self.norm(x))


def test_parallel_convolutions_and_a_norm_merge_into_one() -> None:
    parts = {"a": conv(4, 4, act=False), "p": conv(4, 4, 1, act=False)}
    chain = extract(Reparameterised(**parts, norm=nn.BatchNorm2d(4)), SIZE)
    assert names(chain) == ["stem.0", "a.0", "last.0"]
    assert skips(chain) == [(1, 2), (1, 2)]
    assert {layer.name for skip in chain.skips for layer in skip.branch} == {"p.0", "norm"}
    merges = [c for c in candidates(chain, kinds=("merge",)) if c.kind == "merge"]
    assert [(c.start, c.end) for c in merges if c.convolution == chain.blocks[1].operator] == [
        (1, 2)
    ]


class Inside(Net):
    def unit(self, x: Tensor) -> Tensor:
        return self.b(self.gate(self.a(x))) + x


def test_a_gate_inside_a_residual_goes_with_the_whole() -> None:
    chain = extract(Inside(a=conv(4, 4), gate=Gate(), b=conv(4, 4, 1, act=False)), SIZE)
    assert names(chain) == ["stem.0", "a.0", "gate.down", "gate.up", "b.0", "last.0"]
    assert skips(chain) == [(1, 5)]
    assert [(b.position, b.region) for b in chain.barriers] == [(2, (1, 5)), (4, (1, 5))]
    assert chain.why_illegal(1, 5) is None
    assert "crosses the barrier" in (chain.why_unmergeable(1, 5) or "")
    assert "crosses the barrier" in (chain.why_illegal(2, 5) or "")
    kinds = {c.kind for c in candidates(chain, kinds=("drop", "fit", "merge"), fewer_macs=False)
             if (c.start, c.end) == (1, 5)}  # fmt: skip
    assert kinds == {"drop", "fit"}


class Last(Net):
    def unit(self, x: Tensor) -> Tensor:
        return torch.relu(self.gate(self.b(self.a(x))) + x)


def test_a_gate_at_the_end_of_a_residual() -> None:
    chain = extract(Last(a=conv(4, 4), b=conv(4, 4, act=False), gate=Gate()), SIZE)
    assert skips(chain) == [(1, 5)]
    assert [(b.position, b.region) for b in chain.barriers] == [(3, (1, 5))]
    assert chain.ending(1, 5).activation == RELU
    assert chain.ending(1, 5).size == (8, 8)
    assert chain.ending(4, 5).size == (1, 1)
    assert chain.why_illegal(1, 6) is None
    fits = [c for c in candidates(chain, kinds=("fit",), fewer_macs=False)
            if (c.start, c.end, c.kind) == (1, 5, "fit")]  # fmt: skip
    assert {c.convolution.output_size((8, 8)) for c in fits} == {(8, 8)}
    (keep,) = (c for c in candidates(chain) if (c.kind, c.start) == ("keep", 4))
    assert "identity 4 @8x8 +add relu" in [str(key) for key in latency_keys(chain, keep)]


class Between(Net):
    def unit(self, x: Tensor) -> Tensor:
        return self.b(self.pool(self.a(x)))


def test_pooling_between_blocks_is_replaced_with_them() -> None:
    chain = extract(Between(a=conv(4, 4), pool=nn.MaxPool2d(3, 2, 1), b=conv(4, 4)), SIZE)
    assert [(b.position, b.region) for b in chain.barriers] == [(2, (1, 3))]
    fits = [c for c in candidates(chain, kinds=("fit",), fewer_macs=False)
            if (c.start, c.end, c.kind) == (1, 3, "fit")]  # fmt: skip
    assert fits
    assert {c.convolution.stride for c in fits} == {(2, 2)}


class Leaking(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = self.a(self.stem(x))
        return self.last(self.b(self.gate(y))).mean((2, 3)) + y.mean((2, 3))


def test_what_is_read_elsewhere_belongs_to_no_region() -> None:
    chain = extract(Leaking(a=conv(4, 4), gate=Gate(), b=conv(4, 4)), SIZE)
    assert {barrier.region for barrier in chain.barriers if barrier.position <= 2} == {None}


class Plain(Net):
    def unit(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))


@pytest.mark.parametrize(("size", "sides"), [(8, (0, 1, 0, 1)), (7, (1, 1, 1, 1))])
def test_same_padding_is_resolved_from_the_input_size(size: int, sides: tuple[int, ...]) -> None:
    chain = extract(Plain(a=Conv2dSame(4, 4, 3, 2), b=conv(4, 4)), (4, size, size))
    assert chain.blocks[1].operator.padding == sides
    assert chain.unused == ()


def test_hooks_and_parametrisations_are_not_merged_away() -> None:
    hooked, normed = conv(4, 4), conv(4, 4)
    hooked[0].register_forward_hook(lambda *_: None)
    parametrizations.weight_norm(normed[0])
    chain = extract(Plain(a=hooked, b=normed), SIZE)
    assert names(chain) == ["stem.0", "a.1", "b.1", "last.0"]
    reasons = {unused.node: unused.reason for unused in chain.unused}
    assert "hook" in reasons["a.0"]
    assert "remove_parametrizations" in reasons["b.0"]
    old = conv(4, 4)
    spectral_norm(old[0])
    reason = extract(Plain(a=old, b=conv(4, 4)), SIZE).unused[0].reason
    assert "torch.nn.utils.remove_spectral_norm" in reason


def test_training_mode_precision_and_device_do_not_matter_to_structure() -> None:
    wanted = extract(Residual(), (2, 8, 8))
    assert extract(Residual().train(), (2, 8, 8)) == wanted
    assert extract(Residual().half(), (2, 8, 8)) == wanted
    assert extract(Residual().to("meta"), (2, 8, 8)) == wanted


def test_a_model_on_several_devices_is_refused() -> None:
    model = Residual()
    model.head.to("meta")
    with pytest.raises(ModelError, match="several devices"):
        extract(model, (2, 8, 8))
