"""Whether a module does what its class says, and nothing else."""

from torch import nn
from torch.nn.utils import parametrize

OWN = frozenset(vars(nn.Module()))
"""Attributes that torch itself keeps in a module."""

_FORWARD = ("_forward_hooks", "_forward_pre_hooks")
_BACKWARD = ("_backward_hooks", "_backward_pre_hooks")

_REMOVED_BY = {
    "WeightNorm": "torch.nn.utils.remove_weight_norm",
    "SpectralNorm": "torch.nn.utils.remove_spectral_norm",
    "BasePruningMethod": "torch.nn.utils.prune.remove",
}
"""What ends a hook of torch's that computes a weight before each call, by the hook's class."""


def is_hooked(module: nn.Module) -> bool:
    """Whether something else is called when the module is, or its gradient is computed."""
    return bool(_hooks(module, *_FORWARD, *_BACKWARD))


def why_not_plain(module: nn.Module) -> str | None:
    """What a module does besides what its class says. None if it does nothing else."""
    if parametrize.is_parametrized(module):
        return (
            "is parametrised; torch.nn.utils.parametrize.remove_parametrizations writes its "
            "weight out"
        )
    for hook in _hooks(module, *_FORWARD):
        for parent in type(hook).__mro__:
            if parent.__name__ in _REMOVED_BY:
                return f"computes its weight at each call; {_REMOVED_BY[parent.__name__]} ends that"
        return "carries a forward hook, which merging would lose; remove the hook"
    if _hooks(module, *_BACKWARD):
        return "carries a backward hook, which merging would lose; remove the hook"
    for name in vars(module).keys() - OWN:
        if callable(getattr(type(module), name, None)):
            return f"has a {name} set on the module itself, not that of its type"
    return None


def _hooks(module: nn.Module, *places: str) -> list[object]:
    return [hook for place in places for hook in vars(module).get(place, {}).values()]


def is_plain(module: object, *types: type[nn.Module]) -> bool:
    """Whether a module is of one of these types, no subclass, and does nothing else."""
    return type(module) in types and isinstance(module, nn.Module) and why_not_plain(module) is None
