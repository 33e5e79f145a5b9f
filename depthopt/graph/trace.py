"""Trace a model to a torch.fx graph that extraction and rewriting understand."""

import contextlib
import io
import logging
import operator
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import BatchNormAct2d, Conv2dSame, DropPath
from torch import Tensor, fx, nn
from torchvision.ops import StochasticDepth

from depthopt.core.inputs import InputSize, InputSpec, size_text
from depthopt.errors import ModelError
from depthopt.graph import training
from depthopt.graph.convolutions import resolved_same_padding
from depthopt.graph.examples import blank, in_order
from depthopt.graph.in_place import Observer, make_out_of_place, statement
from depthopt.graph.network import TracedNetwork, keep_interface, reroute
from depthopt.graph.original import copied, deepcopied
from depthopt.graph.outputs import one_tensor
from depthopt.graph.plain import is_plain
from depthopt.graph.tracer import Tracer, chance, in_words, line_of, own_chance
from depthopt.graph.verify import Original

logger = logging.getLogger(__name__)

_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    StochasticDepth,
)


def trace(model: nn.Module, input_size: InputSize, *, proven: bool = True) -> TracedNetwork:
    """Trace a copy of ``model`` in evaluation mode, with the shape of every node.

    Norm+activation modules become a norm and an activation, in-place operations become
    out-of-place ones, TensorFlow's "same" padding becomes the amounts for this input size, and a
    module inside which tracing fails becomes an opaque leaf; identities are left out. What is
    random in training alone stays so. Each node's ``meta["shape"]`` holds its output's shape for
    one image; nodes without a tensor output have none. The network's ``meta["conv_macs"]`` holds
    the multiply-accumulates of all its convolutions for one image, ``meta["linear_macs"]`` those of
    all its linear layers.

    What was traced is proven to be the model: on a batch of 2 both give the same, on a CPU bit
    for bit (``depthopt.graph.verify``). On the meta device there is nothing to compare.

    Args:
        model: maps (N, C, H, W), or several named inputs, to a tensor, or to tuples, lists and
            dicts of tensors, on any device, in any precision; it is not changed. On the meta
            device, only its structure can be used.
        input_size: (C, H, W), or the named inputs.
        proven: False where this very model has been proven before.

    Raises:
        ModelError: the model cannot be traced, refuses the input size, returns something else
            than tensors, holds weights that are not finite, lies on several devices, or does
            something that a traced network would not.
    """
    own = copied(model).eval()
    stays_in_evaluation = _stays_in_evaluation(own)
    original = Original.of(own, input_size) if proven and not _is_meta(own) else None
    for module in list(own.modules()):
        _split_norm_activations(module)
    names = None
    if isinstance(input_size, InputSpec):
        names = tuple(each.name for each in input_size.inputs)
    graph_module = _traced(own, names)
    _check_own_tensors(graph_module, model)
    graph_module.meta["input_size"] = input_size
    graph_module.meta["stays_in_evaluation"] = stays_in_evaluation
    _observe(graph_module, input_size)
    _erase_identities(graph_module)
    graph_module.recompile()
    resolved = _resolve_same_padding(graph_module)
    if original is not None:
        on_cpu = all(parameter.is_cpu for parameter in graph_module.parameters())
        original.compare(model, graph_module, bit_for_bit=on_cpu and not resolved)
    return graph_module


def _split_norm_activations(parent: nn.Module) -> None:
    """Replace each ``BatchNormAct2d`` by its norm and its activation, sharing tensors."""
    for name, child in list(parent.named_children()):
        if is_plain(child, BatchNormAct2d):
            setattr(parent, name, _split(child))


def _split(both: Any) -> nn.Sequential:
    norm = nn.BatchNorm2d(
        both.num_features, both.eps, both.momentum, both.affine, both.track_running_stats
    )
    for key, parameter in both.named_parameters(recurse=False):
        setattr(norm, key, parameter)
    for key, buffer in both.named_buffers(recurse=False):
        setattr(norm, key, buffer)
    return nn.Sequential(norm, both.drop, both.act).train(both.training)


def _traced(model: nn.Module, inputs: Collection[str] | None) -> TracedNetwork:
    """The network as it is in evaluation mode, and what in it follows the mode of training."""
    opaque: frozenset[str] = frozenset()
    while True:
        traced = _trace_around_failures(model, inputs, opaque)
        opaque = traced.opaque
        if not traced.readers:
            found = training.Difference(None)
            break
        # On a copy: what it counts in training, it counts as it is traced.
        training_copy = deepcopied(model).train()
        trained = _trace_around_failures(training_copy, inputs, opaque)
        if trained.opaque != opaque:
            opaque = trained.opaque
            continue
        found = training.difference((model, traced.graph), (training_copy, trained.graph))
        if found.first is None:
            break
        own = {n for n in traced.readers if n and not _holds_convolutions(model.get_submodule(n))}
        if not own:
            raise training.refuse(found.first, model)
        opaque |= own
    network = TracedNetwork(model, traced.graph, type(model).__name__)
    network.meta["opaque"] = tuple(sorted(opaque))
    network.meta["more_in_training"] = found.more_outputs
    keep_interface(network, model, traced.features)
    training.follow_training(network, found.following)
    return network


@dataclass(frozen=True, slots=True)
class _Trace:
    """One pass of the tracer.

    Attributes:
        graph: of the network.
        features: the node of what ``forward_features`` gives.
        opaque: paths of the modules that were not traced into.
        readers: paths of the modules that read their mode.
    """

    graph: fx.Graph
    features: fx.Node | None
    opaque: frozenset[str]
    readers: set[str]


def _trace_around_failures(
    model: nn.Module, inputs: Collection[str] | None, opaque: frozenset[str]
) -> _Trace:
    watching = False
    while True:
        tracer = Tracer(inputs, opaque, watching=watching)
        tracer.record_features(model)
        try:
            with (
                torch.enable_grad(),
                own_chance(),
                training.reads_of_training(tracer.path) as readers,
            ):
                before = chance()
                graph = tracer.trace(model)
                drawn = chance() != before
        except Exception as error:
            failed = tracer.innermost
            while failed in opaque:  # the module around it makes the difference
                failed = failed.rpartition(".")[0]
            if not failed:
                raise ModelError(
                    f"{type(model).__name__} cannot be traced{line_of(error)}: {in_words(error)}; "
                    "what cannot be traced may be in a module of its own, without convolutions, or "
                    "around a part that is compressed alone (compress --part, depthopt.part_of)"
                ) from error
            logger.info("tracing fails inside %s (%s): opaque", failed, error)
            opaque |= {failed}
            continue
        finally:
            vars(model).pop("forward_features", None)
        if drawn and not watching:
            watching = True  # to see where
            continue
        return _Trace(graph, tracer.features, opaque, readers)


def _check_own_tensors(network: TracedNetwork, model: nn.Module) -> None:
    """Refuse a graph that reads a tensor of the user's own network, not of the copy."""
    theirs = {
        tensor.untyped_storage().data_ptr(): name
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if not tensor.is_meta
    }
    for node in network.graph.nodes:
        if node.op == "get_attr":
            tensor = operator.attrgetter(str(node.target))(network)
            name = None if tensor.is_meta else theirs.get(tensor.untyped_storage().data_ptr())
            if name is not None:
                readers = ", ".join(map(statement, node.users))
                raise ModelError(
                    f"{readers} reads {name} of the original through a function that holds it, "
                    "such as a lambda; a copy would not; write it as a method"
                )


def _stays_in_evaluation(model: nn.Module) -> tuple[str, ...]:
    """The modules that the network's own ``train`` leaves in evaluation mode."""
    lively = [name for name, module in model.named_modules() if module.training]
    if lively:
        raise ModelError(
            f"{lively[0] or type(model).__name__} stays in training mode when the model is set to "
            "evaluate; a traced network would not"
        )
    try:
        model.train()
        return tuple(name for name, module in model.named_modules() if not module.training)
    finally:
        model.eval()


def _holds_convolutions(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Conv2d) for part in module.modules())


def _is_meta(model: nn.Module) -> bool:
    if not any(parameter.is_meta for parameter in model.parameters()):
        return False
    logger.warning(
        "%s lies on the meta device: not proven to be what is traced", type(model).__name__
    )
    return True


def _observe(graph_module: fx.GraphModule, input_size: InputSize) -> None:
    """Run the network once: for the shapes of its nodes, and for what they write."""
    like = next(graph_module.parameters(), torch.zeros(()))
    inputs = blank(input_size, like)
    graph_module.meta["conv_macs"] = graph_module.meta["linear_macs"] = 0
    observer = Observer(graph_module)
    try:
        # It prints the traceback of what it raises again.
        with torch.no_grad(), _counting(graph_module), contextlib.redirect_stderr(io.StringIO()):
            output = observer.run(*in_order(graph_module, inputs))
    except Exception as error:
        message = str(error.__cause__ or error).partition("\n")[0]
        raise ModelError(
            f"the model refuses an input of {size_text(input_size)}: {message}"
        ) from error
    one_tensor(graph_module, output)
    for node, shape in observer.shapes.items():
        node.meta["shape"] = shape
    make_out_of_place(graph_module, observer.writes)


@contextlib.contextmanager
def _counting(graph_module: fx.GraphModule) -> Iterator[None]:
    """Add up multiply-accumulates of convolutions and linear layers, in opaque leaves too."""

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)  # noqa: S101 - narrows nn.Module
        kind = "conv_macs" if isinstance(layer, nn.Conv2d) else "linear_macs"
        graph_module.meta[kind] += output.numel() * layer.weight[0].numel()

    hooks = [
        module.register_forward_hook(count)
        for module in graph_module.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_identity(module: nn.Module) -> bool:
    """Whether a module passes its input on unchanged, in training too."""
    if is_plain(module, nn.Identity):
        return True
    dropout = is_plain(module, *_DROPOUTS) and getattr(module, "p", None) == 0
    return dropout or (
        is_plain(module, DropPath) and getattr(module, "drop_prob", None) in {0, None}
    )


def _erase_identities(graph_module: fx.GraphModule) -> None:
    modules = dict(graph_module.named_modules())
    for node in list(graph_module.graph.nodes):
        if node.op == "call_module" and _is_identity(modules[node.target]):
            reroute(node, node.all_input_nodes[0])
            graph_module.graph.erase_node(node)
    graph_module.delete_all_unused_submodules()


def _resolve_same_padding(graph_module: fx.GraphModule) -> bool:
    """Give convolutions with "same" padding the amounts for the sizes at hand; whether any did."""
    calls: dict[str, set[tuple[int, int]]] = {}
    for node in graph_module.graph.nodes:
        if node.op == "call_module" and is_plain(
            graph_module.get_submodule(node.target), Conv2dSame
        ):
            height, width = node.all_input_nodes[0].meta["shape"][-2:]
            calls.setdefault(node.target, set()).add((height, width))
    for name, sizes in calls.items():
        if len(sizes) == 1:
            conv = graph_module.get_submodule(name)
            graph_module.set_submodule(name, resolved_same_padding(conv, *sizes))
    return bool(calls)


def nodes_by_name(graph_module: fx.GraphModule) -> dict[str, fx.Node]:
    """The graph's nodes by name."""
    return {node.name: node for node in graph_module.graph.nodes}
