"""Activations that a plan inserts where the original has none."""

import pytest
import torch
from torch import nn

from depthopt.core.operators import Activation
from depthopt.errors import ModelError, UsageError
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.rewrite.inserted import come_into_their_own, inserted_in
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from tests.networks import Residual
from tests.plans import plan_of

SIZE = (2, 10, 11)
MODEL = Residual().double()
CHAIN = extract(MODEL, SIZE)
PLAIN = candidates(CHAIN, kinds=("fit", "merge"), fewer_macs=False)
INSERTED = candidates(CHAIN, kinds=("fit", "merge"), fewer_macs=False, inserted="relu6")
torch.manual_seed(0)
IMAGES = torch.randn(8, *SIZE, dtype=torch.float64)
LAST = next(c for c in INSERTED if c.kind == "merge" and c.end == len(CHAIN.blocks))


def test_only_what_replaces_several_blocks_and_has_none_gets_one() -> None:
    changed = {c.key: d for c, d in zip(PLAIN, INSERTED, strict=True) if c != d}
    assert changed
    for candidate in changed.values():
        assert candidate.end - candidate.start > 1
        assert candidate.activation == Activation("relu6")
        assert CHAIN.ending(candidate.start, candidate.end).activation is None


def test_an_unknown_activation_is_refused_with_the_known() -> None:
    with pytest.raises(UsageError, match=r"'relu7' cannot be inserted; known: .*relu6"):
        candidates(CHAIN, inserted="relu7")


@torch.no_grad()
def test_it_starts_as_the_identity_and_ends_as_the_activation() -> None:
    plain = next(c for c in PLAIN if (c.kind, c.start, c.end) == ("merge", LAST.start, LAST.end))
    without = apply(MODEL, CHAIN, plan_of(CHAIN, plain))
    network = apply(MODEL, CHAIN, plan_of(CHAIN, LAST))
    torch.testing.assert_close(network(IMAGES), without(IMAGES))
    at_once = apply(MODEL, CHAIN, plan_of(CHAIN, LAST), start="at_once")
    assert not torch.allclose(at_once(IMAGES), without(IMAGES))
    come_into_their_own(network, 0.5)
    come_into_their_own(network, 0.2)
    assert float(next(iter(inserted_in(network).values())).share) == 0.5, "never back"
    come_into_their_own(network, 1.0)
    torch.testing.assert_close(network(IMAGES), at_once(IMAGES))


@torch.no_grad()
def test_merging_leaves_the_plain_activation_or_refuses() -> None:
    network = apply(MODEL, CHAIN, plan_of(CHAIN, LAST))
    with pytest.raises(ModelError, match=r"0 % of the way .* finetune"):
        fuse(network)
    come_into_their_own(network, 1.0)
    fused = fuse(network)
    assert not inserted_in(fused)
    assert any(isinstance(module, nn.ReLU6) for module in fused.modules())
    torch.testing.assert_close(fused(IMAGES), network(IMAGES), rtol=1e-9, atol=1e-9)
