"""Settings of a recipe's method, and those that the recipe overrides."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from depthopt.core.clipped import clipped
from depthopt.pipeline.methods import METHODS, keys_of
from depthopt.pipeline.recipe import Recipe

logger = logging.getLogger(__name__)

AT_ODDS = ("candidates.kinds", "solver.objective")
"""Keys that define a method."""


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
    """The settings of the recipe's method, in the order of its keys."""
    method, content = METHODS[recipe.method], recipe.model_dump(mode="json")
    return tuple(
        Setting(".".join(path), value, _at(content, path), _where(method.where, path))
        for path, value in keys_of(method.settings)
    )


def overridden(recipe: Recipe) -> tuple[Setting, ...]:
    """The settings that the recipe overrides."""
    return tuple(setting for setting in settings_of(recipe) if setting.is_overridden)


def say_at_odds(recipe: Recipe) -> None:
    """Warn of overridden settings that define the method."""
    for setting in overridden(recipe):
        if setting.key in AT_ODDS:
            logger.warning("%s", at_odds(recipe, setting))


def at_odds(recipe: Recipe, setting: Setting) -> str:
    """A sentence saying that the recipe's value is used."""
    return (
        f"method {recipe.method} has {setting.key} {_text(setting.value)}, the recipe "
        f"{_text(setting.own)}: the recipe's is taken, and the run is not the paper's"
    )


def told(recipe: Recipe) -> str:
    """The method and its overridden settings, in words."""
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
