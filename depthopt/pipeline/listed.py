"""A recipe's candidates of a chain."""

from typing import Any

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.kinds.candidates import candidates
from depthopt.pipeline.recipe import Recipe


def listed(recipe: Recipe, chain: Chain) -> tuple[Candidate, ...]:
    """What the chain's segments may become, as the recipe's ``candidates`` say.

    Raises:
        UsageError: an activation to insert that there is not, or a kernel size that is none.
    """
    section = recipe.candidates
    settings: dict[str, Any] = dict(section) | {"fewer_macs": recipe.fewer_macs}
    for key in ("subsets", "end_activations"):
        if not settings[key]:
            del settings[key]
    return candidates(chain, **settings)
