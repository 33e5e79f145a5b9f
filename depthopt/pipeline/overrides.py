"""Changes to a recipe's content: ``key.path=value``, whose values are YAML."""

from collections.abc import Sequence
from typing import Any

from depthopt.core.clipped import clipped
from depthopt.core.reading import parse_yaml
from depthopt.errors import RecipeError


def changes_of(overrides: Sequence[str]) -> dict[str, Any]:
    """The changes of ``key.path=value`` overrides, by section. Values are not validated.

    Raises:
        RecipeError: one is not of this form.
    """
    content: dict[str, Any] = {}
    override_all(content, overrides)
    return content


def with_keys(overrides: Sequence[str] | None, **keys: str | None) -> list[str]:
    """Overrides, with those that set some keys of the recipe. None adds nothing."""
    added = [f"{key}={value}" for key, value in keys.items() if value is not None]
    return [*(overrides or ()), *added]


def override_all(content: dict[str, Any], overrides: Sequence[str]) -> None:
    """Write overrides into a recipe's content, in order.

    Raises:
        RecipeError: one is not of the form ``key.path=value``, whose value is YAML.
    """
    for override in overrides:
        _override(content, override)


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"override {clipped(override)} is not of the form key.path=value")
    try:
        value = parse_yaml(text)
    except ValueError:
        raise RecipeError(
            f"override {clipped(override)}: {clipped(text)} is not a YAML value"
        ) from None
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise RecipeError(f"override {clipped(override)}: {parent} is not a section")
    content[last] = value
