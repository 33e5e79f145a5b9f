from dataclasses import replace

import pytest
from torch import Tensor, nn

from depthopt.core.operators import Activation
from depthopt.core.plan import Plan
from depthopt.errors import ModelError, UsageError
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.shallow.build import check_plan
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


class Residuals(nn.Module):
    """Residual blocks of 3 channels one behind another, and a skip around all, if asked for."""

    def __init__(self, blocks: int, *, around: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(blocks))
        self.around = around

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for block in self.blocks:
            x = x + block(x)
        return x + image if self.around else x


@pytest.mark.parametrize(("blocks", "around"), [(1, False), (3, False), (3, True)])
def test_no_plan_leaves_nothing_of_a_network(blocks: int, around: bool) -> None:
    network = Residuals(blocks, around=around)
    chain = extract(network, (3, 8, 8))
    found = candidates(chain, kinds=("drop", "fit", "merge"))
    assert all(c.operators for c in found if c.start == 0)
    assert [c.start for c in found if not c.operators and c.end == c.start + 1] == [
        *range(1, blocks)
    ]
    all_dropped = [replace(c, kind="drop", operators=()) for c in found if c.kind == "keep"]
    plan = Plan(chain.model, chain.input_size, tuple(all_dropped), 1.0, 1.0, 1.0)
    with pytest.raises(ModelError, match="leaves no layer of the chain in place"):
        check_plan(chain, plan)


def test_a_stem_lets_every_branch_go() -> None:
    chain = extract(nn.Sequential(nn.Conv2d(3, 3, 3), Residuals(2, around=False)), (3, 8, 8))
    gone = {(c.start, c.end) for c in candidates(chain, kinds=("drop",)) if not c.operators}
    assert gone == {(1, 2), (2, 3)}
