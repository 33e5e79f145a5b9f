"""Activations as modules and calls, and as values."""

import operator
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from timm.layers import activations as timm_activations
from torch import fx, nn

from depthopt.core.operators import Activation
from depthopt.graph.plain import why_not_plain

_MODULES: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    timm_activations.Swish: "silu",
    nn.Hardswish: "hardswish",
    timm_activations.HardSwish: "hardswish",
    nn.Hardsigmoid: "hardsigmoid",
    timm_activations.HardSigmoid: "hardsigmoid",
    nn.Sigmoid: "sigmoid",
    timm_activations.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    timm_activations.Tanh: "tanh",
    nn.Mish: "mish",
    timm_activations.Mish: "mish",
}

_GELUS = {nn.GELU, timm_activations.GELU, timm_activations.GELUTanh}

_FUNCTIONS: dict[object, str] = {
    F.relu: "relu",
    torch.relu: "relu",
    F.relu6: "relu6",
    F.silu: "silu",
    F.hardswish: "hardswish",
    F.hardsigmoid: "hardsigmoid",
    torch.sigmoid: "sigmoid",
    torch.tanh: "tanh",
    F.mish: "mish",
}

_FACTORIES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "mish": nn.Mish,
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}


def activation_of(module: nn.Module) -> Activation | None:
    """A module's activation as a value. None if it is not a known one."""
    if why_not_plain(module) is not None:
        return None
    if type(module) in _GELUS:
        tanh = getattr(module, "approximate", "none") == "tanh"
        return Activation("gelu_tanh" if tanh or type(module).__name__ == "GELUTanh" else "gelu")
    if isinstance(module, nn.LeakyReLU) and type(module) is nn.LeakyReLU:
        slope = module.negative_slope
        return Activation("leaky_relu", None if slope == 0.01 else float(slope))
    if isinstance(module, nn.ELU) and type(module) is nn.ELU and module.alpha == 1.0:
        return Activation("elu")
    return _named(_MODULES.get(type(module)))


def node_activation(node: fx.Node, modules: dict[str, nn.Module]) -> Activation | None:
    """The activation that ``node`` applies, or None."""
    if node.op == "call_module":
        return activation_of(modules[str(node.target)])
    if node.op == "call_function" and node.target is F.gelu:
        tanh = node.kwargs.get("approximate", "none") == "tanh"
        return Activation("gelu_tanh" if tanh else "gelu")
    if node.op == "call_function" and len(node.all_input_nodes) == 1:
        plain = set(node.kwargs) <= {"inplace"} and len(node.args) == 1
        return _named(_FUNCTIONS.get(node.target)) if plain else None
    if node.op == "call_method" and node.target in {"relu", "sigmoid", "tanh"}:
        return Activation(node.target)
    return None


def make_activation(activation: Activation) -> nn.Module:
    """A new module of an activation."""
    if activation.parameter is not None:
        return nn.LeakyReLU(activation.parameter)
    return _FACTORIES[activation.name]()


def _named(name: str | None) -> Activation | None:
    return None if name is None else Activation(name)


def is_addition(node: fx.Node) -> bool:
    """Whether ``node`` adds two tensors of equal shape."""
    function = node.op == "call_function" and node.target in {operator.add, torch.add}
    if not (function or (node.op == "call_method" and node.target == "add")):
        return False
    if len(node.args) != 2 or node.kwargs or len(node.all_input_nodes) != 2:
        return False
    shapes = {node.all_input_nodes[0].meta.get("shape"), node.all_input_nodes[1].meta.get("shape")}
    return len(shapes) == 1 and None not in shapes
