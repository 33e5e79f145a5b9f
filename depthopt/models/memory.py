"""Networks that are given in memory: their names, and copies of them.

Such a network is called ``memory:CLASS-DIGEST``, of its structure and its state, so that a run that
goes on, and a saved network, can tell whether it is given the same again.
"""

import hashlib
import re
from collections.abc import Callable, Mapping

import torch
from torch import nn

from depthopt.errors import ModelError
from depthopt.graph.original import deepcopied, unwrapped
from depthopt.models.code import Named, create, fitted, given_arguments, made_by
from depthopt.models.names import DIGEST_LETTERS
from depthopt.models.source import Argument, ModelSource

_PLACE = re.compile(r" at 0x[0-9a-fA-F]+")
"""Of an object in memory, which differs from process to process."""


def memory_name(model: nn.Module) -> str:
    """The name ``memory:CLASS-DIGEST``. The digest is of modules, parameters and buffers.

    Raises:
        ModelError: it is not a network, or one that cannot be traced.
    """
    model = unwrapped(model)
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        raise ModelError(
            f"{type(model).__name__} lies on the meta device, and has no weights; make it on the "
            "CPU"
        )
    digest = hashlib.sha256()
    for name, module in model.named_modules(remove_duplicate=False):
        kind, told = type(module), _PLACE.sub("", module.extra_repr())
        digest.update(f"{name}\0{kind.__module__}.{kind.__qualname__}\0{told}\n".encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return f"memory:{type(model).__name__}-{digest.hexdigest()[:DIGEST_LETTERS]}"


def copy_of(model: nn.Module, arguments: Mapping[str, Argument]) -> nn.Module:
    """A copy of a network in memory, in evaluation mode, with as many outputs as asked.

    All of its weights can be trained, frozen though they may be in the original.

    Raises:
        ModelError: it cannot be copied, or its last layer cannot be replaced.
    """
    model = unwrapped(model)
    copied = deepcopied(model).cpu().eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return fitted(copied, arguments, type(model).__name__, "give one with as many outputs")


Original = nn.Module | Named | Callable[..., nn.Module]
"""A network given in memory, or a callable that makes it."""


def made_from(original: Original, arguments: Mapping[str, Argument]) -> nn.Module:
    """A new network or a copy, with as many outputs as the arguments ask for.

    Raises:
        ModelError: it cannot be made so.
    """
    if isinstance(original, nn.Module):
        return copy_of(original, arguments)
    if isinstance(original, Named):
        return create(original.name, arguments)
    return made_by(original, arguments)


def _create(name: str, arguments: Mapping[str, Argument]) -> nn.Module:  # noqa: ARG001 - a source's
    raise ModelError(
        f"memory:{name} was given in memory, and no name makes it; give it again: "
        "run(..., model=MODEL), or load(FOLDER, model=MODEL)"
    )


SOURCE = ModelSource(
    name="memory", create=_create, arguments=given_arguments, trained_for=lambda _: None
)
