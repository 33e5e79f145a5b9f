"""Write a recipe with a comment on every key."""

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from depthopt.pipeline.recipe import Recipe
from depthopt.train.config import TrainConfig

WIDTH = 100
"""Longest line of a comment, in columns."""


def commented(recipe: Recipe, *, command: str) -> str:
    """The recipe as YAML, with defaults, and with what each key means.

    Args:
        recipe: to write.
        command: that carries it out, for the head.
    """
    content = recipe.model_dump(mode="json")
    lines = [f"# {recipe.model.name} on {recipe.data.source}.", "#", f"# {command}"]
    for name, info in Recipe.model_fields.items():
        lines.append("")
        value, section = content[name], getattr(recipe, name)
        if isinstance(section, BaseModel):
            lines += [*_wrapped(_first_line(type(section)), ""), f"{name}:"]
            keys = {
                key: field.description or "" for key, field in type(section).model_fields.items()
            }
            lines += _keys(value, keys)
        elif isinstance(section, TrainConfig):
            lines += [f"# How the network is trained in the stage {name}.", f"{name}:"]
            lines += _keys(value, _TRAINING)
        else:
            lines += [*_wrapped(info.description or "", ""), f"{name}: {_value(value)}"]
    return "\n".join(lines) + "\n"


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def attributes(kind: type) -> dict[str, str]:
    """What a docstring's ``Attributes`` say, by name."""
    part = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", part, re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in found}


_TRAINING = attributes(TrainConfig)


def _keys(values: Mapping[str, Any], comments: Mapping[str, str]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:  # a section in a section
            yield from _wrapped(comments.get(key, ""), "  ")
            yield f"  {key}:"
            inner = yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=WIDTH)
            yield textwrap.indent(inner.rstrip(), "    ")
        else:
            yield from _wrapped(comments.get(key, ""), "  ")
            yield f"  {key}: {_value(value)}"


def _wrapped(text: str, indent: str) -> Iterator[str]:
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
    )


def _value(value: Any) -> str:
    """In YAML, on one line."""
    dumped = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
    return dumped.removesuffix("\n").removesuffix("\n...")
