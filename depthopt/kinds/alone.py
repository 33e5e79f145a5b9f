"""Make a plan with one candidate, in any states that it begins and ends in."""

from dataclasses import replace

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.errors import UsageError
from depthopt.kinds.ends import usual_activation
from depthopt.kinds.merge import merged


def alone(chain: Chain, candidate: Candidate) -> tuple[Candidate, ...]:
    """The choices of a plan with one candidate. All other blocks are kept, in states that fit.

    Where it begins in state 1, the activation of the block before it comes or goes; what comes is
    the network's usual one.

    Raises:
        UsageError: one should come, and the network has none.
    """
    blocks = list(kept_blocks(chain))
    if candidate.exit and candidate.end < len(blocks):
        blocks[candidate.end] = replace(blocks[candidate.end], entry=candidate.exit)
    if candidate.entry and candidate.start:
        before = candidate.start - 1
        composed = merged(chain, before, candidate.start)
        own = chain.ending(before, candidate.start).activation
        activation = usual_activation(chain) if own is None else None
        if composed is None or activation == own:
            raise UsageError(f"{candidate.key} begins in a state that {chain.model} cannot be in")
        blocks[before] = replace(composed, activation=activation, exit=1)
    return (*blocks[: candidate.start], candidate, *blocks[candidate.end :])
