"""Runs of alike blocks that become one: what is listed, what counts how much, what is refused."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import timm
from hypothesis import given
from hypothesis import strategies as st

from depthopt.core.candidate import Candidate
from depthopt.core.repeats import alike_runs, ends_of_blocks
from depthopt.errors import ModelError, UsageError
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import latency_keys
from depthopt.kinds.registry import kind_of
from depthopt.kinds.share import coefficients_of, shared, shares
from depthopt.shallow.build import check_plan
from depthopt.tables.similarity import Similarities
from tests.plans import plan_of
from tests.transformers import SIZE, small

CHAIN = extract(small("vit"), SIZE)
"""The patches' convolution, and three blocks of two branches."""


def test_every_run_of_whole_blocks_is_listed() -> None:
    found = [c for c in candidates(CHAIN, kinds=("share",), coefficients=(0.5,)) if c.replaces]
    assert [(c.start, c.end) for c in found] == [(1, 5), (1, 7), (3, 7)]
    assert all(Candidate.parse(c.key) == c for c in found)
    assert found[0].key == "share 1:5 attn 32 h2 + mlp 32-128:gelu of 0.5"
    assert len(candidates(CHAIN, kinds=("share",))) == 7 + 3 * 11, "0, 0.1, ... 1"
    assert len(candidates(CHAIN, kinds=("share",), max_length=4, coefficients=(1,))) == 7 + 2


def test_blocks_of_unlike_shapes_do_not_become_one() -> None:
    hybrid = timm.create_model("resnet18", num_classes=4)
    assert not list(alike_runs(extract(hybrid, (3, 32, 32)))), "convolutions are another matter"
    blocks = list(CHAIN.blocks)
    wider = replace(blocks[4].operator, hidden=64)
    blocks[4] = replace(blocks[4], operator=wider)
    changed = replace(CHAIN, blocks=tuple(blocks))
    assert not [c for c in candidates(changed, kinds=("share",)) if c.replaces]


def test_mka_lists_runs_that_end_with_the_last_block() -> None:
    found = candidates(CHAIN, kinds=("share",), segments="papers", coefficients=(0.5,))
    assert [(c.start, c.end) for c in found if c.replaces] == [(1, 7), (3, 7)]


SIMILAR = Similarities(
    CHAIN.model, 100, (3, 5, 7), ((1, 0.25, 0.5), (0.25, 1, 0.75), (0.5, 0.75, 1))
)
"""Of the three blocks."""


def test_coefficients_and_runs_by_how_similar_blocks_are() -> None:
    given = partial(candidates, CHAIN, kinds=("share",), similarities=SIMILAR)
    found = [c for c in given(coefficients="similarity") if c.replaces]
    assert [c.detail for c in found] == ["0.25", "0.25, 0.75", "0.75"]
    assert coefficients_of(found[1]) == (0.25, 0.75)
    assert ends_of_blocks(CHAIN) == SIMILAR.ends
    segments = {
        quantile: [(c.start, c.end) for c in given(similar_quantile=quantile) if c.detail == "0.5"]
        for quantile in (0, 0.4, 0.8)
    }
    assert segments == {0: [(1, 5), (1, 7), (3, 7)], 0.4: [(3, 7)], 0.8: [(3, 7)]}


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({"coefficients": "similarity"}, "give similarities"),
        ({"similar_quantile": 0.5}, "give similarities"),
        ({"similar_quantile": 1.0, "similarities": SIMILAR}, "similar_quantile is 1.0"),
        ({"coefficients": "npib"}, "give numbers or similarity"),
        ({"similarities": replace(SIMILAR, model="another")}, "similarities are of another"),
    ],
)
def test_wishes_for_similarities_that_cannot_be_met(wishes: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        candidates(CHAIN, kinds=("share",), **wishes)


def test_nothing_else_lies_between_the_blocks_of_a_run() -> None:
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=56, embed_dim=16, depths=(2, 2), num_heads=(1, 2)
    )
    chain = extract(model, (3, 56, 56))
    assert any(chain.barriers), "attention in windows is no block, but its regions may be replaced"
    assert not list(alike_runs(chain))
    assert not [c for c in candidates(chain, kinds=("share",)) if c.replaces]


def test_it_takes_as_long_as_one_block() -> None:
    candidate = shared(CHAIN, 1, 7, 2, (0.5,))
    kept = candidates(CHAIN, kinds=())
    one = (*latency_keys(CHAIN, kept[1]), *latency_keys(CHAIN, kept[2]))
    assert latency_keys(CHAIN, candidate) == one, "nothing new is to be measured"


def test_what_each_block_counts() -> None:
    assert shares((0.5, 0.5)) == (0.5, 0.25, 0.25)
    assert shares((1.0, 0.3)) == (1, 0, 0), "the blocks behind the first are dropped"
    assert shares((0.0, 0.25)) == (0, 0.25, 0.75)
    assert coefficients_of(shared(CHAIN, 1, 7, 2, (0.25,))) == (0.25, 0.25)
    assert coefficients_of(shared(CHAIN, 1, 7, 2, (0.25, 0.5))) == (0.25, 0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_shares_are_those_of_pairs_from_the_back(coefficients: list[float]) -> None:
    got, values = shares(tuple(coefficients)), range(len(coefficients) + 1)
    mean = float(values[-1])
    for coefficient, value in zip(reversed(coefficients), reversed(values[:-1]), strict=True):
        mean = coefficient * value + (1 - coefficient) * mean
    assert sum(got) == pytest.approx(1)
    assert all(each >= 0 for each in got)
    assert sum(s * v for s, v in zip(got, values, strict=True)) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Candidate(2, 6, "share", (CHAIN.blocks[1].operator,) * 2), "first"),
        (replace(shared(CHAIN, 1, 5, 2, (0.5,)), detail="half"), "coefficients"),
        (replace(shared(CHAIN, 1, 5, 2, (0.5,)), detail="1.5"), "coefficients"),
        (replace(shared(CHAIN, 1, 5, 2, (0.5,)), detail="0.5, 0.5"), "coefficients"),
        (replace(shared(CHAIN, 1, 5, 2, (0.5,)), detail="0.50"), "coefficients"),
        (replace(shared(CHAIN, 1, 7, 2, (0.5,)), detail="0.5, 0.5"), "coefficients"),
        (shared(CHAIN, 1, 3, 2, (0.5,)), "two blocks or more"),
        (shared(CHAIN, 1, 5, 1, (0.5,)), "not alike"),
        (shared(CHAIN, 0, 2, 1, (0.5,)), "barrier"),
    ],
)
def test_another_chains_run_is_refused(wrong: Candidate, why: str) -> None:
    assert why in str(kind_of(wrong).why_not(CHAIN, wrong))
    with pytest.raises(ModelError, match="share"):
        check_plan(CHAIN, plan_of(CHAIN, wrong))


def test_a_coefficient_is_a_share() -> None:
    with pytest.raises(UsageError, match=r"coefficient is 1\.5"):
        candidates(CHAIN, kinds=("share",), coefficients=(0.5, 1.5))
