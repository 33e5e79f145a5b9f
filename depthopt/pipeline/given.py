"""A network that a run was given in memory: recognised by its digest, and asked for again."""

import logging
from pathlib import Path

from torch import nn

from depthopt.core import limits
from depthopt.core.reading import parse_yaml, read_text
from depthopt.errors import UsageError
from depthopt.models.memory import memory_name
from depthopt.models.names import source_of, told_as
from depthopt.pipeline.recipe import Recipe

logger = logging.getLogger(__name__)

IN_MEMORY = "memory"
"""What a recipe may call a network that is given with it."""


def named(recipe: Recipe, model: nn.Module | None) -> Recipe:
    """A recipe with the name of the network in memory.

    Raises:
        UsageError: the recipe is of a network in memory, and none or another is given; or one is
            given that the recipe has a name for.
    """
    name = recipe.model.name
    of_memory = source_of(name) == IN_MEMORY or name == IN_MEMORY
    if model is None:
        if of_memory:
            raise UsageError(f"the network {name} was given in memory: give it again, model=MODEL")
        return recipe
    if not of_memory:
        raise UsageError(
            f"the recipe names the network {name}, and one is given in memory too; give one of both"
        )
    own = memory_name(model)
    if name not in {IN_MEMORY, own}:
        raise UsageError(
            f"the network given in memory is {own}, expected {name}: its structure or its weights "
            "differ; give the same, or another run folder"
        )
    return recipe.of_model(name=own)


def require_same(recipe: Recipe, folder: Path) -> None:
    """Refuse to go on with another network in memory. Warn if a file of code changed.

    Raises:
        UsageError: the folder's run was begun with another network in memory.
    """
    section = _model_section(folder)
    before, now = str(section.get("name", "")), recipe.model.name
    if IN_MEMORY in {source_of(before), source_of(now)} and before not in {"", now}:
        raise UsageError(
            f"{folder} is of the network {before}, given now is {now}; give the same, or name "
            "another folder"
        )
    digest = section.get("sha256")
    same_code = told_as(before).rpartition("/")[2] == told_as(now)
    if digest and recipe.model.sha256 not in {None, digest} and same_code:
        logger.warning(
            "%s has changed since %s was made: all stages are done again",
            recipe.network.rpartition(":")[0],
            folder,
        )


def _model_section(folder: Path) -> dict[str, object]:
    """What a run's own recipe says of the network; nothing where none can be read."""
    try:
        content = parse_yaml(read_text(folder / "recipe.yaml", limits.RECIPE_BYTES))
    except (OSError, ValueError):
        return {}
    section = content.get("model") if isinstance(content, dict) else None
    return section if isinstance(section, dict) else {}
