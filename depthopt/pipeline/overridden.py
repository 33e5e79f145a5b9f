"""What a recipe's method sets, and what the recipe says otherwise."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from depthopt.core.clipped import clipped
from depthopt.pipeline.methods import METHODS, keys_of
from depthopt.pipeline.recipe import Recipe

logger = logging.getLogger(__name__)

AT_ODDS = ("candidates.kinds", "solver.objective")
"""Keys that make a method what it is."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key that a method sets.

    Attributes:
        key: dotted.
        value: the method's.
        own: the recipe's; the same where it says nothing else.
        where: what says the method's.
    """

    key: str
    value: Any
    own: Any
    where: str

    @property
    def is_overridden(self) -> bool:
        """Whether the recipe has another value."""
        return bool(self.own != self.value)


def settings_of(recipe: Recipe) -> tuple[Setting, ...]:
    """What the recipe's method sets, in the order of its keys."""
    method, content = METHODS[recipe.method], recipe.model_dump(mode="json")
    return tuple(
        Setting(".".join(path), value, _at(content, path), _where(method.where, path))
        for path, value in keys_of(method.settings)
    )


def overridden(recipe: Recipe) -> tuple[Setting, ...]:
    """What the recipe says otherwise than its method."""
    return tuple(setting for setting in settings_of(recipe) if setting.is_overridden)


def say_at_odds(recipe: Recipe) -> None:
    """Say in the log which settings that make a method what it is the recipe has otherwise."""
    for setting in overridden(recipe):
        if setting.key in AT_ODDS:
            logger.warning("%s", at_odds(recipe, setting))


def at_odds(recipe: Recipe, setting: Setting) -> str:
    """That the recipe's own value wins, in a sentence."""
    return (
        f"method {recipe.method} has {setting.key} {_text(setting.value)}, the recipe "
        f"{_text(setting.own)}: the recipe's is taken, and the run is not the paper's"
    )


def told(recipe: Recipe) -> str:
    """The method, and which of its settings the recipe says otherwise."""
    others = [setting.key for setting in overridden(recipe)]
    return f"{recipe.method}, but for {', '.join(others)}" if others else recipe.method


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else clipped(value)


def _at(content: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = content
    for key in path:
        found = found[key]
    return found


def _where(where: Mapping[str, str], path: Sequence[str]) -> str:
    """Of the key, or of the nearest section around it."""
    for length in range(len(path), 0, -1):
        if (said := where.get(".".join(path[:length]))) is not None:
            return said
    return ""
