"""Parts of a network with one tensor in and one tensor out.

Whatever lies in such a region, gates and pooling included, can be replaced as a whole.
Nodes are taken in the order of execution: the region between two tensors is all that
is computed after the one, up to the other, and it is closed if it reads nothing older than
the first and nothing newer reads from it but the second.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import fx

from depthopt.core.chain import Chain
from depthopt.core.operators import reads_tokens
from depthopt.graph.constants import constants

LONGEST = 32
"""Longest region that is looked for, in blocks."""


class Regions:
    """Finds which parts of a network are closed."""

    def __init__(self, nodes: Sequence[fx.Node]) -> None:
        """Take the nodes in order of execution."""
        self._place = {node: i for i, node in enumerate(nodes)}
        # Constants may be older than all that is in a region, and be read behind it too. So may
        # what nothing reads.
        fixed = constants(nodes)
        self._first_read = [
            min((self._place[n] for n in node.all_input_nodes if n not in fixed), default=i)
            if node.users or node.op == "output"
            else i
            for i, node in enumerate(nodes)
        ]
        self._last_user = [
            max((self._place[user] for user in node.users if node not in fixed), default=i)
            for i, node in enumerate(nodes)
        ]

    def holds(self, source: fx.Node, end: fx.Node, node: fx.Node) -> bool:
        """Whether ``node`` is computed after ``source``, up to ``end``."""
        return self._place[source] < self._place[node] <= self._place[end]

    def is_closed(self, source: fx.Node, end: fx.Node) -> bool:
        """Whether nothing else leads into or out of the part from ``source`` to ``end``."""
        begin, stop = self._place[source], self._place[end]
        return (
            begin < stop
            and min(self._first_read[begin + 1 : stop + 1]) >= begin
            and max(self._last_user[begin + 1 : stop], default=stop) <= stop
        )

    def around_barriers(
        self, chain: Chain, nodes: Mapping[str, fx.Node]
    ) -> Callable[[int], tuple[int, int] | None]:
        """A function from a position to the shortest closed segment around it, if any."""
        layers = [self._place[nodes[block.linear]] for block in chain.blocks]
        closed = [
            (start, end)
            for start in range(len(layers))
            for end in range(start + 2, min(len(layers), start + LONGEST) + 1)
            if self._is_closed_segment(chain, nodes, layers, start, end)
        ]
        closed.sort(key=lambda segment: segment[1] - segment[0])

        def region(position: int) -> tuple[int, int] | None:
            return next((s for s in closed if s[0] < position < s[1]), None)

        return region

    def _is_closed_segment(
        self,
        chain: Chain,
        nodes: Mapping[str, fx.Node],
        layers: Sequence[int],
        start: int,
        end: int,
    ) -> bool:
        if len({reads_tokens(block.operator) for block in chain.blocks[start:end]}) > 1:
            return False  # nothing takes the place of maps and tokens together
        source = nodes[chain.blocks[start].input]
        last = nodes[chain.ending(start, end).output]
        begin, stop = self._place[source], self._place[last]
        beside = [*layers[max(start - 1, 0) : start], *layers[end : end + 1]]
        within = begin < min(layers[start:end]) and max(layers[start:end]) <= stop
        alone = not any(begin < layer <= stop for layer in beside)
        return within and alone and self.is_closed(source, last)
