"""ConvNeXt: depthwise convolutions, and MLPs of each pixel's channels, replaced and kept."""

from collections import Counter

import onnx
import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from depthopt.core.candidate import Candidate
from depthopt.core.operators import Convolution, Mlp
from depthopt.export.onnx import export_onnx
from depthopt.extraction.coverage import reducible_share, untimed_share
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import latency_keys
from depthopt.latency.graphs.entry import entry_graphs
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from depthopt.tables.latency import LatencyKey
from depthopt.tasks.registry import task_of
from tests.plans import plan_of, random_plan

SIZE = (3, 32, 32)


def convnext(depth: int = 2, **changes: object) -> nn.Module:
    """A small ConvNeXt in evaluation mode, whose LayerScale is not near zero."""
    torch.manual_seed(0)
    model = timm.create_model(
        "convnext_tiny", depths=(depth, 1, 1, 1), dims=(16, 24, 24, 24), num_classes=5,
        ls_init_value=0.5, **changes,
    )  # fmt: skip
    return model.eval()


def images(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, *SIZE, dtype=torch.float64, generator=generator)


MODEL = convnext().double()
CHAIN = extract(MODEL, SIZE)
ALL = candidates(CHAIN, kinds=("drop", "fit", "merge", "narrow"))
SKIPS = [(1, 3), (3, 5), (6, 8), (9, 11), (12, 14)]
BATCHES = [images(seed) for seed in range(1, 6)]


def test_an_mlp_is_a_block_behind_its_convolution() -> None:
    kinds = [type(block.operator) for block in CHAIN.blocks]
    stage = [Convolution, Convolution, Mlp]
    assert kinds == [Convolution, *[Convolution, Mlp] * 2, *stage * 3]
    assert str(CHAIN.blocks[2].operator) == "mlp 16-64:gelu s1 m1"
    assert CHAIN.blocks[2].name == "stages.0.blocks.0.mlp"
    assert [(skip.source, skip.target) for skip in CHAIN.skips] == SKIPS
    assert [barrier.position for barrier in CHAIN.barriers] == [1, 5, 8, 11], (
        "the norms of the stages"
    )
    assert CHAIN.unused == ()
    assert reducible_share(CHAIN) > 0.99
    keys = {c.key: [str(key) for key in latency_keys(CHAIN, c)] for c in ALL if not c.replaces}
    assert keys["keep 2:3 mlp 16-64:gelu s1 m1"] == ["mlp 16-64:gelu s1 m1 @8x8 +add"]
    assert [(c.start, c.end) for c in ALL if c.kind == "drop"] == SKIPS
    assert [c.start for c in ALL if c.kind == "narrow" and "-32:" in c.key] == [2, 4]
    assert {(c.start, c.end) for c in ALL if c.kind == "fit"} >= {(1, 3), (1, 5), (2, 3)}
    for c in ALL:
        assert Candidate.parse(c.key) == c


def test_an_mlp_that_is_not_known_goes_with_its_block_and_is_not_timed() -> None:
    """ConvNeXt V2 has a norm of whole maps between the linear layers."""
    chain = extract(convnext(use_grn=True), SIZE)
    assert all(isinstance(block.operator, Convolution) for block in chain.blocks)
    (first, *_) = (skip for skip in chain.skips if skip.source == 1)
    assert (first.target, first.gated, first.macs) == (2, True, 2 * 8 * 8 * 16 * 64)
    assert sum(barrier.macs for barrier in chain.barriers) == 0
    linear = sum(skip.macs for skip in chain.skips)
    assert untimed_share(chain) == linear / (chain.conv_macs + chain.other_macs) > 0.4
    assert untimed_share(CHAIN) == 0
    assert reducible_share(chain) > 0.99


@torch.no_grad()
def test_all_kept_is_the_original_and_a_drop_has_no_branch() -> None:
    kept = apply(MODEL, CHAIN, plan_of(CHAIN))
    torch.testing.assert_close(kept(images()), MODEL(images()), rtol=0, atol=0)
    torch.testing.assert_close(fuse(kept)(images()), MODEL(images()), rtol=1e-9, atol=1e-9)
    zeroed = convnext().double()
    zeroed.stages[0].blocks[1].gamma.zero_()
    got = fuse(apply(MODEL, CHAIN, plan_of(CHAIN, Candidate(3, 5, "drop", ()))))
    torch.testing.assert_close(got(images()), zeroed(images()), rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_units_that_give_nothing_new_go_at_no_cost() -> None:
    model = convnext().double()
    for block in model.stages[0].blocks:
        for own in block.mlp.fc1.parameters():
            own[32:48], own[48:] = own[16:32].clone(), 0
    chain = extract(model, SIZE)
    half = [c for c in candidates(chain, kinds=("narrow",), widths=(0.5,)) if "-32:" in c.key]
    assert len(half) == 2
    network = fuse(apply(model, chain, plan_of(chain, *half), fitting=BATCHES))
    assert network.get_submodule("stages.0.blocks.1.mlp.fc1").out_features == 32
    torch.testing.assert_close(network(images()), model(images()), rtol=1e-4, atol=1e-4)
    table = estimate(model, chain, half, fitting=BATCHES, held_out=[(images(6), None)])
    assert all(entry.cost < 1e-6 for entry in table.entries.values())


@torch.no_grad()
def test_torchvision_s_are_found_and_what_is_kept_is_regressed() -> None:
    """Its factors are weights of maps (C, 1, 1), and its arranging is by modules."""
    torch.manual_seed(0)
    stages = [CNBlockConfig(16, 24, 2), CNBlockConfig(24, None, 1)]
    model = ConvNeXt(stages, num_classes=5, layer_scale=0.5).double().eval()
    chain = extract(model, SIZE)
    found = [str(block.operator) for block in chain.blocks if isinstance(block.operator, Mlp)]
    assert found == ["mlp 16-64:gelu s1 m1"] * 2 + ["mlp 24-96:gelu s1 m1"]
    kept = fuse(apply(model, chain, plan_of(chain)))
    torch.testing.assert_close(kept(images()), model(images()), rtol=1e-9, atol=1e-9)
    plan, error = plan_of(chain, Candidate(1, 3, "drop", ())), {}
    for compensated in (True, False):
        network = fuse(apply(model, chain, plan, fitting=BATCHES, compensated=compensated))
        error[compensated] = float((network(images()) - model(images())).square().mean())
    assert error[True] < error[False]


@torch.no_grad()
def test_costs_are_those_of_the_networks_themselves() -> None:
    held_out = [(images(6), None)]
    places = ("drop 3:5", "fit 1:5", "fit 2:3", "narrow 4:5")
    some = [c for c in ALL if c.kind == "keep" or c.key.startswith(places)]
    table = estimate(MODEL, CHAIN, some, fitting=BATCHES, held_out=held_out)
    assert all(entry.cost > 0 for c, entry in table.entries.items() if c.replaces)
    inputs = held_out[0][0]
    for c in (c for c in some if c.key.startswith(("drop", "narrow"))):
        network = apply(MODEL, CHAIN, plan_of(CHAIN, c), fitting=BATCHES, compensated=False)
        wanted = task_of("classification").divergence(network(inputs), MODEL(inputs))
        assert table.entries[c].cost == pytest.approx(float(wanted) / len(inputs), rel=0.05)


@torch.no_grad()
def test_what_is_kept_makes_up_for_what_is_dropped() -> None:
    plan, error = plan_of(CHAIN, Candidate(1, 3, "drop", ())), {}
    for compensated in (True, False):
        network = apply(MODEL, CHAIN, plan, fitting=BATCHES, compensated=compensated)
        error[compensated] = float((network(images()) - MODEL(images())).square().mean())
        last = network.get_submodule("stages.0.blocks.1.mlp.fc2").weight
        assert torch.equal(last, MODEL.stages[0].blocks[1].mlp.fc2.weight) is not compensated
    assert error[True] < error[False]


@torch.no_grad()
def test_random_plans_are_carried_out_and_exported(tmp_path) -> None:
    model = convnext()
    plan = random_plan(CHAIN, candidates(CHAIN, kinds=("drop", "fit", "narrow")), 1)
    network = apply(model, CHAIN, plan, fitting=[batch.float() for batch in BATCHES])
    fused, inputs = fuse(network), BATCHES[0].float()
    torch.testing.assert_close(fused(inputs), network(inputs), rtol=1e-5, atol=1e-5)
    assert export_onnx(fused, tmp_path / "net.onnx", images=inputs) < 1e-4


def test_an_entry_is_what_the_exported_network_runs(tmp_path) -> None:
    """Operator by operator: two networks whose depths differ by one."""

    def names(model: bytes) -> Counter[str]:
        return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)

    found = []
    for depth in (1, 2):
        path = tmp_path / f"{depth}.onnx"
        export_onnx(convnext(depth), path, images=torch.randn(2, *SIZE))
        found.append(names(path.read_bytes()))
    blocks = CHAIN.blocks[1:3]
    keys = [LatencyKey(b.operator, b.layout.input_size, residual=b is blocks[1]) for b in blocks]
    graphs = [entry_graphs(key, copies=1) for key in keys]
    timed = sum((names(each.full) - names(each.base) for each in graphs), Counter())
    tapping = {"AveragePool", "GlobalAveragePool", "Slice"}
    assert {n: c for n, c in timed.items() if n not in tapping} == dict(found[1] - found[0])
