"""The network that a user gives: unwrapped, checked, and copied."""

import copy
from collections import defaultdict
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from depthopt.errors import ModelError
from depthopt.graph.plain import is_hooked

M = TypeVar("M", bound=nn.Module)

_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
    "OptimizedModule": "_orig_mod",
}
"""Classes of torch that only wrap a network, with its attribute. The last is torch.compile's."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside a wrapper such as ``torch.compile``'s. Without one, the network itself.

    Raises:
        ModelError: it is not a network that could be traced.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"a model is a torch.nn.Module; got {type(model).__name__}")
    while True:
        if isinstance(model, torch.jit.ScriptModule):
            raise ModelError("a TorchScript model cannot be traced; give the module it was made of")
        if is_hooked(model):
            raise ModelError(
                f"{type(model).__name__} itself carries a hook, which tracing would lose; remove it"
            )
        held = _held(model)
        if held is None:
            return model
        model = held


def copied(model: nn.Module) -> nn.Module:
    """Copy a user's network, with wrapped parts unwrapped. Refuse one that cannot be used.

    Raises:
        ModelError: the model cannot be copied, or its weights are not sound: some have no shape
            yet, are not finite, lie on several devices, or overlap.
    """
    model = unwrapped(model)
    _check_weights(model)
    made = deepcopied(model)
    for name, module in list(made.named_modules()):
        if name and _held(module) is not None:
            made.set_submodule(name, unwrapped(module))
    return made


def deepcopied(model: M) -> M:
    """A copy that shares nothing with ``model``. Tied weights stay tied.

    Weights are tied if they are one tensor, or lie in one place in memory.

    Raises:
        ModelError: the model cannot be copied.
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        for value in vars(module).values():
            # Such as the weight that torch.nn.utils.weight_norm computes before each call.
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        for tied in _in_one_place(model):
            first = copy.deepcopy(tied[0], memo)
            memo |= {id(other): first for other in tied[1:]}
        return copy.deepcopy(model, memo)
    except ModelError:
        raise
    except Exception as error:
        message = str(error).partition("\n")[0]
        raise ModelError(f"{type(model).__name__} cannot be copied: {message}") from error


def _held(module: nn.Module) -> nn.Module | None:
    where = _WRAPPERS.get(type(module).__name__)
    if where is None or not type(module).__module__.startswith("torch."):
        return None
    return module.get_submodule(where)


def _check_weights(model: nn.Module) -> None:
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            raise ModelError(
                f"{name} has no shape yet; run one batch through the network before it is used"
            )
    tensors = model.state_dict()
    devices = sorted({str(tensor.device) for tensor in tensors.values()})
    if len(devices) > 1:
        raise ModelError(
            f"the model lies on several devices ({', '.join(devices)}); move it to one"
        )
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.is_meta:
            continue
        # A sum is found faster, and is finite only if all is, unless it overflows.
        if not tensor.sum().isfinite() and not tensor.isfinite().all():
            raise ModelError(f"{name} holds NaN or infinite values; load sound weights first")


def _in_one_place(model: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters that are different objects and the same memory.

    Raises:
        ModelError: two overlap and are not the same.
    """
    stored: dict[int, dict[str, nn.Parameter]] = defaultdict(dict)
    for name, parameter in model.named_parameters():
        if not parameter.is_meta and parameter.numel():
            stored[parameter.untyped_storage().data_ptr()][name] = parameter
    found = []
    for held in stored.values():
        by_view: dict[object, list[nn.Parameter]] = defaultdict(list)
        end, last = -1, ""
        for name, one in sorted(held.items(), key=lambda item: item[1].storage_offset()):
            view = (one.storage_offset(), one.shape, one.stride(), one.dtype)
            if view not in by_view and one.storage_offset() < end:
                raise ModelError(
                    f"{last} and {name} overlap in memory, which a copy would not keep; "
                    "give one of them its own tensor"
                )
            by_view[view].append(one)
            extent = sum((n - 1) * step for n, step in zip(one.shape, one.stride(), strict=True))
            end, last = max(end, int(one.storage_offset() + extent + 1)), name
        found += [tied for tied in by_view.values() if len(tied) > 1]
    return found
