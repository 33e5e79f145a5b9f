"""A model as a torch.fx graph of leaves that extraction and rewriting understand."""

import copy
import logging
import operator
from collections.abc import Callable
from typing import Any

import torch
from timm.layers import BatchNormAct2d, get_notrace_functions, get_notrace_modules
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from depthopt.errors import ModelError

logger = logging.getLogger(__name__)

_OUT_OF_PLACE: dict[object, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.imul: operator.mul,
}


class _Tracer(fx.Tracer):
    """Traces with timm's no-trace modules as leaves, and knows where it is."""

    def __init__(self, opaque: frozenset[str]) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self._leaves = tuple(get_notrace_modules())
        self._opaque = opaque
        self._path: list[str] = []
        self.innermost = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (
            module_qualified_name in self._opaque
            or isinstance(m, self._leaves)
            or super().is_leaf_module(m, module_qualified_name)
        )

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        self._path.append(self.path_of_module(m))
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.innermost = self.innermost or self._path[-1]
            raise
        finally:
            self._path.pop()


def trace(model: nn.Module, input_size: tuple[int, int, int]) -> fx.GraphModule:
    """Trace a copy of ``model`` in evaluation mode, with the shape of every node.

    Norm+activation modules become a norm and an activation, in-place operations
    become out-of-place ones, and a module inside which tracing fails becomes an opaque
    leaf; identities and drop-path are left out. Each node's ``meta["shape"]`` holds its
    output's shape for one image; nodes without a tensor output have none.

    Args:
        model: maps (N, C, H, W) to logits; it is not changed.
        input_size: (C, H, W).

    Raises:
        ModelError: the model cannot be traced, refuses the input size, or holds weights
            that are not finite.
    """
    _check_weights(model)
    copied = copy.deepcopy(model).eval()
    _split_norm_activations(copied)
    for module in copied.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 - no attribute of all modules
    graph_module = _trace_around_failures(copied)
    for node in graph_module.graph.nodes:
        if node.op == "call_function":
            node.target = _OUT_OF_PLACE.get(node.target, node.target)
    _erase_identities(graph_module)
    graph_module.recompile()
    _propagate_shapes(graph_module, input_size)
    return graph_module


def _check_weights(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{name} holds NaN or infinite values; load sound weights first")


def _split_norm_activations(model: nn.Module) -> None:
    """Replace each ``BatchNormAct2d`` by its norm and its activation, sharing tensors."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is BatchNormAct2d:
                setattr(parent, name, _split(child))


def _split(both: Any) -> nn.Sequential:
    norm = nn.BatchNorm2d(
        both.num_features, both.eps, both.momentum, both.affine, both.track_running_stats
    )
    for key, parameter in both.named_parameters(recurse=False):
        setattr(norm, key, parameter)
    for key, buffer in both.named_buffers(recurse=False):
        setattr(norm, key, buffer)
    return nn.Sequential(norm.train(both.training), both.drop, both.act)


def _trace_around_failures(model: nn.Module) -> fx.GraphModule:
    opaque: frozenset[str] = frozenset()
    while True:
        tracer = _Tracer(opaque)
        try:
            graph = tracer.trace(model)
        except Exception as error:
            if not tracer.innermost or tracer.innermost in opaque:
                message = str(error).partition("\n")[0]
                raise ModelError(f"{type(model).__name__} cannot be traced: {message}") from error
            logger.info("tracing fails inside %s (%s): opaque", tracer.innermost, error)
            opaque |= {tracer.innermost}
            continue
        graph_module = fx.GraphModule(model, graph, type(model).__name__)
        graph_module.meta["opaque"] = tuple(sorted(opaque))
        return graph_module


def _propagate_shapes(graph_module: fx.GraphModule, input_size: tuple[int, int, int]) -> None:
    like = next(graph_module.parameters(), torch.zeros(()))
    image = torch.zeros((1, *input_size), device=like.device, dtype=like.dtype)
    try:
        with torch.no_grad():
            ShapeProp(graph_module).propagate(image)
    except Exception as error:
        message = str(error).strip().rpartition("\n")[2]
        size = "x".join(map(str, input_size))
        raise ModelError(f"the model refuses an input of {size}: {message}") from error
    for node in graph_module.graph.nodes:
        shape = getattr(node.meta.get("tensor_meta"), "shape", None)
        if shape is not None:
            node.meta["shape"] = tuple(shape)


def _is_identity(module: nn.Module) -> bool:
    """Whether a module passes its input on unchanged, in finetuning too."""
    no_dropout = isinstance(module, (nn.Dropout, nn.Dropout2d)) and module.p == 0
    return no_dropout or type(module) is nn.Identity or type(module).__name__ == "DropPath"


def _erase_identities(graph_module: fx.GraphModule) -> None:
    modules = dict(graph_module.named_modules())
    for node in list(graph_module.graph.nodes):
        if node.op == "call_module" and _is_identity(modules[node.target]):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph_module.graph.erase_node(node)
    graph_module.delete_all_unused_submodules()


def nodes_by_name(graph_module: fx.GraphModule) -> dict[str, fx.Node]:
    """The graph's nodes by name."""
    return {node.name: node for node in graph_module.graph.nodes}
