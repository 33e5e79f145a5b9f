"""Choose which of a segment's convolutions to compose. The others become identities.

LayerMerge (ICML 2024, https://arxiv.org/abs/2406.12837, section 3.3) removes convolutions inside a
segment too. A convolution may go where input and output agree in channels and size. Of all
subsets that merge into the same convolution the one with the largest sum of L1 norms is listed.

There are 2^n subsets, but what they merge into is a function of the window alone (``Window``:
stride, offset, size, groups), and that of a run follows from that of its front. So one walk from a
segment's start keeps, for every window that can be reached at a position, the best subset so far.
Where skips lie inside, the windows at their open sources belong to that state.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

from depthopt.core.chain import Block, Chain, Skip
from depthopt.core.window import Window
from depthopt.errors import UsageError

_State = tuple[Window, tuple[Window, ...]]
"""The window at a position, and those at the sources of skips that are still open."""

_Best = tuple[int, int]
"""The sum of a subset's norms, in steps, and its blocks as the bits of a number."""


def is_removable(block: Block) -> bool:
    """Whether a block's convolution may become the identity."""
    layout = block.layout
    same = layout.in_channels == layout.out_channels and layout.input_size == layout.output_size
    return same and block.convolution.stride == (1, 1)


def in_steps(weights: Sequence[float]) -> list[int]:
    """Norms as whole numbers, 2**-50 of their sum or finer, whose sums are exact."""
    step = math.frexp(math.fsum(weights))[1] - 51
    return [round(math.ldexp(weight, -step)) for weight in weights]


def checked_weights(chain: Chain, weights: Sequence[float] | None) -> tuple[float, ...]:
    """Check the L1 norms of the blocks, and return them.

    Raises:
        UsageError: there are none, not one for each block, or one that is not a norm.
    """
    if weights is None:
        raise UsageError(
            "subsets of merges need the convolutions' L1 norms; give "
            "weights=depthopt.l1_norms(model, chain)"
        )
    if len(weights) != len(chain.blocks):
        raise UsageError(
            f"weights has {len(weights)} norms, {chain.model} has {len(chain.blocks)} blocks; give "
            "weights=depthopt.l1_norms(model, chain)"
        )
    for block, weight in zip(chain.blocks, weights, strict=True):
        if not (math.isfinite(weight) and weight >= 0):
            raise UsageError(
                f"the L1 norm of {block.name} is {weight}, expected a finite number, 0 or more"
            )
    return tuple(weights)


def best_subsets(
    chain: Chain, start: int, ends: Sequence[int], weights: Sequence[float]
) -> Iterator[tuple[int, Window, tuple[int, ...]]]:
    """For every window that subsets of a segment merge into, the best subset.

    Of equal sums of norms the subset is taken that keeps the last block in which they differ.

    Args:
        chain: the network.
        start: first block of all segments.
        ends: one past the last of each, rising; the segments can be merged.
        weights: L1 norms by block.

    Yields:
        End, window, and the blocks that stay; with none the segment is what its skips make of it.
        All blocks are the best subset of their window.
    """
    steps, wanted = in_steps(weights), frozenset(ends)
    walk = _Walk.of(chain, start, max(ends))
    states: dict[_State, _Best] = {(walk.first, ()): (0, 0)}
    for position in range(start + 1, max(ends) + 1):
        states = walk.advanced(states, position, steps[position - 1])
        if position in wanted:
            best: dict[Window, _Best] = {}
            for (window, _), found in states.items():
                best[window] = max(found, best.get(window, (-1, 0)))
            for window, (_, bits) in best.items():
                yield position, window, _blocks(bits)


@dataclass(frozen=True, slots=True)
class _Walk:
    """What is met on the way from a segment's start.

    Attributes:
        chain: the network.
        first: the window at the start.
        skips: those that lie wholly behind the start and before the last end.
    """

    chain: Chain
    first: Window
    skips: tuple[Skip, ...]

    @classmethod
    def of(cls, chain: Chain, start: int, last: int) -> "_Walk":
        first = Window.identity(chain.blocks[start].layout.in_channels)
        return cls(chain, first, chain.covered(start, last))

    def _open(self, position: int) -> list[int]:
        """The sources of the skips that span a position or begin there, in order."""
        return sorted({s.source for s in self.skips if s.source <= position < s.target})

    def advanced(
        self, states: dict[_State, _Best], position: int, norm: int
    ) -> dict[_State, _Best]:
        """The states at a position, from those one block before."""
        block = self.chain.blocks[position - 1]
        before, after = self._open(position - 1), self._open(position)
        arriving = [(s.source, _through(s)) for s in self.skips if s.target == position]
        stays, bit = Window.of(block.operator), 1 << (position - 1)
        found: dict[_State, _Best] = {}
        for (window, opened), (total, bits) in states.items():
            at = dict(zip(before, (*opened, window), strict=False))
            ways = [(window.then(stays), (total + norm, bits | bit))]
            if is_removable(block):
                ways.append((window, (total, bits)))
            beside = [_after(at[source], branch) for source, branch in arriving]
            behind = tuple(at[source] for source in after if source < position)
            for own, best in ways:
                state = reduce(Window.plus, beside, own), behind
                found[state] = max(best, found.get(state, (-1, 0)))
        return found


def _through(skip: Skip) -> Window | None:
    """The window of what a skip goes through; None for an identity."""
    window = None
    for layer in skip.branch:
        own = Window.of(layer.operator)
        window = own if window is None else window.then(own)
    return window


def _after(window: Window, branch: Window | None) -> Window:
    return window if branch is None else window.then(branch)


def _blocks(bits: int) -> tuple[int, ...]:
    return tuple(i for i in range(bits.bit_length()) if bits >> i & 1)
