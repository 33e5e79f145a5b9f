"""A chain as a picture: Graphviz's DOT language, or an SVG strip of boxes and arcs."""

import re

import pydot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, FancyBboxPatch

from depthopt.core.chain import Block, Chain, Skip
from depthopt.core.inputs import size_text
from depthopt.core.operators import AveragePooling, Operator
from depthopt.report.figures import svg

_KIND_COLOURS = {
    "depthwise": "#9ecae1",
    "pointwise": "#c7e9c0",
    "norm": "#eeeeee",
    "dense": "#fdd0a2",
}
_BARRIER, _SKIP = "#b2182b", "#555555"


def chain_dot(chain: Chain) -> str:
    """The chain in the DOT language: a box a block, dashed skips, barriers in red."""
    graph = pydot.Dot(_quoted(chain.model), graph_type="digraph", rankdir="TB")
    graph.set_node_defaults(shape="box", style="filled", fontname="Helvetica")
    barriers = {barrier.position: barrier for barrier in chain.barriers}
    for i, block in enumerate(chain.blocks):
        label = "\\n".join(_label(i, block))
        colour = _KIND_COLOURS[_kind(block)]
        graph.add_node(pydot.Node(f"b{i}", label=_quoted(label), fillcolor=_quoted(colour)))
        if i in barriers:
            reason = _quoted(barriers[i].reason)
            graph.add_edge(pydot.Edge(f"b{i - 1}", f"b{i}", label=reason, color=_quoted(_BARRIER)))
        elif i:
            graph.add_edge(pydot.Edge(f"b{i - 1}", f"b{i}"))
    for skip in chain.skips:
        if skip.target - skip.source > 1:
            label = _quoted(_skip_label(skip))
            graph.add_edge(
                pydot.Edge(
                    f"b{skip.source}", f"b{skip.target - 1}", style="dashed", label=label,
                    constraint="false",
                )
            )  # fmt: skip
    return str(graph.to_string())


def chain_svg(chain: Chain) -> bytes:
    """The chain as an SVG strip: boxes for blocks, arcs for skips, red lines for barriers."""
    count = len(chain.blocks)
    figure = Figure(figsize=(max(6.0, 0.34 * count + 1), 5.2))
    axes = figure.add_axes((0.01, 0.02, 0.98, 0.9))
    axes.set_axis_off()
    axes.set_xlim(-0.7, count + 0.2)
    axes.set_ylim(-11, 5)
    size = size_text(chain.input_size)
    axes.set_title(
        f"{chain.model} at {size}: {count} blocks (orange dense, green 1x1, blue depthwise, grey "
        "norm); arcs are skips, dashed if projected; red lines are barriers",
        loc="left",
        fontsize=9,
    )
    for i, block in enumerate(chain.blocks):
        _draw_block(axes, i, block)
    for skip in chain.skips:
        _draw_skip(axes, skip)
    for barrier in chain.barriers:
        axes.plot([barrier.position - 0.5] * 2, [-0.6, 1.6], color=_BARRIER, linewidth=1.5)
    return svg(figure)


def _draw_block(axes: Axes, i: int, block: Block) -> None:
    colour = _KIND_COLOURS[_kind(block)]
    box = FancyBboxPatch(
        (i - 0.38, 0), 0.76, 1, boxstyle="round,pad=0.04", facecolor=colour, edgecolor="#777777"
    )
    axes.add_patch(box)
    axes.text(i, 0.5, str(i), ha="center", va="center", fontsize=6)
    text = f"{block.name}: {', '.join(_label(i, block)[1:])}"
    axes.text(i, -0.8, text, ha="center", va="top", rotation=90, fontsize=5.5)


def _draw_skip(axes: Axes, skip: Skip) -> None:
    left, right = skip.source - 0.5, skip.target - 0.5
    height = min(0.8 + 0.35 * (right - left), 6.0)
    style = "dashed" if skip.branch else "solid"
    centre = ((left + right) / 2, 1.05)
    arc = Arc(centre, right - left, height, theta1=0, theta2=180, color=_SKIP, linestyle=style)
    axes.add_patch(arc)


def _kind(block: Block) -> str:
    convolution = block.operator
    if convolution.is_depthwise:
        return "norm" if convolution.is_scaling else "depthwise"
    return "pointwise" if convolution.kernel_size == (1, 1) else "dense"


def _label(i: int, block: Block) -> list[str]:
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
