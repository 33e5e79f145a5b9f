"""Export networks of operators that ONNX has without decomposing them, in half the time.

Before torch translates a network it takes apart the operators that ONNX lacks and makes those in
place ordinary ones, for which it runs all of the network once more. A network that has neither
would come out as it went in, and need not be run. The one operator of most convolutional networks
that is taken apart is the pooling of a whole image, into a mean: so it is here.

Torch has no public way to leave this out: these are private names of torch 2.6 to 2.14, and where
one is gone torch does as it always does. What is exported is compared with the network anyway.
"""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import torch

_INTERNAL = "torch.onnx._internal.exporter"
_PASS = "decompose_with_registry"  # noqa: S105 - a step of the export
_KNOWN = "get_onnx_implemented_overloads"

_POOLING = torch.ops.aten.adaptive_avg_pool2d.default
_MEAN = torch.ops.aten.mean.dim


@contextlib.contextmanager
def undecomposed() -> Iterator[None]:
    """Let exports within this context skip needless decompositions."""
    try:
        passes: Any = importlib.import_module(f"{_INTERNAL}._fx_passes")
        known: Any = getattr(importlib.import_module(f"{_INTERNAL}._decomp"), _KNOWN)
        own: Any = getattr(passes, _PASS)
    except (ImportError, AttributeError):
        yield
        return

    def decompose(program: Any, registry: Any) -> Any:
        nodes = [node for node in program.graph.nodes if node.op == "call_function"]
        pooling, plain = (
            [node for node in nodes if _is_of_a_whole_image(node)],
            set(known(registry)),
        )
        if not all(node in pooling or _is_plain(node.target, plain) for node in nodes):
            return own(program, registry)
        for node in pooling:
            node.target, node.args = _MEAN, (node.args[0], [-1, -2], True)
        program.graph_module.recompile()
        return program

    setattr(passes, _PASS, decompose)
    try:
        yield
    finally:
        setattr(passes, _PASS, own)


def _is_of_a_whole_image(node: Any) -> bool:
    return node.target is _POOLING and list(node.args[1]) == [1, 1]


def _is_plain(target: Any, known: set[Any]) -> bool:
    """Whether ONNX has the operator, and it changes nothing in place."""
    overload = isinstance(target, type(_MEAN))
    mutable = overload and target._schema.is_mutable  # noqa: SLF001 - nothing public tells it
    return overload and target in known and not mutable
