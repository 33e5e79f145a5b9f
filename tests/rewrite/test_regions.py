"""Segments that are replaced as a whole: gates, pooling and adds behind activations inside."""

import pytest
import torch
from torch import nn

from depthopt.core.candidate import Candidate
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.shallow.apply import apply
from depthopt.shallow.build import build
from depthopt.shallow.fuse import fuse
from tests.extraction.test_structures import SIZE, Behind, Between, Gate, Inside, Last, conv, pooled
from tests.plans import plan_of

IMAGES = torch.randn(64, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BATCHES = list(IMAGES.split(12))


def nets() -> dict[str, nn.Module]:
    """By the region's kind: the networks of the tests of extraction."""
    return {
        "inside": Inside(a=conv(4, 4), gate=Gate(), b=conv(4, 4, 1, act=False)),
        "last": Last(a=conv(4, 4), b=conv(4, 4, act=False), gate=Gate()),
        "between": Between(a=conv(4, 4), pool=nn.MaxPool2d(3, 2, 1), b=conv(4, 4)),
        "behind": Behind(a=conv(4, 4), b=conv(4, 4)),
        "pooled": pooled(),
    }


REGIONS = {"inside": (1, 5), "last": (1, 5), "between": (1, 3), "behind": (1, 3), "pooled": (1, 3)}


def found(model: nn.Module, region: tuple[int, int], kind: str) -> tuple[object, list[Candidate]]:
    chain = extract(model, SIZE)
    every = candidates(chain, kinds=("drop", "fit"), kernel_sizes=(1, 3), fewer_macs=False)
    return chain, [c for c in every if (c.start, c.end, c.kind) == (*region, kind)]


@pytest.mark.parametrize("name", ["inside", "last", "behind"])
@torch.no_grad()
def test_a_dropped_residual_leaves_its_skip(name: str) -> None:
    model = nets()[name].double()
    chain, (drop,) = found(model, REGIONS[name], "drop")
    x = model.stem(IMAGES)  # behind a ReLU, so another one changes nothing
    wanted = model.last(x).mean((2, 3))
    torch.testing.assert_close(apply(model, chain, plan_of(chain, drop))(IMAGES), wanted)


@torch.no_grad()
def test_a_dropped_residual_leaves_its_pooled_projection() -> None:
    model = nets()["pooled"].double()
    chain, (drop,) = found(model, (1, 3), "drop")
    wanted = model.last(torch.relu(model.p(model.pool(model.stem(IMAGES))))).mean((2, 3))
    torch.testing.assert_close(apply(model, chain, plan_of(chain, drop))(IMAGES), wanted)


@pytest.mark.parametrize("name", list(REGIONS))
@torch.no_grad()
def test_one_fitted_convolution_stands_for_the_whole(name: str) -> None:
    """It comes much closer to the original than unfitted, and is fused like any other."""
    torch.manual_seed(0)
    model = nets()[name].double()
    chain, fits = found(model, REGIONS[name], "fit")
    best = max(fits, key=lambda c: c.convolution.parameters)
    network = apply(model, chain, plan_of(chain, best), fitting=BATCHES)
    unfitted, _ = build(model, chain, plan_of(chain, best))
    wanted, got = model(IMAGES), network(IMAGES)
    error, before = (float((y - wanted).square().mean()) for y in (got, unfitted(IMAGES)))
    assert error < 0.2 * before
    torch.testing.assert_close(fuse(network)(IMAGES), got, rtol=1e-9, atol=1e-9)
    convolutions = sum(isinstance(m, nn.Conv2d) for m in network.modules())
    assert convolutions == 3


@pytest.mark.parametrize("name", list(REGIONS))
def test_every_candidate_is_scored(name: str) -> None:
    model = nets()[name]
    chain = extract(model, SIZE)
    every = candidates(chain, kinds=("drop", "fit", "merge"), kernel_sizes=(1,), fewer_macs=False)
    held_out = [(IMAGES[:16].float(), torch.zeros(16, dtype=torch.int64))]
    fitting = [batch.float() for batch in BATCHES]
    for estimator in ("regression", "magnitude"):
        table = estimate(
            model, chain, every, estimator=estimator, fitting=fitting, held_out=held_out
        )
        assert set(table.entries) == {c for c in every if c.kind != "keep"}
        assert all(score.cost >= -1e-12 for score in table.entries.values())
