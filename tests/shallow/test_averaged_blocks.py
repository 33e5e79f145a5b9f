"""Runs of a transformer's blocks that become one: MKA's oracles, and how they are applied."""

import pytest
import timm
import torch
from torch import nn

from depthopt.core.candidate import Candidate
from depthopt.errors import ModelError
from depthopt.export.onnx import export_onnx, onnx_difference
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.kinds.share import shared
from depthopt.runtimes.registry import get_runtime
from depthopt.shallow.apply import apply
from depthopt.shallow.build import build
from depthopt.shallow.fuse import fuse
from tests.plans import plan_of, random_plan
from tests.shallow.test_transformers import images, without
from tests.transformers import SIZE, small

CHAIN = extract(small("layer scale"), SIZE)
RUN = 1, 7
"""All three blocks."""


def with_run(model: nn.Module, *coefficients: float, run: tuple[int, int] = RUN) -> nn.Module:
    """A network with a run averaged, and nothing regressed."""
    chain = extract(model, SIZE)
    return apply(model, chain, plan_of(chain, shared(chain, *run, 2, coefficients)))


@pytest.mark.parametrize(
    "kind", ["vit", "registers", "bias of positions", "rotary", "three layers and a gate"]
)
@torch.no_grad()
def test_with_1_the_blocks_behind_are_dropped_with_0_those_in_front(kind: str) -> None:
    for coefficient, dropped in ((1.0, (1, 2)), (0.0, (0, 1))):
        got = with_run(small(kind).double(), coefficient)
        paths = (f"blocks.{i}.{branch}" for i in dropped for branch in ("attn", "mlp"))
        wanted = without(small(kind).double(), *paths)(images())
        torch.testing.assert_close(got(images()), wanted, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_equal_blocks_give_the_network_with_one_of_them_dropped_not_the_original() -> None:
    model = small("layer scale").double()
    model.blocks[1].load_state_dict(model.blocks[0].state_dict())
    got = with_run(model, 0.5, run=(1, 5))
    for name, value in model.blocks[0].state_dict().items():
        assert torch.equal(got.state_dict()[f"blocks.0.{name}"], value), "bit for bit"
    original = model(images())
    wanted = without(model, "blocks.1.attn", "blocks.1.mlp")(images())
    torch.testing.assert_close(got(images()), wanted, rtol=0, atol=0)
    assert (got(images()) - original).abs().max() > 1e-3, "one application is missing"


@torch.no_grad()
def test_blocks_that_add_nothing_are_averaged_without_loss() -> None:
    model = small("vit").double()
    for block in model.blocks[:2]:
        for last in (block.attn.proj, block.mlp.fc2):
            last.weight.zero_()
            last.bias.zero_()
    got = with_run(model, 0.3, run=(1, 5))
    torch.testing.assert_close(got(images()), model(images()), rtol=0, atol=1e-12)


@torch.no_grad()
def test_runs_behind_other_replacements_and_behind_one_another() -> None:
    model, wanted = (small("rotary", depth=6).double() for _ in range(2))
    chain = extract(model, SIZE)
    runs = shared(chain, 3, 7, 2, (0.5,)), shared(chain, 7, 13, 2, (0.25, 0.5))
    plan = plan_of(chain, Candidate(2, 3, "drop", ()), *runs)
    for first, counts in ((1, (0.5, 0.5)), (3, (0.25, 0.375, 0.375))):
        states = [wanted.blocks[first + i].state_dict() for i in range(len(counts))]
        mean = {
            name: sum(count * state[name] for count, state in zip(counts, states, strict=True))
            for name in states[0]
        }
        wanted.blocks[first].load_state_dict(mean)
    behind = (f"blocks.{i}.{branch}" for i in (2, 4, 5) for branch in ("attn", "mlp"))
    without(wanted, "blocks.0.mlp", *behind)
    got = apply(model, chain, plan)
    torch.testing.assert_close(got(images()), wanted(images()), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fuse(got)(images()), wanted(images()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "seed"), [("layer scale", 0), ("three layers and a gate", 11)])
@torch.no_grad()
def test_random_plans_with_runs_are_carried_out_on_images(kind: str, seed: int) -> None:
    model = small(kind, depth=5).double()
    chain = extract(model, SIZE)
    listed = candidates(chain, kinds=("drop", "fit", "share"), coefficients=(0.5,))
    plan = random_plan(chain, [c for c in listed if c.end - c.start < 6], seed)
    assert {"share"} < {c.kind for c in plan.replaced}
    batches = [images(i, 16) for i in range(5)]
    plain = apply(model, chain, plan, fitting=batches, compensated=False)
    regressed = apply(model, chain, plan, fitting=batches)
    x, wanted = images(9), model(images(9))
    assert (regressed(x) - wanted).norm() < (plain(x) - wanted).norm()
    torch.testing.assert_close(fuse(regressed)(x), regressed(x), rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_the_weights_really_change_and_survive_files(tmp_path) -> None:
    model = small("layer scale")
    got = with_run(model, 0.5)
    own, before = got.state_dict(), model.state_dict()
    for name in model.blocks[0].state_dict():
        wanted = sum(s * before[f"blocks.{i}.{name}"] for i, s in enumerate((0.5, 0.25, 0.25)))
        torch.testing.assert_close(own[f"blocks.0.{name}"], wanted)
    changed = sum(float((own[n] - before[n]).abs().sum()) for n in own if n.startswith("blocks.0"))
    assert changed > 1, "averages are not only written to a copy"
    assert not [name for name in own if name.startswith(("blocks.1", "blocks.2"))]
    again, _ = build(model, CHAIN, plan_of(CHAIN, shared(CHAIN, *RUN, 2, (0.9,))))
    again.load_state_dict(own)
    fused, x = fuse(again), images().float()
    torch.testing.assert_close(fused(x), got(x), rtol=1e-5, atol=1e-5)
    path = tmp_path / "shared.onnx"
    export_onnx(fused, path, images=x)
    runtime = get_runtime("onnxruntime", threads=1)
    assert onnx_difference(runtime, path, x, fused(x), 1) < 1e-4


@torch.no_grad()
def test_the_last_layer_is_regressed_where_plans_compensate() -> None:
    model = small("layer scale").double()
    chain, batches = extract(model, SIZE), [images(seed, 16) for seed in range(5)]
    plan = plan_of(chain, shared(chain, *RUN, 2, (0.5,)))
    x = images(9)
    layers = {"blocks.0.mlp.fc2.weight", "blocks.0.mlp.fc2.bias"}
    plain = apply(model, chain, plan, fitting=batches, compensated=False)
    averaged = apply(model, chain, plan).state_dict()
    assert all(torch.equal(value, averaged[name]) for name, value in plain.state_dict().items())
    regressed = apply(model, chain, plan, fitting=batches)
    changed = {n for n, v in regressed.state_dict().items() if not torch.equal(v, averaged[n])}
    assert changed == layers, "no other layer is behind the run"
    wanted = model(x)
    assert (regressed(x) - wanted).norm() < 0.7 * (plain(x) - wanted).norm()


def test_the_nearest_coefficient_is_scored_and_the_others_are_beaten() -> None:
    model = small("layer scale").double()
    chain, held_out = extract(model, SIZE), [(images(7, 16), None)]
    fitting = [images(seed, 16) for seed in range(4)]
    # The third block adds nothing: what the second counts for, of the two, is to be all.
    with torch.no_grad():
        for scale in (model.blocks[2].ls1, model.blocks[2].ls2):
            scale.gamma.zero_()
    listed = [
        c for c in candidates(chain, kinds=("share",), coefficients=(0, 0.5, 1)) if c.start == 3
    ]
    found = estimate(model, chain, listed, fitting=fitting, held_out=held_out)
    (scored,) = found.entries
    assert scored.detail == "1"
    assert found.entries[scored].cost == pytest.approx(0, abs=1e-12)
    assert {c.detail for c in found.beaten} == {"0", "0.5"}


@pytest.mark.parametrize("compensated", [True, False])
def test_the_cost_is_what_the_network_does_with_the_run_averaged(compensated: bool) -> None:
    model = small("rotary").double()
    chain = extract(model, SIZE)
    fitting = [images(seed, 16) for seed in range(5)]
    one = shared(chain, 1, 5, 2, (0.4,))
    held_out = [(fitting[4], None)]
    alone = estimate(
        model, chain, [one], fitting=fitting[:4], held_out=held_out, compensated=compensated
    )
    network = apply(model, chain, plan_of(chain, one), fitting=fitting, compensated=compensated)
    with torch.no_grad():  # behind the run nothing is regressed in an estimate
        for name, value in model.state_dict().items():
            if name.startswith("blocks.2") and name in network.state_dict():
                network.state_dict()[name].copy_(value)
        got, wanted = (each(fitting[4]).log_softmax(-1) for each in (network, model))
    divergence = (wanted.exp() * (wanted - got)).sum(-1).mean()
    assert float(divergence) == pytest.approx(alone.entries[one].cost, rel=1e-6)


def test_blocks_that_are_set_up_in_another_way_are_refused() -> None:
    model = small("vit")
    model.blocks[1].norm2.eps = 0.1
    with pytest.raises(ModelError, match=r"cannot share .* given 1e-06, the other 0\.1"):
        with_run(model, 0.5)


def listed_of(model: nn.Module) -> list[Candidate]:
    return [c for c in candidates(extract(model, SIZE), kinds=("share",)) if c.replaces]


def test_class_attention_and_unlike_heads_are_no_part_of_a_run() -> None:
    model = small("vit", num_heads=4)
    model.blocks[1] = small("vit", num_heads=2).blocks[1]
    assert not listed_of(model), "two of three blocks next to each other are alike nowhere"


@torch.no_grad()
def test_what_serves_all_blocks_is_read_from_outside() -> None:
    size = (3, 64, 64)
    made = {"embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 5}
    model = timm.create_model("naflexvit_base_patch16_gap", **made).eval().double()
    chain = extract(model, size)
    plan = plan_of(chain, shared(chain, 2, 6, 2, (1.0,)))
    x = torch.randn(2, *size, dtype=torch.float64)
    got = apply(model, chain, plan)(x)
    wanted = without(model, "blocks.2.attn", "blocks.2.mlp")(x)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
