"""Find where a shallow network's tensors match the original's: the ends of segments."""

from itertools import pairwise

from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.kinds.registry import kind_of


def segment_ends(chain: Chain, plan: Plan) -> tuple[tuple[str, str], ...]:
    """The modules that read the tensor at the end of each replaced segment.

    A dropped branch has no module of its own: what it reads is seen at its end. The tensor at
    the chain's end is left out; the logits speak for it.

    Returns:
        For each end the module's path in what ``apply`` gives, and in the original.
    """
    ends = []
    for choice, following in pairwise(plan.choices):
        reader = kind_of(following).reader(chain, following)
        if choice.replaces and reader is not None:
            ends.append((reader, chain.blocks[choice.end].name))
    return tuple(ends)
