"""List the candidates of a chain as a recipe asks for them."""

from typing import Any

from torch import nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.kinds.candidates import SIMILARITY, candidates
from depthopt.pipeline.recipe import Recipe
from depthopt.rewrite.norms import l1_norms
from depthopt.tables.similarity import Similarities


def is_by_similarity(recipe: Recipe) -> bool:
    """Whether what is listed depends on how similar blocks are."""
    section = recipe.candidates
    return section.coefficients == SIMILARITY or section.similar_quantile is not None


def listed(
    recipe: Recipe, model: nn.Module, chain: Chain, similar: Similarities | None = None
) -> tuple[Candidate, ...]:
    """The chain's candidates, by the recipe's ``candidates`` section.

    Args:
        recipe: that lists them.
        model: the original network, whose weights say which subset of a segment is merged.
        chain: its chain.
        similar: how similar its blocks are. Where that is not known yet, as before a run, all runs
            of blocks are listed.

    Raises:
        UsageError: an unknown activation to insert, or an invalid kernel size.
    """
    section = recipe.candidates
    settings: dict[str, Any] = dict(section) | {"fewer_macs": recipe.fewer_macs}
    if section.subsets:
        settings["weights"] = l1_norms(model, chain)
    if similar is None:
        unknown = section.coefficients == SIMILARITY
        settings |= {"similar_quantile": None} | ({"coefficients": (0.5,)} if unknown else {})
    else:
        settings["similarities"] = similar
    return candidates(chain, **settings)
