"""Networks that people really write: each is traced as exactly itself, or refused and told why.

Every night, or with ``-m nightly``, all of them and three plans; always, one or two of a family.
"""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from depthopt.core.chain import Chain
from depthopt.errors import ModelError
from depthopt.extraction.extract import extract
from depthopt.graph.network import TracedNetwork
from depthopt.graph.original import deepcopied
from depthopt.graph.outputs import output_of
from depthopt.graph.trace import trace
from depthopt.shallow.build import build
from depthopt.shallow.fuse import fuse
from tests.plans import plan_of
from tests.strangers.networks import NETWORKS
from tests.strangers.registry import Size, image, made
from tests.zoo.test_zoo import built, difference, drawn

ROUNDING = 1e-9

_TO_A_MODULE = r"styles\.py:\d+: .* in a module of its own, without convolutions"
_VIEW = "writes into a tensor that is read elsewhere through a view; write it without"

REFUSED = {
    "AsksAtTheRoot": _TO_A_MODULE,
    "ChannelsOfZeros": r"styles\.py:\d+: it gives sizes to a function one by one; give them as a",
    "ChecksItsInput": _TO_A_MODULE,
    "Flattened_len": _TO_A_MODULE,
    "Iterates": _TO_A_MODULE,
    "WithoutGradients": r"styles\.py:\d+: .* without gradients .*freeze weights by requires_grad_",
    "Written_data": r"what reaches Conv2d b\.0 from a\.1 on is something else \(writes\.py:\d+",
    "Written_filled": rf"zero_ \(writes\.py:\d+\) {_VIEW}",
    "Written_item_of_features": rf"iadd \(writes\.py:\d+\) {_VIEW}",
    "Written_same_view": rf"relu_ \(writes\.py:\d+\) {_VIEW}",
    "Written_view_written": rf"mul_ \(writes\.py:\d+\) {_VIEW}",
    "Written_whole_written": rf"mul_ \(writes\.py:\d+\) {_VIEW}",
}
"""Networks that are refused, and what their writer is told."""

UNTRAINABLE = {
    "Scripted": "can't optimize a non-leaf Tensor",  # a copy of what is scripted
    "Written_chunk_written": "is a view and is being modified inplace",
    "Written_out_argument": "don't support automatic differentiation",
    "Written_out_of_other": "don't support automatic differentiation",
    "Written_out_twice": "don't support automatic differentiation",
}
"""Networks that torch itself does not train, and what it says."""

ALWAYS = {
    *("CifarResNet", "WideResNet_0.3", "AppliedThrice", "Attentive_SelfAttention", "Auxiliary"),
    *("FlagInForward", "Operated_spectral_norm", "Written_item", "Written_dropped"),
}
"""Those that each run tries; the others are tried by night."""


def _each() -> list[object]:
    """The names of networks that are accepted."""
    return [
        name if name in ALWAYS else pytest.param(name, marks=pytest.mark.nightly)
        for name in sorted(NETWORKS.keys() - REFUSED)
    ]


@dataclass(frozen=True, slots=True)
class Case:
    """A network, its input's size, its chain, and it traced, with all blocks kept."""

    name: str
    network: nn.Module
    size: Size
    chain: Chain
    kept: TracedNetwork


@pytest.fixture(scope="module", params=_each())
def case(request: pytest.FixtureRequest) -> Case:
    name = request.param
    network, size = made(name)
    chain = extract(network, size, name=name)
    kept, _ = build(network, chain, plan_of(chain))
    return Case(name, network, size, chain, kept)


def test_every_name_is_known() -> None:
    assert len(NETWORKS) > 200
    assert NETWORKS.keys() >= ALWAYS | REFUSED.keys() | UNTRAINABLE.keys()


_SELDOM = {"ChecksItsInput", "Iterates", "Named", "Written_filled", "Written_same_view"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.nightly) if n in _SELDOM else n for n in sorted(REFUSED)],
)
def test_what_is_refused_is_told_why(name: str) -> None:
    network, size = made(name)
    with pytest.raises(ModelError, match=REFUSED[name]):
        extract(network, size, name=name)


@torch.no_grad()
def test_the_kept_network_is_the_original(case: Case) -> None:
    fused = fuse(case.kept)
    for seed, batch in ((0, 2), (1, 1), (1, 3)):
        x = image(case.size, seed=seed, batch=batch)
        wanted = output_of(case.network, x.clone())
        found = output_of(case.kept, x.clone())
        same = torch.equal(found, wanted)
        assert same or (case.name == "Operated_timm_same" and difference(wanted, found) < ROUNDING)
        assert difference(wanted, output_of(fused, x)) < ROUNDING


def test_the_kept_network_trains_as_the_original(case: Case) -> None:
    if case.name in UNTRAINABLE:
        with pytest.raises((RuntimeError, ValueError), match=UNTRAINABLE[case.name]):
            _trained(case.network, case.size)
        return
    (wanted, after), (found, then) = (_trained(n, case.size) for n in (case.network, case.kept))
    assert difference(wanted, found) < ROUNDING
    assert difference(after, then) < ROUNDING


def _trained(network: nn.Module, size: Size) -> tuple[Tensor, Tensor]:
    """Outputs in training, which may be random, and in evaluation after a step of training."""
    network = deepcopied(network).train()
    torch.manual_seed(3)
    first = _first(network(image(size, seed=2, batch=4)))
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    first.square().mean().backward()
    torch.optim.SGD(weights, 0.05).step()
    with torch.no_grad():
        return first.detach(), output_of(network.eval(), image(size, seed=2))


def _first(output: Any) -> Tensor:
    """What is there in training too, where there may be more than in evaluation."""
    if isinstance(output, Tensor):
        return output
    return next(iter(output.values() if isinstance(output, dict) else output))


def test_what_is_random_in_training_stays_random(case: Case) -> None:
    original, kept = (deepcopied(n).train() for n in (case.network, case.kept))
    x = image(case.size, batch=4)
    try:
        wanted = [original(x.clone()) for _ in range(2)]
    except RuntimeError:
        assert case.name in UNTRAINABLE
        return
    first, second = map(_first, wanted)
    found, again = (_first(kept(x.clone())) for _ in range(2))
    assert torch.equal(found, again) == torch.equal(first, second)


def test_a_scripted_part_keeps_its_weights() -> None:
    network, size = made("Scripted")
    names = {name for name, _ in network.named_parameters()}
    assert {name for name, _ in trace(network, size).named_parameters()} == names
    assert any("body.0" in part.node for part in extract(network, size).unused)


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.nightly) for s in (1, 2))])
@torch.no_grad()
def test_expanded_and_fused_forms_agree(case: Case, seed: int) -> None:
    plan = drawn(case.chain, seed)
    forms = ("expanded", "fused")
    expanded, fused = (built(case.network, case.chain, plan, form) for form in forms)
    x = image(case.size)
    wanted = output_of(expanded, x.clone())
    for other in (fused, fuse(expanded)):
        assert difference(wanted, output_of(other, x.clone())) < ROUNDING, plan.replaced
