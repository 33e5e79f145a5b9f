"""Find a network's last linear layer by running the network, and replace it by a new one.

Only a layer whose own output is the network's is one, or whose output's mean over the image is: so
nothing behind it can give its numbers another meaning.
"""

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from depthopt.core.inputs import InputSize, called
from depthopt.graph.examples import batch_like
from depthopt.graph.plain import why_not_plain

_EXAMPLES = 2

_new: "weakref.WeakKeyDictionary[nn.Module, str]" = weakref.WeakKeyDictionary()
"""Networks whose head was replaced, and what was said."""


@dataclass(frozen=True, slots=True)
class Heads:
    """The number of a network's outputs, and its head.

    Attributes:
        outputs: numbers for an example.
        names: of the head, all under which the network holds it; empty if there is none.
        why: there is none, in words.
    """

    outputs: int
    names: tuple[str, ...] = ()
    why: str = ""


def with_outputs(model: nn.Module, size: InputSize, outputs: int) -> str | None:
    """Give a network this many outputs. A head of another width is replaced.

    A network that does not run, or gives something other than one row of numbers for an example, is
    left as it is: what works with it says so.

    Args:
        model: changed in place; the new head is initialised from torch's random numbers.
        size: of its inputs.
        outputs: numbers for an example.

    Returns:
        Why it cannot; None if it gives so many now.
    """
    found = _heads(model, size)
    if found is None or found.outputs == outputs:
        return None
    if not found.names:
        return f"gives {found.outputs} numbers for an example, expected {outputs}; {found.why}"
    new = _replacement(model.get_submodule(found.names[0]), outputs)
    for name in found.names:
        model.set_submodule(name, new)
    after = _heads(model, size)
    if after is None or after.outputs != outputs:
        return f"does not run with a new layer {found.names[0]} of {outputs} outputs"
    _new[model] = (
        f"its last layer {found.names[0]} gave {found.outputs} numbers, and is replaced by a new "
        f"one of {outputs}"
    )
    return None


def new_head(model: nn.Module) -> str | None:
    """The message about a head that ``with_outputs`` replaced. None if it replaced none."""
    return _new.get(model)


def _replacement(head: nn.Module, outputs: int) -> nn.Module:
    if isinstance(head, nn.Conv2d):
        new: nn.Module = nn.Conv2d(head.in_channels, outputs, 1, bias=head.bias is not None)
    else:
        assert isinstance(head, nn.Linear)  # noqa: S101 - narrows: heads are one of the two
        new = nn.Linear(head.in_features, outputs, bias=head.bias is not None)
    return new.to(next(head.parameters())).train(head.training)


@torch.no_grad()
def _heads(model: nn.Module, size: InputSize) -> Heads | None:
    """What a network gives; None if it does not run or gives no row of numbers."""
    seen: dict[nn.Module, list[Tensor]] = {
        module: []
        for module in model.modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1)
    }
    hooks = [
        module.register_forward_hook(lambda module, _, out: seen[module].append(out))
        for module in seen
    ]
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        with torch.random.fork_rng():
            output = called(model, batch_like(model, size, _EXAMPLES))
    except Exception:  # whatever a network raises: extracting it says what
        return None
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != _EXAMPLES:
        return None
    for module, outputs in seen.items():
        if len(outputs) == 1 and _is(output, outputs[0]):
            return _checked(model, module, output.shape[1])
    return Heads(output.shape[1], why="what it returns is not what one linear layer gives")


def _is(output: Tensor, of_layer: Tensor) -> bool:
    flat = of_layer.flatten(1)
    if flat.shape == output.shape:
        return torch.equal(flat, output)
    mean = of_layer.mean((2, 3)) if of_layer.dim() == 4 else of_layer
    return mean.shape == output.shape and torch.allclose(mean, output, rtol=1e-4, atol=1e-6)


def _checked(model: nn.Module, head: nn.Module, outputs: int) -> Heads:
    names = tuple(n for n, m in model.named_modules(remove_duplicate=False) if m is head)
    own = {id(parameter) for parameter in head.parameters()}
    others = {
        id(parameter)
        for module in model.modules()
        if module is not head
        for parameter in module.parameters(recurse=False)
    }
    if "" in names:
        return Heads(outputs, why="it is one linear layer")
    if own & others:
        return Heads(outputs, why=f"its last layer {names[0]} shares its weight")
    if (why := why_not_plain(head)) is not None:
        return Heads(outputs, why=f"its last layer {names[0]} {why}")
    return Heads(outputs, names)
