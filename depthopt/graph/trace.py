"""A model as a torch.fx graph of leaves that extraction and rewriting understand."""

import contextlib
import copy
import io
import logging
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from timm.layers import BatchNormAct2d, Conv2dSame, get_notrace_functions, get_notrace_modules
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from depthopt.core.inputs import InputSize, size_text
from depthopt.errors import ModelError
from depthopt.graph.convolutions import resolved_same_padding
from depthopt.graph.examples import blank, in_order
from depthopt.graph.network import TracedNetwork, keep_interface, reroute

logger = logging.getLogger(__name__)

_OUT_OF_PLACE: dict[object, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.imul: operator.mul,
}


class _Tracer(fx.Tracer):
    """Traces with timm's no-trace modules as leaves, and knows where it is."""

    def __init__(self, opaque: frozenset[str] = frozenset()) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self._leaves = tuple(get_notrace_modules())
        self._opaque = opaque
        self._path: list[str] = []
        self.innermost = ""
        self.features: fx.Node | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (
            module_qualified_name in self._opaque
            or isinstance(m, (*self._leaves, nn.Conv2d, nn.Linear))
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

    def record_features(self, model: nn.Module) -> None:
        """Keep the node that ``model.forward_features`` returns while it is traced."""
        original = getattr(model, "forward_features", None)
        if original is None:
            return

        def recorded(*args: Any, **kwargs: Any) -> Any:
            value = original(*args, **kwargs)
            self.features = value.node if isinstance(value, fx.Proxy) else None
            return value

        model.__dict__["forward_features"] = recorded


def trace(model: nn.Module, input_size: InputSize) -> TracedNetwork:
    """Trace a copy of ``model`` in evaluation mode, with the shape of every node.

    Norm+activation modules become a norm and an activation, in-place operations
    become out-of-place ones, TensorFlow's "same" padding becomes the amounts for this input
    size, and a module inside which tracing fails becomes an opaque leaf; identities and
    drop-path are left out. Each node's ``meta["shape"]`` holds its output's shape for one
    image; nodes without a tensor output have none. The network's ``meta["conv_macs"]`` holds
    the multiply-accumulates of all its convolutions for one image.

    Args:
        model: maps (N, C, H, W), or several named inputs, to one tensor, on any device, in any
            precision; it is not changed. On the meta device, only its structure can be used.
        input_size: (C, H, W), or the named inputs.

    Raises:
        ModelError: the model cannot be traced, refuses the input size, holds weights
            that are not finite, or lies on several devices.
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
    _resolve_same_padding(graph_module)
    return graph_module


def _check_weights(model: nn.Module) -> None:
    tensors = model.state_dict()
    devices = sorted({str(tensor.device) for tensor in tensors.values()})
    if len(devices) > 1:
        raise ModelError(
            f"the model lies on several devices ({', '.join(devices)}); move it to one"
        )
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.is_meta:
            continue
        if not bool(torch.isfinite(tensor).all()):
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


def _trace_around_failures(model: nn.Module) -> TracedNetwork:
    opaque: frozenset[str] = frozenset()
    while True:
        tracer = _Tracer(opaque)
        tracer.record_features(model)
        try:
            graph = tracer.trace(model)
        except Exception as error:
            if not tracer.innermost or tracer.innermost in opaque:
                message = str(error).partition("\n")[0]
                raise ModelError(f"{type(model).__name__} cannot be traced: {message}") from error
            logger.info("tracing fails inside %s (%s): opaque", tracer.innermost, error)
            opaque |= {tracer.innermost}
            continue
        finally:
            model.__dict__.pop("forward_features", None)
        graph_module = TracedNetwork(model, graph, type(model).__name__)
        graph_module.meta["opaque"] = tuple(sorted(opaque))
        keep_interface(graph_module, model, tracer.features)
        return graph_module


def _propagate_shapes(graph_module: fx.GraphModule, input_size: InputSize) -> None:
    like = next(graph_module.parameters(), torch.zeros(()))
    inputs = blank(input_size, like)
    graph_module.meta["conv_macs"] = 0
    try:
        # It prints the traceback of what it raises again.
        with torch.no_grad(), _counting(graph_module), contextlib.redirect_stderr(io.StringIO()):
            ShapeProp(graph_module).propagate(*in_order(graph_module, inputs))
    except Exception as error:
        message = str(error.__cause__ or error).partition("\n")[0]
        raise ModelError(
            f"the model refuses an input of {size_text(input_size)}: {message}"
        ) from error
    for node in graph_module.graph.nodes:
        # Popped, for ``torch.save`` cannot pickle the memory format in it.
        shape = getattr(node.meta.pop("tensor_meta", None), "shape", None)
        if shape is not None:
            node.meta["shape"] = tuple(shape)


@contextlib.contextmanager
def _counting(graph_module: fx.GraphModule) -> Iterator[None]:
    """Add up the multiply-accumulates of all convolutions, those in opaque leaves included."""

    def count(conv: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)  # noqa: S101 - narrows nn.Module: hooked below
        graph_module.meta["conv_macs"] += output.numel() * conv.weight[0].numel()

    hooks = [
        module.register_forward_hook(count)
        for module in graph_module.modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_identity(module: nn.Module) -> bool:
    """Whether a module passes its input on unchanged, in finetuning too."""
    no_dropout = isinstance(module, (nn.Dropout, nn.Dropout2d)) and module.p == 0
    return no_dropout or type(module) is nn.Identity or type(module).__name__ == "DropPath"


def _erase_identities(graph_module: fx.GraphModule) -> None:
    modules = dict(graph_module.named_modules())
    for node in list(graph_module.graph.nodes):
        if node.op == "call_module" and _is_identity(modules[node.target]):
            reroute(node, node.all_input_nodes[0])
            graph_module.graph.erase_node(node)
    graph_module.delete_all_unused_submodules()


def _resolve_same_padding(graph_module: fx.GraphModule) -> None:
    """Give convolutions with "same" padding the amounts for the sizes at hand."""
    calls: dict[str, set[tuple[int, int]]] = {}
    for node in graph_module.graph.nodes:
        if node.op == "call_module" and type(graph_module.get_submodule(node.target)) is Conv2dSame:
            height, width = node.all_input_nodes[0].meta["shape"][-2:]
            calls.setdefault(node.target, set()).add((height, width))
    for name, sizes in calls.items():
        if len(sizes) == 1:
            conv = graph_module.get_submodule(name)
            graph_module.set_submodule(name, resolved_same_padding(conv, *sizes))


def nodes_by_name(graph_module: fx.GraphModule) -> dict[str, fx.Node]:
    """The graph's nodes by name."""
    return {node.name: node for node in graph_module.graph.nodes}
