"""Whether a module does what its class says, and nothing else."""

from torch import nn
from torch.nn.utils import parametrize

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_hooked(module: nn.Module) -> bool:
    """Whether something else is called when the module is."""
    return any(vars(module).get(hooks) for hooks in _HOOKS)


def why_not_plain(module: nn.Module) -> str | None:
    """What a module does beside what its class says; None if it is nothing."""
    if parametrize.is_parametrized(module):
        return (
            "is parametrised; torch.nn.utils.parametrize.remove_parametrizations writes its "
            "weight out"
        )
    if is_hooked(module):
        return "carries a forward hook, which merging would lose; remove the hook"
    if "forward" in vars(module):
        return "has a forward set on the module itself, not its class's"
    return None


def is_plain(module: object, *classes: type[nn.Module]) -> bool:
    """Whether a module is of one of these classes, no subclass, and does nothing else."""
    return (
        type(module) in classes and isinstance(module, nn.Module) and why_not_plain(module) is None
    )
