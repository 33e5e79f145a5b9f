"""Transformers whose branches are kept, dropped, and replaced by a linear layer."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from depthopt.core.candidate import Candidate, replacing
from depthopt.errors import ModelError
from depthopt.export.onnx import export_onnx, onnx_difference
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import latency_keys
from depthopt.rewrite.ridges import FIT_RIDGES
from depthopt.runtimes.registry import get_runtime
from depthopt.shallow.apply import apply
from depthopt.shallow.build import build
from depthopt.shallow.fuse import fuse
from depthopt.tasks.registry import task_of
from tests.plans import plan_of, random_plan
from tests.transformers import PLAIN, SIZE, small

MODEL = small("layer scale").double()
CHAIN = extract(MODEL, SIZE)
ALL = candidates(CHAIN, kinds=("drop", "fit", "merge", "narrow"))


def images(seed: int = 0, count: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *SIZE, dtype=torch.float64, generator=generator)


def candidate(kind: str, start: int, end: int) -> Candidate:
    (found,) = (c for c in ALL if (c.kind, c.start, c.end) == (kind, start, end))
    return found


@pytest.mark.parametrize("kind", PLAIN)
@torch.no_grad()
def test_all_kept_is_the_original(kind: str) -> None:
    model = small(kind).double()
    chain = extract(model, SIZE)
    wanted = model(images())
    kept = apply(model, chain, plan_of(chain))
    torch.testing.assert_close(kept(images()), wanted, rtol=0, atol=0)
    fused = fuse(kept)
    torch.testing.assert_close(fused(images()), wanted, rtol=1e-9, atol=1e-9)
    assert not [name for name, _ in fused.named_parameters() if "gamma" in name], "folded"


def without(model: nn.Module, *paths: str) -> nn.Module:
    """The model with the outputs of some modules set to zero."""
    for path in paths:
        model.get_submodule(path).register_forward_hook(lambda _m, _i, output: 0 * output)
    return model


@pytest.mark.parametrize("kind", PLAIN)
@torch.no_grad()
def test_drops_are_the_network_with_those_outputs_zeroed(kind: str) -> None:
    model = small(kind).double()
    chain = extract(model, SIZE)
    paths = ("blocks.0.mlp", "blocks.1.attn")
    plan = plan_of(chain, *(Candidate(i, i + 1, "drop", ()) for i in (2, 3)))
    got = fuse(apply(model, chain, plan))
    wanted = without(model, *paths)(images())
    torch.testing.assert_close(got(images()), wanted, rtol=1e-9, atol=1e-9)
    assert not [name for name, _ in got.named_modules() if name.startswith(paths)]


def test_what_is_listed_and_what_runs() -> None:
    of = {c.kind: [d for d in replacing(ALL) if d.kind == c.kind] for c in ALL}
    assert set(of) == {"keep", "drop", "fit", "narrow"}, "no branch merges"
    assert [(c.start, c.end) for c in of["drop"]] == [(i, i + 1) for i in range(1, 7)]
    linear = [c for c in of["fit"] if c.start]
    assert len(linear) == 6 * 7 / 2, "every run of branches"
    assert {str(c.operators[0]) for c in linear} == {"linear 32-32"}
    assert all(c.end == 1 for c in of["fit"] if not c.start), "no patches with branches"
    runs = {c: [str(key) for key in latency_keys(CHAIN, c)] for c in ALL}
    assert runs[candidate("drop", 1, 2)] == []
    assert runs[candidate("fit", 1, 5)] == ["linear 32-32 @17"]
    assert runs[candidate("keep", 1, 2)] == ["attn 32 h2 s1 @17 +add"]
    assert runs[candidate("keep", 2, 3)] == ["mlp 32-128:gelu s1 @17 +add"]
    assert [c.key for c in of["narrow"]][:5] == [
        "narrow 1:2 attn 32 h1 w16 s1 of 32 channels",
        *(f"narrow 2:3 mlp 32-{hidden}:gelu s1 of 128 channels" for hidden in (112, 96, 64, 32)),
    ]
    assert runs[of["narrow"][0]] == ["attn 32 h1 w16 s1 @17 +add"]
    assert runs[of["narrow"][3]] == ["mlp 32-64:gelu s1 @17 +add"]
    for c in ALL:
        assert Candidate.parse(c.key) == c


@torch.no_grad()
def test_a_fit_is_the_least_squares_solution() -> None:
    """By an independent solver, of the tokens that the network sees there."""
    batches = [images(seed) for seed in range(1, 6)]
    network = apply(MODEL, CHAIN, plan_of(CHAIN, candidate("fit", 3, 5)), fitting=batches)
    tokens = {name: list[Tensor]() for name in ("before", "behind")}
    for i, name in ((0, "before"), (1, "behind")):
        block = MODEL.blocks[i]
        block.register_forward_hook(lambda _m, _i, out, name=name: tokens[name].append(out))
    for batch in batches[:4]:  # the fifth is held out
        MODEL(batch)
    x, y = (torch.cat(tokens[name]).flatten(0, 1) for name in ("before", "behind"))
    centred, wanted = x - x.mean(0), y - y.mean(0)
    got = network.get_submodule("segment_3_5")
    ridges = []
    for ridge in FIT_RIDGES:
        gram = centred.T @ centred
        strength = ridge * gram.diagonal().mean() * torch.eye(32, dtype=gram.dtype)
        residual = torch.linalg.solve(gram + strength, centred.T @ (wanted - centred))
        weight = (torch.eye(32, dtype=gram.dtype) + residual).T
        ridges.append(float((got.weight - weight).abs().max()))
    assert min(ridges) < 1e-6
    for block in MODEL.blocks:
        block._forward_hooks.clear()


@torch.no_grad()
def test_a_branch_that_is_linear_is_fitted_exactly() -> None:
    model = small("vit").double()
    for layer in (model.blocks[1].mlp.fc2, model.blocks[1].attn.proj):
        layer.weight.zero_()  # each branch adds its bias
    chain = extract(model, SIZE)
    fit = Candidate.parse("fit 3:5 linear 32-32")
    batches = [images(seed) for seed in range(1, 6)]
    network = fuse(apply(model, chain, plan_of(chain, fit), fitting=batches))
    torch.testing.assert_close(network(images()), model(images()), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_branches_that_differ_in_few_directions_are_fitted_by_low_rank() -> None:
    """Dropped in the end but for one, which is linear: tokens in three directions are changed."""
    model = small("vit").double()
    block, few = model.blocks[1], torch.randn(32, 3, dtype=torch.float64)
    block.attn.proj.weight.zero_()
    block.mlp.fc2.weight.copy_(few @ torch.randn(3, 128, dtype=torch.float64) / 10)
    chain = extract(model, SIZE)
    found = candidates(chain, kinds=("fit",), fits=("dense", "low_rank"), ranks=(0.5, 0.25))
    here = [c for c in found if (c.kind, c.start, c.end) == ("fit", 3, 5)]
    assert [str(c.operators[0]) for c in here] == ["linear 32-32", "lowrank 32 r8"]
    assert [str(key) for key in latency_keys(chain, here[1])] == ["lowrank 32 r8 @17"]
    assert Candidate.parse(here[1].key) == here[1]
    batches, errors = [images(seed) for seed in range(1, 6)], []
    for fit in here:
        network = fuse(apply(model, chain, plan_of(chain, fit), fitting=batches))
        errors.append(float((network(images()) - model(images())).square().mean()))
    assert errors[1] == pytest.approx(errors[0], rel=0.2), "no more than these three matter"
    given = [(batch, None) for batch in batches]
    table = estimate(model, chain, here, fitting=batches, held_out=given[:1])
    assert table.entries[here[1]].cost == pytest.approx(table.entries[here[0]].cost, rel=0.2)


def with_spare_units(kind: str) -> nn.Module:
    """A transformer half of whose hidden units give nothing, or what another gives."""
    changes = {"mlp_ratio": 6, "scale_mlp": False} if "gate" in kind else {}
    model = small(kind, **changes).double().requires_grad_(False)
    for block in model.blocks:
        layers = [layer for name, layer in block.mlp.named_children() if "fc1" in name]
        for own in (own for layer in layers for own in layer.parameters()):
            quarters = own.unflatten(0, (-1, 4, block.mlp.fc2.in_features // 4))
            quarters[:, 2], quarters[:, 3] = quarters[:, 1], 0
    return model


@pytest.mark.parametrize(
    "kind",
    ["layer scale", "norms of queries and keys", "no bias", "rotary", "three layers and a gate"],
)
@torch.no_grad()
def test_a_head_that_is_another_once_more_goes_at_no_cost(kind: str) -> None:
    model = small(kind, num_heads=4).double().requires_grad_(False)
    for block in model.blocks:
        layers = [
            m for name, m in block.attn.named_children() if name[0] in "qkv" and "norm" not in name
        ]
        for own in (own for layer in layers for own in layer.parameters()):
            rows = own.unflatten(0, (-1, 4, 8))
            rows[:, 1], rows[:, 3] = rows[:, 0], rows[:, 2]
    chain = extract(model, SIZE)
    half = [
        c
        for c in candidates(chain, kinds=("narrow",), widths=(0.5,))
        if c.kind == "narrow" and c.start % 2
    ]
    assert [str(c.operators[0]).split(" w8")[0] for c in half] == ["attn 32 h2"] * 3
    batches = [images(seed) for seed in range(1, 6)]
    network = fuse(apply(model, chain, plan_of(chain, *half), fitting=batches))
    assert network.get_submodule("blocks.1.attn.proj").in_features == 16
    torch.testing.assert_close(network(images()), model(images()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["layer scale", "rotary and gated", "three layers and a gate"])
@torch.no_grad()
def test_units_that_give_nothing_new_go_at_no_cost(kind: str) -> None:
    model = with_spare_units(kind)
    chain = extract(model, SIZE)
    found = candidates(chain, kinds=("narrow",), widths=(0.5,))
    half = [c for c in found if c.kind == "narrow" and "mlp" in c.key]
    assert len(half) == 3
    batches = [images(seed) for seed in range(1, 6)]
    network = fuse(apply(model, chain, plan_of(chain, *half), fitting=batches))
    left = model.blocks[1].mlp.fc2.in_features // 2
    assert network.get_submodule("blocks.1.mlp.fc2").in_features == left
    torch.testing.assert_close(network(images()), model(images()), rtol=1e-4, atol=1e-4)
    given = [(batch, None) for batch in batches]
    table = estimate(model, chain, found, fitting=batches, held_out=given[:1])
    assert all(table.entries[c].cost < 1e-6 for c in half)


@torch.no_grad()
def test_the_layer_behind_fewer_units_is_regressed() -> None:
    """What stays of the first layer is what it was; the second is the better for it."""
    narrow = next(c for c in ALL if c.kind == "narrow" and c.start == 4 and "-64:" in c.key)
    batches = [images(seed) for seed in range(1, 6)]
    network = apply(MODEL, CHAIN, plan_of(CHAIN, narrow), fitting=batches)
    first, whole = network.get_submodule("blocks.1.mlp.fc1"), MODEL.blocks[1].mlp.fc1
    same = (first.weight[:, None] == whole.weight[None]).all(-1)
    stays = same.to(torch.int8).argmax(1)
    assert bool(same.any(1).all())
    cut = network.get_submodule("blocks.1.mlp.fc2")
    error = (network(images()) - MODEL(images())).square().mean()
    cut.weight.copy_(MODEL.blocks[1].mlp.fc2.weight[:, stays])
    cut.bias.copy_(MODEL.blocks[1].mlp.fc2.bias)
    assert error < 0.7 * (network(images()) - MODEL(images())).square().mean()


@pytest.mark.parametrize("seed", range(2))
@torch.no_grad()
def test_random_plans_are_carried_out_and_exported(seed: int, tmp_path) -> None:
    model = small(["registers", "rotary and gated"][seed])
    chain = extract(model, SIZE)
    plan = random_plan(chain, candidates(chain, kinds=("drop", "fit", "narrow")), seed)
    batches = [images(i).float() for i in range(5)]
    network = apply(model, chain, plan, fitting=batches)
    fused = fuse(network)
    torch.testing.assert_close(fused(batches[0]), network(batches[0]), rtol=1e-5, atol=1e-5)
    assert export_onnx(fused, tmp_path / "net.onnx", images=batches[0]) < 1e-4
    for name in ("torch", "openvino"):
        if name == "openvino":
            pytest.importorskip("openvino")
        runtime, path = get_runtime(name), tmp_path / "net.onnx"
        assert onnx_difference(runtime, path, batches[0], fused(batches[0]), 1) < 1e-4


@torch.no_grad()
def test_costs_by_magnitude_are_shares_of_the_weights() -> None:
    table = estimate(MODEL, CHAIN, ALL, estimator="magnitude", fitting=(), held_out=())
    drops = [entry.cost for c, entry in table.entries.items() if c.kind == "drop"]
    patches = MODEL.patch_embed.proj.weight.abs().sum()
    linear = [m.weight.abs().sum() for m in MODEL.blocks.modules() if isinstance(m, nn.Linear)]
    share = float(sum(linear) / (sum(linear) + patches))
    assert sum(drops) == pytest.approx(share)


@pytest.mark.parametrize("kind", ["layer scale", "rotary", "three layers and a gate"])
@torch.no_grad()
def test_costs_are_those_of_the_networks_themselves(kind: str) -> None:
    model = small(kind).double()
    chain, fitting = extract(model, SIZE), [images(seed) for seed in range(1, 6)]
    held_out = [(images(6), None)]
    found = candidates(chain, kinds=("drop", "fit", "narrow"))
    places = ("drop 3:4", "fit 3:5", "narrow 4:5", "narrow 5:6")
    some = [c for c in found if c.kind == "keep" or c.key.startswith(places)]
    table = estimate(model, chain, some, fitting=fitting, held_out=held_out)
    assert all(entry.cost > 0 for entry in table.entries.values())
    (drop,) = (c for c in some if c.kind == "drop")
    network = apply(model, chain, plan_of(chain, drop), compensated=False)
    wanted = task_of("classification").divergence(network(held_out[0][0]), model(held_out[0][0]))
    assert table.entries[drop].cost == pytest.approx(float(wanted) / len(held_out[0][0]))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("fit 0:1 linear 32-32", "a linear layer of tokens in the place of something else"),
        ("fit 1:2 linear 32-16", "is not a linear layer of 32 channels"),
        ("fit 1:2 lowrank 16 r8", "is not a linear layer of 32 channels"),
        ("fit 0:2 linear 32-32", "crosses the barrier at 1"),
        ("fit 1:2 32-32 k1x1", "is a convolution in the place of tokens"),
        ("narrow 2:3 mlp 32-64:relu s1 of 128 channels", "is not a narrower form of this block"),
        ("narrow 1:2 mlp 32-64:gelu s1 of 128 channels", "is not a narrower form of this block"),
        ("narrow 1:2 attn 32 h1 s1 of 32 channels", "is not a narrower form of this block"),
        ("narrow 0:1 attn 32 h1 w16 s1 of 32 channels", "is not a narrower form of this block"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(key: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        build(MODEL, CHAIN, plan_of(CHAIN, Candidate.parse(key)))


class Pooled(nn.Module):
    """Two MLPs; between them pairs of tokens become one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.mlps[0](x)
        x = x.unflatten(1, (-1, 2)).mean(2)
        return (x + self.mlps[1](x)).mean(1)


def test_no_linear_layer_takes_the_place_of_a_pooling_of_tokens() -> None:
    chain = extract(Pooled(), SIZE)
    assert chain.why_illegal(1, 3) is None, "it could be replaced as a whole"
    fits = [c for c in candidates(chain, kinds=("fit",)) if c.kind == "fit" and c.start]
    assert [(c.start, c.end) for c in fits] == [(1, 2), (2, 3)]
    with pytest.raises(ModelError, match="has other tokens at its end than at its start"):
        build(Pooled(), chain, plan_of(chain, Candidate.parse("fit 1:3 linear 8-8")))


def test_a_chain_of_another_transformer_is_refused() -> None:
    other = small("layer scale", num_heads=4).double()
    with pytest.raises(ModelError, match=r"block blocks.0.attn \(attn 32 h2 s1\) is not in it"):
        build(other, CHAIN, plan_of(CHAIN))


@pytest.mark.parametrize("kind", ["vit", "layer scale", "norms of queries and keys"])
@torch.no_grad()
def test_what_is_kept_makes_up_for_what_is_dropped(kind: str) -> None:
    model = small(kind).double()
    chain, batches = extract(model, SIZE), [images(seed, 16) for seed in range(1, 11)]
    plan = plan_of(chain, Candidate(2, 3, "drop", ()))
    made = partial(apply, model, chain, plan, fitting=batches)
    networks = {each: made(compensated=each) for each in (True, False)}
    wanted, error = model(images()), {}
    for compensated, network in networks.items():
        error[compensated] = float((network(images()) - wanted).square().mean())
        kept = network.get_submodule("blocks.0.attn.proj").weight
        assert torch.equal(kept, model.blocks[0].attn.proj.weight), "nothing before it is changed"
    changed = networks[True].get_submodule("blocks.1.mlp.fc2").weight
    assert not torch.equal(changed, model.blocks[1].mlp.fc2.weight)
    assert error[True] < 0.9 * error[False]


@pytest.mark.parametrize("kind", ["bias of positions", "rotary and gated"])
def test_heads_with_biases_of_their_own_stay(kind: str) -> None:
    """Those of positions, and those of queries and values that are put together in each pass."""
    chain = extract(small(kind), SIZE)
    found = candidates(chain, kinds=("narrow",))
    heads = [c for c in found if c.start and c.start % 2]
    assert {c.kind for c in heads} == {"keep"}
    assert all(chain.blocks[c.start].hidden is None for c in heads)
