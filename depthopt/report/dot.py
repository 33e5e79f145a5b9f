"""Draw a chain in Graphviz's DOT language (https://graphviz.org/doc/info/lang.html)."""

import re

from depthopt.core.chain import Block, Chain, Skip
from depthopt.core.operators import AveragePooling, Convolution, Operator

BARRIER = "#b2182b"
"""The colour of barriers."""

_KIND_COLOURS = {
    "depthwise": "#9ecae1",
    "pointwise": "#c7e9c0",
    "norm": "#eeeeee",
    "dense": "#fdd0a2",
    "attention": "#dadaeb",
    "mlp": "#c6dbef",
}


def chain_dot(chain: Chain) -> str:
    """The chain in the DOT language: a box per block, dashed skips, red barriers."""
    lines = ["rankdir=TB;", "node [fontname=Helvetica, shape=box, style=filled];"]
    barriers = {barrier.position: barrier for barrier in chain.barriers}
    for i, block in enumerate(chain.blocks):
        label = "\\n".join(block_label(i, block))
        lines.append(f"b{i} [fillcolor={_quoted(colour_of(block))}, label={_quoted(label)}];")
        if i in barriers:
            reason = _quoted(barriers[i].reason)
            lines.append(f"b{i - 1} -> b{i} [color={_quoted(BARRIER)}, label={reason}];")
        elif i:
            lines.append(f"b{i - 1} -> b{i};")
    for skip in chain.skips:
        if skip.target - skip.source > 1:
            ends = f"b{skip.source} -> b{skip.target - 1}"
            label = _quoted(_skip_label(skip))
            lines.append(f"{ends} [constraint=false, label={label}, style=dashed];")
    return "\n".join([f"digraph {_quoted(chain.model)} {{", *lines, "}", ""])


def colour_of(block: Block) -> str:
    """The colour of a block's box, by its kind of operator."""
    return _KIND_COLOURS[_kind(block)]


def _kind(block: Block) -> str:
    convolution = block.operator
    if not isinstance(convolution, Convolution):
        return type(convolution).__name__.lower()
    if convolution.is_depthwise:
        return "norm" if convolution.is_scaling else "depthwise"
    return "pointwise" if convolution.kernel_size == (1, 1) else "dense"


def block_label(i: int, block: Block) -> list[str]:
    """A block's number, name, operator, output size and activation."""
    size = "x".join(map(str, block.layout.output_size))
    return [
        f"{i} {block.name}",
        str(block.operator),
        f"to {size}",
        str(block.activation or "linear"),
    ]


def _skip_label(skip: Skip) -> str:
    return " ".join(_layer_label(layer.operator) for layer in skip.branch)


def _layer_label(operator: Operator) -> str:
    if isinstance(operator, AveragePooling):
        return f"pooled {operator.kernel_size[0]}"
    return f"by {operator}"


def _quoted(text: str) -> str:
    """A DOT string; quotes and backslashes other than line breaks are escaped."""
    return '"' + re.sub(r'(\\(?!n)|")', r"\\\1", text) + '"'
