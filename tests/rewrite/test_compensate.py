"""Kept convolutions that make up for what was replaced before them."""

import copy

import pytest
import torch
from torch import nn

from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from tests.networks import Residual
from tests.plans import plan_of

SIZE = (2, 10, 11)
MODEL = Residual().double()
CHAIN = extract(MODEL, SIZE)
ALL = candidates(CHAIN, kinds=("drop", "fit", "merge"), fewer_macs=False)
torch.manual_seed(0)
BATCHES = [torch.randn(16, *SIZE, dtype=torch.float64) for _ in range(10)]
FRESH = torch.randn(64, *SIZE, dtype=torch.float64)
FIRST = next(c for c in ALL if c.kind == "fit" and (c.start, c.end) == (1, 3))


def error(network: nn.Module) -> float:
    with torch.no_grad():
        return float((network(FRESH) - MODEL(FRESH)).square().mean())


@pytest.mark.parametrize("kind", ["drop", "fit", "merge"])
def test_logits_come_closer_to_the_originals(kind: str) -> None:
    chosen = next(c for c in ALL if c.kind == kind and c.start == 1 and c.end == 3)
    plan = plan_of(CHAIN, chosen)
    plain, better = (
        apply(MODEL, CHAIN, plan, fitting=BATCHES, compensated=compensated)
        for compensated in (False, True)
    )
    assert error(better) < 0.8 * error(plain)


def test_what_lies_before_the_first_replacement_stays() -> None:
    network = apply(MODEL, CHAIN, plan_of(CHAIN, FIRST), fitting=BATCHES)
    stem = network.get_submodule(CHAIN.blocks[0].name)
    torch.testing.assert_close(stem.weight, MODEL.stem[0].weight, rtol=0, atol=0)


def test_norms_keep_statistics_of_what_they_see() -> None:
    """In training mode, on the calibration images, the network computes the same."""
    network = apply(MODEL, CHAIN, plan_of(CHAIN, FIRST), fitting=BATCHES)
    held_out = BATCHES[4], BATCHES[9]
    seen = torch.cat([b for b in BATCHES if not any(b is h for h in held_out)])
    after = [b.name for b in CHAIN.blocks[FIRST.end :]]
    for name in after:
        node = next(n for n in network.graph.nodes if n.target == name)
        norm = network.get_submodule(str(next(iter(node.users)).target))
        assert isinstance(norm, nn.BatchNorm2d)
        outputs = []
        hook = norm.register_forward_pre_hook(lambda _m, x, outputs=outputs: outputs.append(x[0]))
        with torch.no_grad():
            network(seen)
        hook.remove()
        mean = outputs[0].mean((0, 2, 3))
        variance = outputs[0].var((0, 2, 3), correction=0)
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(norm.running_var, variance, rtol=1e-9, atol=1e-9)


def test_a_norm_that_cannot_be_adjusted_is_left_alone() -> None:
    model = copy.deepcopy(MODEL)
    model.c3[1] = nn.BatchNorm2d(8, affine=False).double().eval()
    chain = extract(model, SIZE)
    network = apply(model, chain, plan_of(chain, FIRST), fitting=BATCHES)
    name = chain.blocks[-1].name
    kept = network.get_submodule(name).weight
    torch.testing.assert_close(kept, model.get_submodule(name).weight, rtol=0, atol=0)


def test_fused_and_trained_form_agree() -> None:
    network = apply(MODEL, CHAIN, plan_of(CHAIN, FIRST), fitting=BATCHES)
    with torch.no_grad():
        wanted = network(FRESH)
        torch.testing.assert_close(fuse(network)(FRESH), wanted, rtol=1e-9, atol=1e-9)
