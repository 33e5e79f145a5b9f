"""The candidates as the papers' code lists them, counted by segment length and kernel."""

from collections import Counter
from functools import cache

import pytest
import timm
import torch

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.errors import UsageError
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.kinds.papers import breaks, published_segments

LENGTHS = {
    "mobilenetv2_100": {2: 59, 3: 31, 4: 15, 5: 17, 6: 30, 7: 15, 8: 21, 9: 33, 10: 15, 11: 13,
                        12: 19, 13: 5, 14: 5, 15: 17, 16: 6, 17: 6, 18: 13, 19: 7, 20: 7, 21: 7},
    "resnet34": {2: 26, 4: 36, 6: 30, 8: 16, 10: 10},
}  # fmt: skip
"""Rows of the published tables of several blocks, by the segment's length."""

KERNELS = {
    "mobilenetv2_100": {1: 83, 3: 120, 5: 62, 7: 37, 9: 20, 11: 11, 13: 6, 15: 2},
    "resnet34": {3: 30, 5: 30, 7: 17, 9: 17, 11: 8, 13: 8, 15: 3, 17: 3, 19: 1, 21: 1},
}


@cache
def chain_of(name: str) -> Chain:
    """Of small images and without weights, neither of which matters here."""
    with torch.device("meta"):
        model = timm.create_model(name)
    model = model.to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.zero_()
    return extract(model, (3, 64, 64))


@cache
def merges(name: str) -> tuple[Candidate, ...]:
    chain = chain_of(name)
    listed = candidates(
        chain,
        kinds=("merge",),
        max_length=None,
        inserted="usual",
        fewer_macs=False,
        segments="papers",
        subsets=True,
        weights=[1.0] * len(chain.blocks),
    )
    return tuple(c for c in listed if c.kind == "merge")


@pytest.mark.parametrize(
    ("name", "rows", "blocks"), [("mobilenetv2_100", 341, 50), ("resnet34", 118, 32)]
)
def test_the_published_tables_have_these_rows(name: str, rows: int, blocks: int) -> None:
    """391 and 150, of which 50 and 32 are the blocks themselves: all but stem and head."""
    found = merges(name)
    assert len(found) == rows
    assert Counter(c.end - c.start for c in found) == LENGTHS[name]
    assert Counter(c.convolution.kernel_size[0] for c in found) == KERNELS[name]
    single = [s for s in published_segments(chain_of(name)) if s[1] - s[0] == 1]
    outside = {0, *(i for i in breaks(chain_of(name)) if i == len(chain_of(name).blocks) - 1)}
    assert len([s for s in single if s[0] not in outside]) == blocks


def test_the_breaks_are_the_papers() -> None:
    """Theirs are counted from behind the stem, ours from before it."""
    assert breaks(chain_of("mobilenetv2_100")) == {1, 6, 12, 21, 42, 51}
    assert breaks(chain_of("resnet34")) == {1, 8, 16, 28}


def test_every_merge_of_several_blocks_has_an_activation_behind_it() -> None:
    """The network's most frequent one, where it had none."""
    assert {str(c.activation) for c in merges("mobilenetv2_100")} == {"relu6"}


def test_the_2023_code_lists_only_the_merges_of_all() -> None:
    """171 rows of MobileNetV2's, 50 of them single blocks."""
    chain = chain_of("mobilenetv2_100")
    found = candidates(
        chain, kinds=("merge",), max_length=None, fewer_macs=False, segments="papers"
    )
    assert sum(c.kind == "merge" for c in found) == 121


def test_other_choices_of_segments_are_refused() -> None:
    with pytest.raises(UsageError, match="segments 'some' is unknown; known: all, papers"):
        candidates(chain_of("resnet34"), segments="some")
