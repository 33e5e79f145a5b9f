import pytest

from depthopt.core.operators import Activation
from depthopt.errors import UsageError
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from tests.networks import Residual

CHAIN = extract(Residual(), (2, 8, 8))


def test_every_block_can_be_kept_and_every_candidate_is_legal() -> None:
    found = candidates(CHAIN, kinds=("drop", "fit", "merge"), fewer_macs=False)
    assert [c.start for c in found if c.kind == "keep"] == list(range(8))
    assert all(CHAIN.why_illegal(c.start, c.end) is None for c in found)
    assert len({c.key for c in found}) == len(found)


def test_replacements_keep_shapes() -> None:
    for c in candidates(CHAIN, kinds=("drop", "fit", "merge"), fewer_macs=False):
        first, last = CHAIN.blocks[c.start], CHAIN.blocks[c.end - 1]
        if c.operators:
            assert c.convolution.in_channels == first.operator.in_channels
            assert c.convolution.out_channels == last.operator.out_channels
            assert c.convolution.output_size(first.layout.input_size) == last.layout.output_size


def test_only_candidates_with_fewer_macs_are_listed() -> None:
    few, many = candidates(CHAIN), candidates(CHAIN, fewer_macs=False)
    assert set(few) < set(many)


def test_a_drop_leaves_the_skip() -> None:
    drops = {c.start: c for c in candidates(CHAIN, kinds=("drop",)) if c.kind == "drop"}
    assert set(drops) == {1, 3, 5}
    assert drops[1].operators == ()
    assert drops[1].activation == Activation("relu"), (
        "relu6 came before, which relu does not repeat"
    )
    assert len(drops[3].operators) == 1
    assert drops[5].activation is None


def test_kernels_no_larger_than_what_they_can_see() -> None:
    tiny = extract(Residual(), (2, 2, 2))
    sizes = {c.convolution.kernel_size for c in candidates(tiny, fewer_macs=False)
             if c.kind == "fit" and c.start >= 5}  # fmt: skip
    assert sizes == {(1, 1)}, "the input is one pixel"


@pytest.mark.parametrize("wrong", [{"kinds": ("prune",)}, {"kernel_sizes": (2,)}])
def test_unknown_kinds_and_even_kernels_are_refused(wrong: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(UsageError):
        candidates(CHAIN, **wrong)
