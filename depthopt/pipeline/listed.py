"""List the candidates of a chain as a recipe asks for them."""

from typing import Any

from torch import nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.kinds.candidates import candidates
from depthopt.pipeline.recipe import Recipe
from depthopt.rewrite.norms import l1_norms


def listed(recipe: Recipe, model: nn.Module, chain: Chain) -> tuple[Candidate, ...]:
    """The chain's candidates, by the recipe's ``candidates`` section.

    Args:
        recipe: that lists them.
        model: the original network, whose weights say which subset of a segment is merged.
        chain: its chain.

    Raises:
        UsageError: an unknown activation to insert, or an invalid kernel size.
    """
    section = recipe.candidates
    settings: dict[str, Any] = dict(section) | {"fewer_macs": recipe.fewer_macs}
    if section.subsets:
        settings["weights"] = l1_norms(model, chain)
    return candidates(chain, **settings)
