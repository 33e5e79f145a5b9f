"""Candidates that begin or end in another state than the original, as the 2023 paper scores them:
the activation at either end is in place while the network is trained briefly."""

import pytest
import torch
from torch import Tensor, nn

from depthopt.core.candidate import Candidate
from depthopt.errors import UsageError
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.kinds.registry import is_part
from tests.networks import randomised

SIZE = (2, 6, 6)
LINEAR = {2, 4}
"""Positions without an activation, behind the second and the fourth convolution."""


class Bottlenecks(nn.Module):
    """Five convolutions with norms, two of them linear; only the first has a border."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        widths, kernels = [2, 6, 4, 6, 4, 6], [3, 1, 1, 1, 1]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, k, padding=k // 2, bias=False)
            for i, o, k in zip(widths, widths[1:], kernels, strict=False)
        )
        self.norms = nn.ModuleList(map(nn.BatchNorm2d, widths[1:]))
        self.head = nn.Linear(6, 3)
        randomised(self)

    def activated(self, x: Tensor, acts: set[int]) -> Tensor:
        """What the network gives with activations at these positions."""
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True), 1):
            x = norm(conv(x))
            x = nn.functional.relu6(x) if i in acts else x
        return self.head(x.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        for i in range(5):
            x = self.norms[i](self.convs[i](x))
            x = nn.functional.relu6(x) if i not in (1, 3) else x
        return self.head(x.mean((2, 3)))


MODEL = Bottlenecks()
CHAIN = extract(MODEL, SIZE)
ALL = [
    c
    for c in candidates(
        CHAIN, kinds=("merge",), fewer_macs=False, inserted="usual", end_activations=True
    )
    if not c.start < 2 < c.end or c.end - c.start == 3
]
SCORED = [c for c in ALL if not is_part(c)]
IMAGES = torch.randn(16, *SIZE, generator=torch.Generator().manual_seed(1))
HELD_OUT = [(IMAGES, torch.arange(16) % 3)]
OPTIONS = {"estimator": "finetune", "held_out": HELD_OUT, "form": "expanded", "start": "at_once"}


def acts_of(candidate: Candidate) -> set[int]:
    """Where the paper's ``measure_imp`` has activations for (st, end, st_act, end_act)."""
    st, end, original = candidate.start, candidate.end, {1, 2, 3, 4, 5} - LINEAR
    acts = {i for i in original if not st < i < end}
    for position, state in ((st, candidate.entry), (end, candidate.exit)):
        if state:
            acts ^= {position}
    return acts


@torch.no_grad()
def test_the_network_trained_has_the_papers_activations() -> None:
    """Its outputs before training are the original's, computed with just these activations."""
    seen: list[Tensor] = []
    table = estimate(
        MODEL, CHAIN, ALL, train=lambda network: seen.append(network(IMAGES)), **OPTIONS
    )
    assert set(table.entries) == {c for c in SCORED if c.replaces}
    states = {(c.entry, c.exit) for c in table.entries}
    assert states >= {(0, 0), (0, 1), (1, 0)}
    for candidate, found in zip(table.entries, seen, strict=True):
        expected = MODEL.activated(IMAGES, acts_of(candidate))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=candidate.key)


@torch.no_grad()
def test_a_single_layer_is_initialised_anew_in_every_state_of_its_ends() -> None:
    """Kept, kept behind an inserted activation, and with one behind it that it has not."""
    seen: list[tuple[set[str], Tensor]] = []
    before = {name: value.clone() for name, value in MODEL.state_dict().items()}

    def train(network: nn.Module) -> None:
        now = network.state_dict()
        moved = {n for n, v in before.items() if n not in now or not torch.equal(now[n], v)}
        means = {n for n, v in now.items() if n.endswith("running_mean") and not v.any()}
        seen.append(({name.rpartition(".")[0] for name in moved}, torch.tensor(len(means))))

    single = [c for c in SCORED if c.end - c.start == 1]
    longer = [c for c in SCORED if (c.start, c.end) in {(0, 3), (3, 5)}]
    table = estimate(MODEL, CHAIN, [*single, *longer], train=train, keep=True, **OPTIONS)
    found = dict(zip(table.entries, seen, strict=True))
    assert {(c.entry, c.exit) for c in single} == {(0, 0), (1, 0), (0, 1)}
    for candidate in single:
        modules, fresh = found[candidate]
        own = {f"convs.{candidate.start}", f"norms.{candidate.start}"}
        others = {name for name in modules - own if candidate.entry == 0}
        assert own <= modules, candidate.key
        assert not others, candidate.key
        assert fresh == 1, f"{candidate.key}: one norm is forgotten"
    assert all(found[c][1] == 0 for c in longer), "merges of several start from the original"


def test_regression_does_not_see_what_comes_before() -> None:
    begun = [c for c in SCORED if c.entry]
    with pytest.raises(UsageError, match=r"begins in another state .* use estimator finetune"):
        estimate(MODEL, CHAIN, begun, fitting=[IMAGES], held_out=HELD_OUT)
