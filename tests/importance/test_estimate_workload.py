"""What an estimate says that it takes, against what torch counts."""

from concurrent.futures import Executor, Future
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from depthopt.core.workload import Workload
from depthopt.extraction.extract import extract
from depthopt.importance import regression
from depthopt.importance.estimate import estimate_workload
from depthopt.importance.regress import grouped, problems_of
from depthopt.importance.regression import (
    MEMORY_BYTES,
    ByRegression,
    parts_of,
    regression_workload,
)
from depthopt.kinds.candidates import candidates
from depthopt.rewrite.ridges import FIT_RIDGES
from depthopt.tasks.classification import TASK
from tests.flops import macs
from tests.networks import Residual

SIZE = (2, 8, 8)
MODEL = Residual()
CHAIN = extract(MODEL, SIZE)
ALL = candidates(CHAIN, kernel_sizes=(1, 3), max_length=4, fewer_macs=False)
SCORED = [c for c in ALL if c.kind != "keep"]
FITTING = [torch.randn(16, *SIZE) for _ in range(4)]
HELD_OUT = [(torch.randn(16, *SIZE), None) for _ in range(4)]


class Here(Executor):
    """Works on this thread, where torch counts."""

    def submit(self, call, /, *args, **options):
        done = Future()
        done.set_result(call(*args, **options))
        return done


def test_a_part_takes_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression, "_pool", lambda: nullcontext(Here()))
    work = ByRegression(MODEL, CHAIN, FITTING, HELD_OUT, TASK, FIT_RIDGES)
    drops = tuple(c for c in SCORED if c.kind == "drop")
    for part in (drops, parts_of(CHAIN, SCORED, "fused", workers=1, memory_bytes=1 << 20)[0]):
        said = regression_workload(CHAIN, part, "fused", 64, 64, ridges=len(FIT_RIDGES))
        fits = [c for c in part if c.kind == "fit"]
        problems = problems_of(fits, "fused")
        own = sum(c.convolution.macs(CHAIN.blocks[c.start].layout.input_size) for c in fits)
        tried = 64 + 16 * len(FIT_RIDGES)  # in the segment's place, and to choose a ridge by
        counted = macs(lambda part=part: work(part))["convolution"]
        passes = (counted - tried * own) / CHAIN.conv_macs
        # One batch held out goes through the original twice, and a branch is not a block.
        assert passes == pytest.approx(said.forward_images, abs=1.5 * 16)
        assert said.memory_bytes == 2 * sum(g.memory_bytes for g in grouped(CHAIN, problems))


def test_an_estimate_takes_its_parts_one_after_the_other() -> None:
    said = estimated("regression")
    parts = parts_of(CHAIN, SCORED, "fused", workers=1, memory_bytes=MEMORY_BYTES)
    each = [regression_workload(CHAIN, part, "fused", 100, 50, ridges=4) for part in parts]
    assert said == sum(each, Workload())
    spread = estimated("regression", workers=20)
    assert spread.forward_images > said.forward_images, "more parts run the original again"
    assert spread.macs64 == said.macs64


def test_other_estimators_take_no_regression() -> None:
    assert estimated("magnitude") == Workload()
    assert estimated("finetune") is None, "the training is unknown"
    training = Workload(trained_images=1000, memory_bytes=7)
    each = replace(training, forward_images=50)
    assert estimated("finetune", training=training) == each * len(SCORED)


def estimated(estimator, training=None, workers=None):
    return estimate_workload(
        CHAIN,
        SCORED,
        estimator=estimator,
        images=100,
        held_out=50,
        ridges=FIT_RIDGES,
        training=training,
        form="fused",
        workers=workers,
    )


def test_a_kept_blocks_own_entry_is_one_more_training() -> None:
    options = {
        "estimator": "finetune", "images": 64, "held_out": 32, "ridges": FIT_RIDGES,
        "training": Workload(trained_images=100), "form": "fused", "workers": None,
    }  # fmt: skip
    without, own = (estimate_workload(CHAIN, ALL, **options, keep=keep) for keep in (False, True))
    assert without.trained_images == 100 * len(SCORED)
    assert (own.trained_images, own.forward_images) == (100 * len(ALL), 32 * len(ALL))
