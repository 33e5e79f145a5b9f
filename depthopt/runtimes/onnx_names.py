"""Match the layers of ONNX Runtime with the nodes of the user's ONNX file.

ONNX Runtime fuses nodes, lays tensors out again and gives what comes of it names of its own:
``r0_nchwc``, ``fused fc``, ``ReorderOutput_token_12``. The model as it runs (its
``optimized_model_filepath``) says what each of them gives. A layer is called by the node of the
user's file that gives the same tensor; of fused ones that is the last.
https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto

from depthopt.runtimes.base import LayerTime

OWN = "runtime's own (reorders)"
"""Name for all layers together that match none of the user's nodes."""

_FUSED_BEHIND = {
    "Add", "BatchNormalization", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "Identity",
    "LeakyRelu", "Mul", "Relu", "Selu", "Sigmoid", "Softplus", "Sum", "Tanh",
}  # fmt: skip
"""Operators that may go into the layer before them."""

_MADE = re.compile(
    r"^(?:fused )?(?P<name>.*?)(?:/\w*Fusion\w*/?)*(?:_nchwc|_new_reshape)?(?:_token_\d+)?$",
    re.DOTALL,
)
"""How ONNX Runtime calls a layer: by a node, or by the tensor that a node gives."""

_BEHIND_GEMM = "gemm_output_reshape"
_AROUND_GEMM = ("gemm_input_reshape", _BEHIND_GEMM)
"""How it calls what it puts around the product of a matrix and tokens: these become rows, and then
tokens again."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A layer that ran, in ONNX Runtime's words.

    Attributes:
        name: of the layer; of a node without a name its operator and index.
        operator: what it computes.
        index: of the node; as long as it is a node of the file, its place there.
    """

    name: str
    operator: str
    index: int


def by_user_names(
    given: ModelProto, optimised: ModelProto, times_ms: Iterable[tuple[Ran, float]]
) -> tuple[LayerTime, ...]:
    """Layers by the names of the user's nodes, in order. The runtime's own come last, as one.

    Args:
        given: the user's model.
        optimised: the same as it ran.
        times_ms: each layer that ran, and how long.
    """
    names = _Names(given, optimised)
    layers: dict[str, LayerTime] = {}
    own_ms: list[float] = []
    for ran, ms in times_ms:
        name = names.of(ran)
        if name is None:
            own_ms.append(ms)
            continue
        before = layers.get(name, LayerTime(name, ran.operator, 0.0))
        longest = ran.operator if ms > before.median_ms else before.operator
        layers[name] = LayerTime(name, longest, before.median_ms + ms)
    own = (LayerTime(OWN, "Reorder", sum(own_ms)),) if own_ms else ()
    return (*layers.values(), *own)


class _Names:
    """The user's nodes, and what became of them."""

    def __init__(self, given: ModelProto, optimised: ModelProto) -> None:
        self._nodes = list(given.graph.node)
        every = list(_nodes(given.graph))
        self._by_name = {node.name: node for node in every if node.name}
        self._giving = {output: node for node in every for output in node.output if output}
        self._readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in every:
            for tensor in dict.fromkeys(node.input):
                self._readers[tensor].append(node)
        as_run = list(_nodes(optimised.graph))
        self._runs = {node.name: node for node in as_run if node.name}
        self._laid_out = {
            node.input[0]: node.output[0]
            for node in as_run
            if node.op_type == "ReorderOutput" or node.name.startswith(_BEHIND_GEMM)
        }
        # Of each output of the network, too: nothing that is read outside goes into a layer.
        self._outside = {output.name for output in given.graph.output}
        self._stand_alone = {self._label(n) for n in map(self._start, as_run) if n is not None}

    def of(self, ran: Ran) -> str | None:
        """The user's name of a layer; None if it has none."""
        node = self._runs.get(ran.name)
        if node is not None:
            if (given := self._by_output(node)) is not None:
                return self._label(given)
            start = self._start(node)
        else:
            start = self._nodes[ran.index] if 0 <= ran.index < len(self._nodes) else None
            if start is None or start.name or start.op_type != ran.operator:
                return None
        return None if start is None else self._label(self._last(start))

    def _by_output(self, node: NodeProto) -> NodeProto | None:
        """The user's node that gives what a layer gives, laid out as it may be."""
        if node.op_type in {"ReorderInput", "ReorderOutput"} or node.name.startswith(_AROUND_GEMM):
            return None
        outputs = (self._laid_out.get(output, output) for output in node.output)
        return next((self._giving[output] for output in outputs if output in self._giving), None)

    def _start(self, node: NodeProto) -> NodeProto | None:
        """The user's node that a layer gives the output of, or began with."""
        if node.op_type in {"ReorderInput", "ReorderOutput"} or node.name.startswith(_AROUND_GEMM):
            return None
        if (given := self._by_output(node)) is not None:
            return given
        found = _MADE.match(node.name)
        name = found["name"] if found else node.name
        return self._giving.get(name) or self._by_name.get(name)

    def _last(self, node: NodeProto) -> NodeProto:
        """The last of the nodes that went into a layer behind its first."""
        while True:
            readers = [reader for output in node.output for reader in self._readers[output]]
            if len(readers) != 1 or self._outside & set(node.output):
                return node
            (reader,) = readers
            if reader.op_type not in _FUSED_BEHIND or self._label(reader) in self._stand_alone:
                return node
            node = reader

    def _label(self, node: NodeProto) -> str:
        """A node's name; without one of its own, its output's."""
        return node.name or next((output for output in node.output if output), node.op_type)


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of a graph, and of the branches and bodies in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)
