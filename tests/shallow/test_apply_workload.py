"""What carrying a plan out says that it takes, against what torch counts."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn

from depthopt.extraction.extract import extract
from depthopt.graph.replay import MOST_BYTES, Replay
from depthopt.kinds.candidates import candidates
from depthopt.rewrite import side_by_side
from depthopt.rewrite.ridges import COMPENSATION_RIDGES
from depthopt.shallow.apply import apply, apply_workload
from tests.flops import macs
from tests.plans import plan_of

SIZE = (2, 8, 8)
BATCHES = [torch.randn(10, *SIZE) for _ in range(5)]
IMAGES = sum(map(len, BATCHES))


def plain_network(blocks: int = 6) -> nn.Module:
    """Convolutions with their norms, and nothing but these to count."""
    torch.manual_seed(0)
    channels = (2, *[6] * blocks)
    layers = [
        nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())
        for i, o in pairwise(channels)
    ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(6 * 64, 3)).eval()


@pytest.mark.parametrize("most_bytes", [MOST_BYTES, 0])
def test_a_plan_that_touches_all_layers_takes_nearly_the_most(
    most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "MOST_BYTES", most_bytes)
    monkeypatch.setattr(side_by_side, "Replay", partial(Replay, most_bytes=most_bytes))
    model = plain_network()
    chain = extract(model, SIZE)
    first = next(
        c for c in candidates(chain, fewer_macs=False)
        if (c.kind, c.start, c.end) == ("fit", 0, 1) and c.convolution.kernel_size == (3, 3)
    )  # fmt: skip
    work = apply_workload(chain, IMAGES, ridges=COMPENSATION_RIDGES, compensated=True)
    plan = plan_of(chain, first)
    counted = macs(lambda: apply(model, chain, plan, fitting=BATCHES, ridges=COMPENSATION_RIDGES))
    passes = counted["convolution"] / chain.conv_macs
    assert passes == pytest.approx(work.forward_images, rel=0.02), "beside what traces them"
    assert 0.7 * work.macs64 < counted["baddbmm_"] < work.macs64, "a fifth is held out"


def test_passes_from_memory_are_fewer_and_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = extract(plain_network(), SIZE)
    settings = {"ridges": (1e-2,), "compensated": False}
    kept = apply_workload(chain, IMAGES, **settings)
    monkeypatch.setattr(side_by_side, "MOST_BYTES", 0)
    fresh = apply_workload(chain, IMAGES, **settings)
    assert kept.forward_images < 0.5 * fresh.forward_images
    assert kept.macs64 == fresh.macs64
    assert kept.memory_bytes - fresh.memory_bytes == 4 * 4 * IMAGES * 6 * 8 * 8


def test_more_ridges_are_more_to_solve() -> None:
    chain = extract(plain_network(), SIZE)
    few, many = (
        apply_workload(chain, IMAGES, ridges=(1e-2,), compensated=compensated)
        for compensated in (False, True)
    )
    assert few.macs64 < many.macs64
    assert few.memory_bytes == many.memory_bytes
