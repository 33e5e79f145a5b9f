"""Candidates with and without an activation at either end: the 2023 paper's ``I(st, end, a, b)``.

A candidate's entry and exit state say how the network has the activation at its ends: 0 as the
original has it, 1 the other way, so gone where there was one and inserted where there was none.

Which of them are scored is what the authors' code lists (https://arxiv.org/abs/2301.12187;
``construct_ext_blks`` in ``exps/generate_tables.py`` of ``Efficient-CNN-Depth-Compression``):

- where the original has an activation at an end, it is there;
- a segment that begins at a linear position, where the original has none, is listed with one
  there and without;
- one that ends at a linear position is listed with one there, and without only if it does not
  begin at a linear position or a break (``depthopt.kinds.papers``): what runs from one bottleneck
  to another ends with an activation.

A block that stays, behind an inserted activation, is a ``keep`` in entry state 1.

All others are *parts*: a merge may be realised as several with no activation between them, and of
these only the whole is scored. They are measured, and stand in plans for a part of such a merge.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.operators import Activation
from depthopt.kinds.papers import breaks

_PART = " part"


def activation_at(chain: Chain, position: int) -> Activation | None:
    """The original's activation right before a position. None without one, or without a block."""
    return chain.ending(0, position).activation if position else None


def usual_activation(chain: Chain) -> Activation | None:
    """A network's most frequent activation, the first of equal ones. None if it has none."""
    counted = Counter(block.activation for block in chain.blocks if block.activation is not None)
    return max(counted, key=lambda activation: counted[activation], default=None)


def with_ends(
    chain: Chain, candidate: Candidate, inserted: Activation, *, parts: bool
) -> Iterator[Candidate]:
    """A candidate's forms with and without an activation at either end.

    Args:
        chain: the network.
        candidate: in the original's states.
        inserted: what comes where the original has none.
        parts: list those that only stand for a part of another too.
    """
    start, end = candidate.start, candidate.end
    own = chain.ending(start, end).activation
    begun = activation_at(chain, start)
    rigid = start == 0 or begun is None or start in breaks(chain)
    for entry in (0, 1) if start else (0,):
        for exit_ in (0, 1):
            activation = own if exit_ == 0 else inserted if own is None else None
            if activation is None and exit_ == 1 and end == len(chain.blocks):
                continue  # of a part, behind which nothing comes
            goes = entry == 1 and begun is not None
            scored = not goes and (activation is not None or (own is None and not rigid))
            if scored or parts:
                detail = candidate.detail if scored else candidate.detail + _PART
                yield replace(
                    candidate, activation=activation, detail=detail, entry=entry, exit=exit_
                )


def kept_behind_inserted(chain: Chain) -> Iterator[Candidate]:
    """The blocks that may be kept where an activation is inserted before them."""
    for block in kept_blocks(chain)[1:]:
        if block.activation is not None and activation_at(chain, block.start) is None:
            yield replace(block, entry=1)


def is_part(candidate: Candidate) -> bool:
    """Whether a candidate only stands for a part of a merge that is realised as several."""
    return candidate.detail.endswith(_PART)


def without_part(detail: str) -> str:
    """The rest of a candidate's detail."""
    return detail.removesuffix(_PART)


def why_other_ends(chain: Chain, candidate: Candidate) -> str | None:
    """Why a candidate cannot have the states of its ends. None if it can."""
    start, end = candidate.start, candidate.end
    if not {candidate.entry, candidate.exit} <= {0, 1}:
        return "has a state other than 0 and 1"
    if start == 0 and candidate.entry:
        return "begins in another state than the network does"
    own = chain.ending(start, end).activation
    if candidate.exit == 1 and (own is None) == (candidate.activation is None):
        return "ends in state 1, but with an activation just where the original has one"
    return None
