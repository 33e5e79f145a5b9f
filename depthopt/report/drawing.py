"""Draw a chain as an SVG strip of boxes and arcs."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, FancyBboxPatch

from depthopt.core.chain import Block, Chain, Skip
from depthopt.core.inputs import size_text
from depthopt.report.dot import BARRIER, block_label, colour_of
from depthopt.report.figures import svg

_SKIP = "#555555"


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
        axes.plot([barrier.position - 0.5] * 2, [-0.6, 1.6], color=BARRIER, linewidth=1.5)
    return svg(figure)


def _draw_block(axes: Axes, i: int, block: Block) -> None:
    colour = colour_of(block)
    box = FancyBboxPatch(
        (i - 0.38, 0), 0.76, 1, boxstyle="round,pad=0.04", facecolor=colour, edgecolor="#777777"
    )
    axes.add_patch(box)
    axes.text(i, 0.5, str(i), ha="center", va="center", fontsize=6)
    text = f"{block.name}: {', '.join(block_label(i, block)[1:])}"
    axes.text(i, -0.8, text, ha="center", va="top", rotation=90, fontsize=5.5)


def _draw_skip(axes: Axes, skip: Skip) -> None:
    left, right = skip.source - 0.5, skip.target - 0.5
    height = min(0.8 + 0.35 * (right - left), 6.0)
    style = "dashed" if skip.branch else "solid"
    centre = ((left + right) / 2, 1.05)
    arc = Arc(centre, right - left, height, theta1=0, theta2=180, color=_SKIP, linestyle=style)
    axes.add_patch(arc)
