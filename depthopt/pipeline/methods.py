"""The methods: named settings that lie under a recipe's own keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

MethodName = Literal["depthopt", "layermerge", "depth"]
"""Of the methods that a recipe may name."""

DEPTHOPT: MethodName = "depthopt"
"""The one whose settings are the keys' own defaults."""

Settings = Mapping[str, Any]
"""Values by key; those of sections by section."""


@dataclass(frozen=True, slots=True)
class Method:
    """A set of settings.

    Attributes:
        name: what a recipe calls it.
        source: where it is from.
        settings: the values of the keys that it sets, by section.
    """

    name: MethodName
    source: str
    settings: Settings = field(default_factory=dict)


METHODS: dict[MethodName, Method] = {
    "depthopt": Method("depthopt", "this package"),
    "layermerge": Method(
        "layermerge",
        "LayerMerge, ICML 2024, https://arxiv.org/abs/2406.12837",
        {"pick": "predicted"},
    ),
    "depth": Method(
        "depth",
        "Efficient Latency-Aware CNN Depth Compression, ICML 2023, "
        "https://arxiv.org/abs/2301.12187",
        {"pick": "predicted"},
    ),
}
"""By name."""


def with_method(content: Any) -> Any:
    """A recipe's content, not yet validated, with its method's settings under its own keys.

    Content whose method is no known one is left as it is, for the schema to refuse.
    """
    if not isinstance(content, dict) or content.get("method", DEPTHOPT) not in get_args(MethodName):
        return content
    return _under(content, METHODS[content.get("method", DEPTHOPT)].settings)


def _under(own: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """What is set, where nothing else is said."""
    found = dict(own)
    for key, value in settings.items():
        if key not in own:
            found[key] = value
        elif isinstance(value, Mapping) and isinstance(own[key], dict):
            found[key] = _under(own[key], value)
    return found
