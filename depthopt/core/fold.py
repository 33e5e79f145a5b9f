"""Walk over a segment's blocks and the skips that it covers.

Inside a segment without activations, the tensor at each position is a sum: what the block before
it makes of the tensor at its own input, and what each skip that ends there adds. So a segment is
a list of edges between positions, and a window, a weight, or an image goes through all of them in
the same order.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from depthopt.core.chain import Chain, Layer, Skip

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Edge:
    """One summand of the tensor at a position.

    Attributes:
        source: position that it comes from.
        target: position of the sum.
        layers: what it goes through on the way; none for an identity.
    """

    source: int
    target: int
    layers: tuple[Layer, ...]


def edges_of(
    chain: Chain,
    start: int,
    end: int,
    *,
    composed: Collection[int] | None = None,
    skips: Iterable[Skip] | None = None,
) -> tuple[Edge, ...]:
    """The edges of a segment, grouped by the position where they end, the block's first.

    Args:
        chain: the network.
        start: first block.
        end: one past the last block.
        composed: the blocks whose operators stay, the others being identities; all if None.
        skips: the skips inside; those that the segment covers if None.
    """
    inside = tuple(chain.covered(start, end) if skips is None else skips)
    edges = []
    for index in range(start, end):
        block = chain.blocks[index]
        stays = composed is None or index in composed
        layers = (Layer(block.name, block.convolution),) if stays else ()
        edges.append(Edge(index, index + 1, layers))
        edges += [Edge(s.source, s.target, s.branch) for s in inside if s.target == index + 1]
    return tuple(edges)


def fold(
    edges: Sequence[Edge],
    first: T,
    through: Callable[[Edge, T], T],
    plus: Callable[[T, T], T],
) -> T:
    """The value at the segment's end, given the one at its start.

    Args:
        edges: of the segment, as ``edges_of`` gives them.
        first: the value at the start.
        through: what an edge makes of the value at its source.
        plus: the sum of two values at one position.
    """
    at = {edges[0].source: first}
    for edge in edges:
        value = through(edge, at[edge.source])
        at[edge.target] = plus(at[edge.target], value) if edge.target in at else value
    return at[edges[-1].target]


def fold_back(
    edges: Sequence[Edge],
    last: T,
    needed: Callable[[Edge, T], T],
    most: Callable[[list[T]], T],
) -> dict[int, T]:
    """Work out what every position needs, from what the segment's end needs.

    Args:
        edges: of the segment, as ``edges_of`` gives them.
        last: needed at the end.
        needed: what an edge needs at its source, given what is needed at its target.
        most: the need that meets all of several.
    """
    at = {edges[-1].target: last}
    needs: dict[int, list[T]] = defaultdict(list)
    for edge in reversed(edges):
        if edge.target not in at:
            at[edge.target] = most(needs[edge.target])
        needs[edge.source].append(needed(edge, at[edge.target]))
    first = edges[0].source
    at[first] = most(needs[first])
    return at
