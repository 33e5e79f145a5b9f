"""Validate changes to a recipe that is not made yet, without torch."""

from collections.abc import Sequence
from typing import Any

from depthopt.pipeline.overrides import changes_of
from depthopt.pipeline.recipe import Recipe, make_recipe

WHERE = "the recipe for this command"
"""The recipe's name in messages."""


def names_other_budget(overrides: Sequence[str]) -> bool:
    """Whether the changes set a budget other than a speed-up."""
    budget = changes_of(overrides).get("budget")
    return isinstance(budget, dict) and not budget.keys().isdisjoint({"ms", "cost"})


def overridden(model: str, overrides: Sequence[str]) -> Recipe:
    """A minimal recipe with a user's changes.

    Args:
        model: name of the network.
        overrides: ``key.path=value`` of the recipe.

    Raises:
        RecipeError: a key is unknown, or a value is not of its kind.
    """
    content: dict[str, Any] = {
        "model": {"name": model, "input_size": [3, 32, 32]},
        "data": {"source": "digits"},
        "budget": {} if names_other_budget(overrides) else {"speedup": 2},
    }
    return make_recipe(content, overrides, where=WHERE)
