from dataclasses import replace
from functools import partial

import pytest
import timm
import torch

from depthopt.core.candidate import Candidate
from depthopt.errors import DataError, ModelError, UsageError
from depthopt.extraction.extract import extract
from depthopt.graph.replay import Replay
from depthopt.kinds.candidates import candidates
from depthopt.kinds.merge import detail_of
from depthopt.rewrite import side_by_side
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from tests.networks import Residual
from tests.plans import plan_of, random_plan

SIZE = (2, 10, 11)
MODEL = Residual().double()
CHAIN = extract(MODEL, SIZE)
ALL = candidates(CHAIN, kinds=("drop", "fit", "merge"), fewer_macs=False)
IMAGES = torch.randn(8, *SIZE, dtype=torch.float64)


def pick(kind: str, start: int, end: int, **fields: object) -> Candidate:
    return next(
        c for c in ALL
        if (c.kind, c.start, c.end) == (kind, start, end)
        and all(getattr(c.convolution, name) == value for name, value in fields.items())
    )  # fmt: skip


@torch.no_grad()
def test_a_plan_that_keeps_all_changes_nothing() -> None:
    wanted = MODEL(IMAGES)
    network = apply(MODEL, CHAIN, plan_of(CHAIN))
    torch.testing.assert_close(network(IMAGES), wanted, rtol=0, atol=0)
    torch.testing.assert_close(fuse(network)(IMAGES), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(12))
@torch.no_grad()
def test_expanded_fused_and_fuse_agree(seed: int) -> None:
    plan = random_plan(CHAIN, tuple(c for c in ALL if c.kind != "fit"), seed)
    expanded = apply(MODEL, CHAIN, plan, form="expanded")
    fused = apply(MODEL, CHAIN, plan, form="fused")
    wanted = expanded(IMAGES)
    for other in (fused, fuse(expanded), fuse(fused)):
        torch.testing.assert_close(other(IMAGES), wanted, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_merge_into_one_convolution_is_regressed_where_there_is_data() -> None:
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(8, *SIZE, dtype=torch.float64, generator=generator) for _ in range(20)]
    plan = plan_of(CHAIN, pick("merge", 5, 8))
    wanted = MODEL(IMAGES)
    error = {}
    for form, data in (("fused", None), ("fused", images), ("expanded", images)):
        network = apply(MODEL, CHAIN, plan, form=form, fitting=data, compensated=False)
        error[form, data is None] = float((network(IMAGES) - wanted).square().mean())
    assert error["fused", False] < 0.9 * error["fused", True]
    assert error["expanded", False] == pytest.approx(error["fused", True], rel=1e-6)


@torch.no_grad()
def test_a_merge_without_activations_is_the_original() -> None:
    """Away from the border, where padding in between differs, and with activations open."""
    linear = Residual().double()
    for part in (linear.c1, linear.c2):
        part[2] = torch.nn.Identity()
    chain = extract(linear, SIZE)
    fewer = candidates(chain, kinds=("merge",), fewer_macs=False)
    whole = next(c for c in fewer if c.kind == "merge" and (c.start, c.end) == (5, 8))
    got = apply(linear, chain, plan_of(chain, whole)).get_submodule("segment_5_8")
    x = torch.randn(1, 8, 9, 9, dtype=torch.float64)
    wanted = linear.c3(linear.c2(linear.c1(x))) + x
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(got(x)[inner], wanted[inner], rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_drop_leaves_the_skip_alone() -> None:
    network = apply(MODEL, CHAIN, plan_of(CHAIN, pick("drop", 5, 8)))
    x = MODEL.act(MODEL.a2(MODEL.a1(MODEL.stem(IMAGES))) + MODEL.stem(IMAGES))
    x = MODEL.act(MODEL.b2(MODEL.b1(x)) + MODEL.bp(x))
    torch.testing.assert_close(network(IMAGES), MODEL.head(x.mean((2, 3))))


@torch.no_grad()
def test_a_fit_inside_a_skip_leaves_the_add() -> None:
    """A convolution that can express the segment is found, whatever is added to it."""
    linear = Residual().double()
    linear.c2[2] = torch.nn.Identity()
    chain = extract(linear, SIZE)
    fits = candidates(chain, kinds=("fit",), kernel_sizes=(3,), fewer_macs=False)
    inside = next(c for c in fits if c.kind == "fit" and (c.start, c.end) == (6, 8))
    images = [torch.randn(24, *SIZE, dtype=torch.float64) for _ in range(5)]
    plan = plan_of(chain, inside)
    network = apply(linear, chain, plan, fitting=images, ridges=(1e-9,))
    torch.testing.assert_close(network(IMAGES), linear(IMAGES), rtol=0.02, atol=0.02)


@torch.no_grad()
def test_later_fits_make_up_for_earlier_ones() -> None:
    """Left to right, each fit sees what the ones before it have left."""
    torch.manual_seed(0)
    batches = [torch.randn(32, *SIZE, dtype=torch.float64) for _ in range(5)]
    plan = plan_of(CHAIN, pick("fit", 1, 3, kernel_size=(1, 1)), pick("fit", 3, 5, groups=1))
    together = apply(MODEL, CHAIN, plan, fitting=batches)
    apart = apply(MODEL, CHAIN, plan, fitting=batches)
    alone = apply(MODEL, CHAIN, plan_of(CHAIN, plan.replaced[1]), fitting=batches)
    for name in ("segment_3_5", "segment_3_5_norm"):
        apart.get_submodule(name).load_state_dict(alone.get_submodule(name).state_dict())
    wanted = MODEL(batches[0])
    error = [float((net(batches[0]) - wanted).square().mean()) for net in (together, apart)]
    assert error[0] < error[1]


def test_passes_that_go_on_from_earlier_ones_change_no_bit(monkeypatch) -> None:
    """Against passes that keep nothing and all begin at the images."""
    torch.manual_seed(0)
    batches = [torch.randn(32, *SIZE, dtype=torch.float64) for _ in range(5)]
    plan = plan_of(CHAIN, pick("fit", 1, 3, kernel_size=(1, 1)), pick("drop", 5, 8))
    kept = apply(MODEL, CHAIN, plan, fitting=batches)
    monkeypatch.setattr(side_by_side, "Replay", partial(Replay, most_bytes=-1))
    fresh = apply(MODEL, CHAIN, plan, fitting=batches).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in kept.state_dict().items())


@torch.no_grad()
def test_a_fitted_convolution_has_a_norm_that_trains_as_it_evaluates() -> None:
    """On the images that it was fitted to; the last block of the segment has one too."""
    torch.manual_seed(0)
    batches = [torch.randn(32, *SIZE, dtype=torch.float64) for _ in range(5)]
    plan = plan_of(CHAIN, pick("fit", 1, 3, kernel_size=(1, 1)))
    network = apply(MODEL, CHAIN, plan, fitting=batches, compensated=False)
    outputs = []
    norm = network.segment_1_3_norm
    hook = norm.register_forward_hook(lambda _m, _x, y: outputs.append(y))
    network(torch.cat(batches[:4]))  # the fifth is held out
    norm.train()
    network(torch.cat(batches[:4]))
    hook.remove()
    torch.testing.assert_close(*outputs)
    assert not any("norm" in name for name, _ in fuse(network).named_modules())


@torch.no_grad()
def test_where_a_segment_ends_without_a_norm_none_is_put() -> None:
    plain = Residual().double()
    plain.a2[1] = torch.nn.Identity()
    chain = extract(plain, SIZE)
    fits = candidates(chain, kinds=("fit",), kernel_sizes=(1,), fewer_macs=False)
    plan = plan_of(chain, next(c for c in fits if c.kind == "fit" and (c.start, c.end) == (1, 3)))
    network = apply(plain, chain, plan, fitting=[IMAGES.repeat(20, 1, 1, 1)] * 5)
    assert network.segment_1_3.bias is not None
    assert "segment_1_3_norm" not in dict(network.named_modules())


def test_the_result_trains_and_the_model_is_untouched() -> None:
    before = {name: tensor.clone() for name, tensor in MODEL.state_dict().items()}
    plan = plan_of(CHAIN, pick("merge", 1, 3), pick("drop", 5, 8))
    for form in ("fused", "expanded"):
        network = apply(MODEL, CHAIN, plan, form=form).train()
        network(IMAGES).sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in MODEL.state_dict().items())


def test_merge_leaves_no_norm_and_its_input_alone() -> None:
    network = apply(MODEL, CHAIN, plan_of(CHAIN, pick("merge", 3, 5)), form="expanded")
    kinds = [type(module).__name__ for module in fuse(network).modules()]
    assert "BatchNorm2d" not in kinds
    assert "ExpandedSegment" not in kinds
    assert "ExpandedSegment" in [type(module).__name__ for module in network.modules()]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_half_precision_stays_half_and_is_fused_in_double(dtype: torch.dtype) -> None:
    plan = plan_of(CHAIN, pick("merge", 1, 3), pick("merge", 5, 8))
    network = fuse(apply(Residual().to(dtype), CHAIN, plan))
    assert {parameter.dtype for parameter in network.parameters()} == {dtype}
    wanted = apply(MODEL, CHAIN, plan)
    x = IMAGES.to(dtype)
    torch.testing.assert_close(network(x).double(), wanted(x.double()), rtol=0.05, atol=0.05)


def test_a_model_in_training_mode_gives_a_network_in_evaluation_mode() -> None:
    model = Residual().double().train()
    network = apply(model, CHAIN, plan_of(CHAIN))
    assert not network.training
    assert model.training
    with torch.no_grad():
        torch.testing.assert_close(network(IMAGES), model.eval()(IMAGES))


def test_a_merge_across_a_gate_is_refused() -> None:
    model = timm.create_model("efficientnet_b0")
    chain = extract(model, (3, 32, 32), name="efficientnet_b0")
    barrier = next(b for b in chain.barriers if b.region)
    start, end = barrier.region
    operators = (chain.blocks[start].operator,)
    crossing = Candidate(start, end, "merge", operators, None, detail_of(range(start, end)))
    with pytest.raises(ModelError, match="crosses the barrier"):
        apply(model, chain, plan_of(chain, crossing))


def test_what_does_not_fit_together_is_refused() -> None:
    plan = plan_of(CHAIN, pick("fit", 1, 3, kernel_size=(1, 1)))
    with pytest.raises(UsageError, match="fits 1 segments on data; give calibration images"):
        apply(MODEL, CHAIN, plan)
    with pytest.raises(DataError, match="give at least 5 batches"):
        apply(MODEL, CHAIN, plan, fitting=[IMAGES])
    with pytest.raises(ModelError, match="does not fit this model"):
        apply(Residual(channels=8).double(), CHAIN, plan_of(CHAIN))
    with pytest.raises(ModelError, match="covers 8 blocks"):
        apply(MODEL, CHAIN, replace(plan_of(CHAIN), input_size=(2, 12, 12)))
    with pytest.raises(ModelError, match="meta device"):
        apply(Residual().to("meta"), CHAIN, plan_of(CHAIN))
    crossing = Candidate(2, 4, "fit", plan.replaced[0].operators)
    with pytest.raises(ModelError, match="crosses in part the skip"):
        apply(MODEL, CHAIN, plan_of(CHAIN, crossing), fitting=[IMAGES] * 5)
