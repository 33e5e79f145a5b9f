"""``share``: a run of alike blocks of a transformer becomes one, whose weights are their mean.

After MKA, manifold-based knowledge alignment and layer merging (EMNLP 2024,
https://arxiv.org/abs/2406.16330). There the last two blocks become one, that and the one before it
another one, and so on: at each step the front one counts by a coefficient, and the one behind by
what is left of 1. Here that may happen to any run. Which coefficient comes nearest is told on
held-out data (``depthopt.importance.stand_ins``).

The run's first block stays in the network and gets the mean. Its last linear layer is regressed
where plans compensate, so that the tensor behind the run comes near to what it was.
"""

from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from depthopt.core import numbers
from depthopt.core.candidate import Candidate
from depthopt.core.chain import Block, Chain
from depthopt.core.repeats import alike_runs, repeats
from depthopt.kinds.kind import Kind, Wishes
from depthopt.kinds.running import kept_keys
from depthopt.kinds.site import New, Site
from depthopt.tables.latency import LatencyKey

if TYPE_CHECKING:  # torch takes seconds to import, and tables are solved without it
    from torch import fx

    from depthopt.graph.alike import Alike
    from depthopt.rewrite.stand_in import StandIn


def _candidates(chain: Chain, wishes: Wishes) -> Iterator[Candidate]:
    """Every run of two blocks or more that are similar enough, with every coefficient."""
    wanted, similar = set(wishes.segments), wishes.similarities
    for begin, branches, blocks in alike_runs(chain):
        for first, behind in combinations(range(blocks + 1), 2):
            start, end = begin + first * branches, begin + behind * branches
            ends = tuple(range(start + branches, end + 1, branches))
            if (start, end) not in wanted or len(ends) < 2:
                continue
            if wishes.published and behind < blocks:
                continue  # MKA begins at the last block
            if similar is not None and similar.least(ends) < wishes.least_similarity:
                continue
            every: list[tuple[float, ...]] = [(each,) for each in wishes.coefficients]
            if not every and similar is not None:
                every = [tuple(round(similar.of(*pair), 2) for pair in pairwise(ends))]
            for coefficients in every:
                yield shared(chain, start, end, branches, coefficients)


def shared(
    chain: Chain, start: int, end: int, branches: int, coefficients: tuple[float, ...]
) -> Candidate:
    """The candidate that averages the blocks of a run.

    Args:
        chain: the network.
        start: first branch of the run.
        end: one past its last.
        branches: of a block.
        coefficients: of the block in front at each step, from the first block on; one holds for
            all. The detail has one where all are the same.
    """
    operators = tuple(block.operator for block in chain.blocks[start : start + branches])
    every = coefficients[:1] if len(set(coefficients)) == 1 else coefficients
    detail = ", ".join(f"{each:g}" for each in every)
    return Candidate(start, end, KIND.name, operators, None, detail)


def coefficients_of(candidate: Candidate) -> tuple[float, ...] | None:
    """The coefficients of each step. None if that is not what its detail says."""
    steps = _blocks(candidate) - 1
    found = list[float]()
    for text in candidate.detail.split(", "):
        try:
            number = numbers.decimal(text)
        except ValueError:
            return None
        if not 0 <= number <= 1 or f"{number:g}" != text:
            return None
        found.append(number)
    if len(found) == 1:
        return tuple(found * steps)
    return tuple(found) if len(found) == steps else None


def shares(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    """What each block of a run counts, when two are averaged at a time, from the back.

    Args:
        coefficients: of the block in front, at each step, from the first block on.
    """
    found, left = list[float](), 1.0
    for coefficient in coefficients:
        found.append(left * coefficient)
        left *= 1 - coefficient
    return (*found, left)


def _blocks(candidate: Candidate) -> int:
    """How many blocks become one."""
    return (candidate.end - candidate.start) // max(1, len(candidate.operators))


def _why_not(chain: Chain, candidate: Candidate) -> str | None:
    start, end, branches = candidate.start, candidate.end, len(candidate.operators)
    if (illegal := chain.why_illegal(start, end)) is not None:
        return illegal
    if not branches or (end - start) % branches or _blocks(candidate) < 2:
        return "is not a run of two blocks or more"
    if candidate.operators != tuple(b.operator for b in chain.blocks[start : start + branches]):
        return "is not like the run's first block"
    if repeats(chain, start, branches) < _blocks(candidate):
        return "is a run of blocks that are not alike"
    coefficients = coefficients_of(candidate)
    if coefficients is None or candidate != shared(chain, start, end, branches, coefficients):
        return "has other coefficients than one from 0 to 1, or one for each step"
    return None


def _latency_keys(chain: Chain, candidate: Candidate) -> tuple[LatencyKey, ...]:
    """Those of one block of the run."""
    return tuple(
        key
        for i in range(candidate.start, candidate.start + len(candidate.operators))
        for key in kept_keys(chain, _kept(chain, i))
    )


def _kept(chain: Chain, index: int) -> Candidate:
    block = chain.blocks[index]
    return Candidate(index, index + 1, KIND.name, (block.operator,), block.activation)


def _last(chain: Chain, candidate: Candidate) -> Block:
    """The last branch of the run's first block."""
    return chain.blocks[candidate.start + len(candidate.operators) - 1]


def _alike(
    network: "fx.GraphModule", chain: Chain, candidate: Candidate, begin: "fx.Node | None" = None
) -> "Alike":
    """The blocks of the run in a traced network.

    Args:
        network: the original, or one in which what comes before the run was replaced.
        chain: the original's chain.
        candidate: with the run.
        begin: the tensor that the first block reads now; None for the original's.

    Raises:
        ModelError: they differ in something else than their weights.
    """
    from depthopt.graph.alike import Alike  # noqa: PLC0415 - torch takes seconds
    from depthopt.graph.trace import nodes_by_name  # noqa: PLC0415 - as above

    nodes, branches = nodes_by_name(network), len(candidate.operators)
    ends = [chain.blocks[i + branches - 1].output for i in _starts(candidate)]
    first = nodes[chain.blocks[candidate.start].input] if begin is None else begin
    tensors = [first, *(nodes[end] for end in ends)]
    return Alike.of(network, list(pairwise(tensors)))


def _starts(candidate: Candidate) -> range:
    """The first branch of each block."""
    return range(candidate.start, candidate.end, len(candidate.operators))


def _shares(candidate: Candidate) -> tuple[float, ...]:
    return shares(coefficients_of(candidate) or ())


def _stand_in(network: "fx.GraphModule", chain: Chain, candidate: Candidate) -> "StandIn":
    from depthopt.rewrite.stand_in import StandIn  # noqa: PLC0415 - torch takes seconds

    alike = _alike(network, chain, candidate)
    return StandIn(
        tuple(node.name for node in alike.reads),
        _last(chain, candidate),
        lambda: alike.averaged(_shares(candidate)),
    )


def _install(site: Site, candidate: Candidate) -> "tuple[fx.Node, New | None]":
    """Give the first block the mean, and go on behind it."""
    alike = _alike(site.network, site.chain, candidate, site.at(candidate.start))
    alike.set_mean(_shares(candidate))
    return alike.nodes[-1], None


KIND = Kind(
    name="share",
    verb="shared",
    letter="S",
    colour=("#a8325a", "#ea7fa2"),
    pattern="rings",
    candidates=_candidates,
    takes_inserted=False,
    takes_similarities=True,
    why_not=_why_not,
    latency_keys=_latency_keys,
    retained=lambda candidate: range(candidate.start, candidate.start + len(candidate.operators)),
    reader=lambda chain, candidate: chain.blocks[candidate.start].name,
    problem=lambda *_: None,
    adjusted=lambda candidate: candidate.start + len(candidate.operators) - 1,
    stand_in=_stand_in,
    install=_install,
)
