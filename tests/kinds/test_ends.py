"""Merges with and without activations at their ends, listed and carried out."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.operators import Activation
from depthopt.errors import ModelError, UsageError
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate, scored
from depthopt.kinds.alone import alone
from depthopt.kinds.candidates import candidates
from depthopt.kinds.ends import is_part
from depthopt.rewrite.inserted import InsertedActivation
from depthopt.shallow.apply import apply
from depthopt.shallow.build import check_plan
from depthopt.shallow.fuse import fuse
from tests.chains import chain_of
from tests.kinds.test_papers import chain_of as chain_of_timm
from tests.networks import randomised
from tests.plans import plan_of

RELU6 = Activation("relu6")
SIZE = (4, 8, 8)


class Bottlenecks(nn.Module):
    """A stem, and two bottlenecks of 1x1 convolutions whose ends are linear, the second a skip."""

    def __init__(self) -> None:
        super().__init__()

        def block(before: int, after: int, *, act: bool) -> nn.Sequential:
            layers = [nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after)]
            return nn.Sequential(*layers, nn.ReLU6() if act else nn.Identity())

        self.stem = block(4, 6, act=True)
        self.a1, self.a2 = block(6, 12, act=True), block(12, 6, act=False)
        self.b1, self.b2 = block(6, 12, act=True), block(12, 6, act=False)
        self.head = block(6, 8, act=True)
        randomised(self, 0)
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a2(self.a1(self.stem(x)))
        x = self.b2(self.b1(x)) + x
        return self.head(x).mean((2, 3))


MODEL = Bottlenecks()
CHAIN = extract(MODEL, SIZE)
LISTED = candidates(
    CHAIN, kinds=("merge",), fewer_macs=False, inserted="usual", end_activations=True
)
X = torch.randn(5, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def pick(start: int, end: int, entry: int, exit_: int) -> Candidate:
    return next(
        c for c in LISTED if (c.start, c.end, c.entry, c.exit) == (start, end, entry, exit_)
    )


@torch.no_grad()
def outputs(*choices: Candidate, form: str = "fused") -> tuple[torch.Tensor, torch.Tensor]:
    """Of a plan, before and after it is fused."""
    network = apply(MODEL, CHAIN, plan_of_states(*choices), form=form, start="at_once")
    return network(X), fuse(network)(X)


def plan_of_states(*choices: Candidate):
    """A plan of choices and kept blocks, those behind an inserted activation in its state."""
    plan, found = plan_of(CHAIN, *choices), []
    for choice in plan.choices:
        state = found[-1].exit if found else 0
        found.append(choice if choice.replaces else replace(choice, entry=state))
    return replace(plan, choices=tuple(found))


@pytest.mark.parametrize("form", ["fused", "expanded"])
def test_an_inserted_activation_is_there(form: str) -> None:
    """Behind the add, where the segment is one block or several, and the next is kept."""
    x = MODEL.a2(MODEL.a1(MODEL.stem(X)))
    wanted = MODEL.head(torch.clamp(MODEL.b2(MODEL.b1(x)) + x, 0, 6)).mean((2, 3))
    for got in outputs(pick(4, 5, 0, 1), form=form):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    inner = torch.clamp(MODEL.a2(MODEL.a1[1](MODEL.a1[0](MODEL.stem(X)))), 0, 6)
    wanted = MODEL.head(MODEL.b2(MODEL.b1(inner)) + inner).mean((2, 3))
    for got in outputs(pick(1, 3, 0, 1), form=form):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", ["fused", "expanded"])
def test_a_merge_in_parts_is_the_merge(form: str) -> None:
    """1x1 convolutions are the same in one and in several; the activation between is gone."""
    whole, parts = pick(3, 5, 0, 0), (pick(3, 4, 0, 1), pick(4, 5, 1, 0))
    assert all(map(is_part, parts))
    wanted, _ = outputs(whole, form=form)
    for got in outputs(*parts, form=form):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_the_2023_codes_rows_of_mobilenetv2_are_listed_and_scored() -> None:
    """315 rows of (st, end, a, b), 83 of the 50 blocks: 33 of them have a bottleneck's end."""
    chain = chain_of_timm("mobilenetv2_100")
    listed = candidates(
        chain,
        kinds=("merge",),
        max_length=None,
        inserted="usual",
        fewer_macs=False,
        segments="papers",
        end_activations=True,
    )
    rows = scored(listed, keep=True)
    assert len(rows) == 315
    assert {str(c.activation) for c in rows if c.exit} == {"relu6"}
    assert Counter(c.end - c.start for c in rows)[1] == 83
    assert not {0, 51} & {c.start for c in rows}, "stem and head"


def test_every_state_that_is_ended_in_is_begun_in() -> None:
    ended = {(c.end, c.exit) for c in LISTED if not is_part(c) and c.end < len(CHAIN.blocks)}
    assert ended <= {(c.start, c.entry) for c in LISTED if not is_part(c)}
    assert len({c.key for c in LISTED}) == len(LISTED)
    assert all(Candidate.parse(c.key) == c for c in LISTED)


def test_every_candidate_stands_alone_in_a_plan() -> None:
    for candidate in LISTED:
        choices = alone(CHAIN, candidate)
        assert candidate in choices
        check_plan(CHAIN, replace(plan_of(CHAIN), choices=choices))


@torch.no_grad()
def test_a_candidate_behind_an_inserted_activation_is_scored_behind_it() -> None:
    seen = []
    estimate(
        MODEL,
        CHAIN,
        [pick(3, 5, 1, 1)],
        estimator="finetune",
        held_out=[(X, torch.zeros(5).long())],
        train=seen.append,
        start="at_once",
        form="expanded",
    )
    (network,) = seen
    inserted = [m for m in network.modules() if isinstance(m, InsertedActivation)]
    assert len(inserted) == 2
    x = torch.clamp(MODEL.a2(MODEL.a1(MODEL.stem(X))), 0, 6)
    y = MODEL.b2(MODEL.b1[1](MODEL.b1[0](x))) + x
    wanted = MODEL.head(torch.clamp(y, 0, 6)).mean((2, 3))
    torch.testing.assert_close(network.eval()(X), wanted, rtol=1e-9, atol=1e-9)


def test_regression_does_not_see_the_activation_before() -> None:
    with pytest.raises(UsageError, match="regression cannot tell apart; use estimator finetune"):
        estimate(MODEL, CHAIN, LISTED, fitting=[X], held_out=[(X, None)])


def test_plans_whose_states_do_not_agree_are_refused() -> None:
    for wrong, message in (
        ((pick(1, 3, 0, 1),), "begins in state 0, what comes before it ends in state 1"),
        ((replace(pick(1, 3, 0, 1), exit=0, entry=1),), "begins in state 1, what comes before"),
        ((replace(pick(1, 3, 0, 0), exit=1),), "with an activation just where the original has"),
        ((replace(kept_blocks(CHAIN)[0], exit=1),), "ends in another state than the original"),
    ):
        plan = plan_of(CHAIN, *wrong)
        with pytest.raises(ModelError, match=message):
            check_plan(CHAIN, plan)


def test_end_activations_need_one_to_insert() -> None:
    with pytest.raises(UsageError, match="give inserted, such as usual"):
        candidates(chain_of(["relu", None]), end_activations=True)
    with pytest.raises(UsageError, match="usual activation, relu, not relu6; give inserted: usual"):
        candidates(chain_of(["relu", None]), end_activations=True, inserted="relu6")
