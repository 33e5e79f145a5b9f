"""The pictures of the docs, drawn: what the chain of a ResNet is, the kinds, and a frontier.

    python -m tests.docs.pictures

writes ``docs/pictures/*.svg``. Blocks and candidates are those that depthopt finds in ResNet-18;
the frontier's numbers are in ``frontier.json``, with the command that gave them.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import timm
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import depthopt
from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.operators import Convolution
from depthopt.kinds.registry import KINDS
from depthopt.report.figures import svg

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
DATA = Path(__file__).with_name("frontier.json")

INK, MUTED, LINE, GONE, CARD = "#24292f", "#57606a", "#6b7480", "#aab2bd", "#d0d7de"
KEPT, BARRIER, HERE = "#e6eaf0", "#b2182b", "#0b5cad"
START, END = 3, 5
"""The block of ResNet-18 that the kinds are shown on: its second one, with a plain skip."""


@cache
def chain() -> Chain:
    """ResNet-18 as a chain."""
    return depthopt.extract(timm.create_model("resnet18"), (3, 224, 224), name="resnet18")


def candidate(kind: str, **wished: Any) -> Candidate:
    """A candidate of that block, as depthopt lists it."""
    options = {"kinds": (kind,), "fewer_macs": False, "kernel_sizes": (3,), **wished}
    found = depthopt.candidates(chain(), **options)
    return next(c for c in found if (c.start, c.end, c.kind) == (START, END, kind))


def card(width: float, height: float) -> Axes:
    """An empty white card with round corners, in units of a hundredth of an inch."""
    figure = Figure(figsize=(width / 100, height / 100))
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    axes.add_patch(_rounded(1, 1, width - 2, height - 2, "#ffffff", CARD, radius=10))
    return axes


def _rounded(
    x: float, y: float, width: float, height: float, face: str, edge: str, **more: Any
) -> FancyBboxPatch:
    style = f"round,pad=0,rounding_size={more.pop('radius', 5)}"
    return FancyBboxPatch(
        (x, y), width, height, boxstyle=style, facecolor=face, edgecolor=edge, **more
    )


def box(axes: Axes, x: float, y: float, text: str, face: str = KEPT, **more: Any) -> None:
    """A layer, its centre at (x, y); ``height`` and ``width`` say its size."""
    width, height = more.pop("width", 92.0), more.pop("height", 40.0)
    ink, edge = more.pop("ink", INK), more.pop("edge", LINE)
    left, low = x - width / 2, y - height / 2
    axes.add_patch(_rounded(left, low, width, height, face, edge, zorder=2, **more))
    lines = text.split("\n")
    for i, line in enumerate(lines):  # each of its own, so that all are centred in any font
        at = y + 14.5 * ((len(lines) - 1) / 2 - i)
        axes.text(x, at, line, ha="center", va="center", color=ink, fontsize=9, zorder=3)


def dot(axes: Axes, x: float, y: float, text: str, ink: str = INK) -> None:
    """An addition."""
    axes.add_patch(_rounded(x - 9, y - 9, 18, 18, "#ffffff", ink, radius=9, zorder=2))
    axes.text(x, y, text, ha="center", va="center", color=ink, fontsize=10, zorder=3)


def arrow(axes: Axes, start: float, end: float, y: float, colour: str = LINE) -> None:
    """Along the chain."""
    between = ((start, y), (end, y))
    axes.add_patch(
        FancyArrowPatch(*between, arrowstyle="-|>", mutation_scale=9, color=colour, zorder=1,
                        shrinkA=0, shrinkB=0)
    )  # fmt: skip


def skip(axes: Axes, start: float, end: float, low: float, high: float, **more: Any) -> None:
    """An arc of straight lines over a branch, down to the addition."""
    line = {"color": LINE, "linewidth": 1.2, "zorder": 1, **more}
    axes.plot([start, start, end], [low, high, high], solid_joinstyle="round", **line)
    axes.add_patch(
        FancyArrowPatch((end, high), (end, low + 9), arrowstyle="-|>", mutation_scale=9,
                        color=line["color"], zorder=1, shrinkA=0, shrinkB=0)
    )  # fmt: skip


def label(axes: Axes, x: float, y: float, text: str, **more: Any) -> None:
    style = {"ha": "left", "va": "center", "fontsize": 9, "color": MUTED, **more}
    axes.text(x, y, text, **style)


def words(convolution: Convolution) -> str:
    """A convolution in two short lines, or in three with its stride."""
    height, width = convolution.kernel_size
    lines = [f"{height}x{width} conv", f"{convolution.in_channels} to {convolution.out_channels}"]
    if convolution.stride != (1, 1):
        lines.append(f"stride {convolution.stride[0]}")
    return "\n".join(lines)


def chain_picture() -> Figure:
    """The first blocks of ResNet-18 as a chain."""
    network, count, step, left, y = chain(), 7, 116.0, 88.0, 132.0
    axes = card(left * 2 + step * (count - 1), 264)
    at = [left + step * (i - 0.5) for i in range(count + 1)]
    for i, block in enumerate(network.blocks[:count]):
        x = left + step * i
        behind = "norm" if network.skips_to(i + 1) else f"norm, {block.activation}"
        box(axes, x, y, f"{words(block.operator)}\n{behind}", height=70, width=78)
        label(axes, x, y - 45, block.name, ha="center", fontsize=7)
        arrow(axes, at[i] - (12 if i else 0), x - 39, y)
    arrow(axes, at[-1], at[-1] + 18, y)
    for position, x in enumerate(at):
        label(axes, x, y - 72, str(position), ha="center", color=HERE)
        axes.plot([x, x], [y - 64, y - 40], color=HERE, linewidth=0.8, linestyle=":")
    label(axes, at[0] - 8, y - 92, "positions", color=HERE, fontsize=8)
    for joint in (s for s in network.skips if s.target <= count):
        start, end = at[joint.source] + 6, at[joint.target] - 6
        skip(axes, start, end, y, y + 66)
        dot(axes, end, y, "+")
        behind = str(network.blocks[joint.target - 1].activation)
        label(axes, end + 3, y - 18, behind, ha="center", color=INK, fontsize=8)
        if joint.branch:
            branch = words(joint.branch[0].operator).replace("\n", ", ")
            box(axes, (start + end) / 2, y + 66, branch, width=194, height=24)
            label(axes, (start + end) / 2, y + 89, "a skip with a branch", ha="center", fontsize=8)
        else:
            label(axes, (start + end) / 2, y + 78, "a skip", ha="center", fontsize=8)
    for barrier in network.barriers:
        x = at[barrier.position]
        axes.plot([x, x], [y - 34, y + 84], color=BARRIER, linewidth=1.8, zorder=1.5)
        label(axes, x, y + 96, "a barrier: max pooling", ha="center", color=BARRIER, fontsize=8)
    low, start, end = y - 90, at[START], at[END]
    axes.plot([start, start, end, end], [low + 6, low, low, low + 6], color=INK, linewidth=1)
    label(axes, (start + end) / 2, low - 12, "a segment of two blocks: [3, 5)", ha="center",
          color=INK, fontsize=8)  # fmt: skip
    return axes.figure  # type: ignore[return-value]


SKIP, FIRST, BETWEEN, SECOND, ADD, BEHIND = 142.0, 210.0, 292.0, 374.0, 448.0, 506.0
"""Where the parts of a block lie from left to right; the skip begins at the first."""

IN, OUT = 108.0, 556.0


def _activation(axes: Axes, x: float, y: float) -> None:
    text = str(chain().blocks[END - 1].activation)
    box(axes, x, y, text, width=34, height=22, face="#ffffff")


def _block(axes: Axes, y: float, convolutions: tuple[Any, ...], **look: Any) -> None:
    """Two convolutions and a skip."""
    first, second = convolutions
    ends = ((IN, 164), (256, 275), (309, 328), (420, 439), (457, 489), (523, OUT))
    for start, end in ends:
        arrow(axes, start, end, y)
    box(axes, FIRST, y, words(first), **look)
    _activation(axes, BETWEEN, y)
    box(axes, SECOND, y, words(second), **look)
    dot(axes, ADD, y, "+")
    _activation(axes, BEHIND, y)
    skip(axes, SKIP, ADD, y, y + 36)


def _one(axes: Axes, y: float, convolution: Convolution, **look: Any) -> None:
    """One convolution where the block was."""
    middle = (FIRST + SECOND) / 2
    arrow(axes, IN, middle - 46, y)
    box(axes, middle, y, words(convolution), **look)
    arrow(axes, middle + 46, 489, y)
    _activation(axes, BEHIND, y)
    arrow(axes, 523, OUT, y)


def _under(name: str, said: str, draw: Callable[[Axes, float], None], height: float) -> Figure:
    """The block, and under it what a kind makes of it."""
    axes = card(574, height)
    top, low = height - 62, 58.0
    label(axes, 18, top, "original", color=INK)
    _block(axes, top, tuple(block.operator for block in chain().blocks[START:END]))
    axes.plot([18, OUT], [(top + low) / 2 + (8 if name == "narrow" else 0)] * 2, color=CARD, lw=1)
    label(axes, 18, low, name, color=_look(name)["face"], weight="bold")
    label(axes, 18, 18, said, fontsize=8)
    draw(axes, low)
    return axes.figure  # type: ignore[return-value]


def _look(kind: str) -> dict[str, Any]:
    colour = KINDS.get(kind).colour[0]
    return {"face": colour, "edge": colour, "ink": "#ffffff"}


def drop_picture() -> Figure:
    """The branch goes, the skip stays."""
    assert not candidate("drop").operators
    colour = _look("drop")["face"]

    def draw(axes: Axes, y: float) -> None:
        for x in (FIRST, SECOND):
            box(axes, x, y - 4, "", face="none", edge=GONE, linestyle=(0, (2, 2)), height=32)
        axes.plot([IN, SKIP, SKIP, ADD, ADD], [y, y, y + 30, y + 30, y], color=colour, lw=2)
        arrow(axes, ADD, OUT, y, colour)

    return _under("drop", "Only the skip stays.", draw, 208)


def fit_picture() -> Figure:
    """One convolution, its weights regressed on images."""
    new = candidate("fit").convolution
    said = "One convolution for all of it. Its weights are solved for on images."
    return _under("fit", said, lambda axes, y: _one(axes, y, new, **_look("fit")), 184)


def merge_picture() -> Figure:
    """The convolutions composed, the activation between them gone."""
    new = candidate("merge").convolution
    said = "The activation in the middle goes. The rest multiplies out to one larger convolution."
    return _under("merge", said, lambda axes, y: _one(axes, y, new, **_look("merge")), 184)


def narrow_picture() -> Figure:
    """The same form with fewer hidden channels."""
    new = candidate("narrow", widths=(0.5,)).operators
    said = "The form stays. The tensor in the middle has fewer channels."

    def draw(axes: Axes, y: float) -> None:
        _block(axes, y, new, height=34, **_look("narrow"))

    return _under("narrow", said, draw, 214)


def frontier_picture() -> Figure:
    """All plans of a run of the quickstart, and those that were tried."""
    data = json.loads(DATA.read_text())
    rows = [row for row in data["frontier"] if row[0] < 6]
    axes = card(600, 360)
    plot = axes.figure.add_axes((0.115, 0.15, 0.85, 0.78))
    floor = 1e-4
    speedups, costs = [row[0] for row in rows], [max(row[1], floor) for row in rows]
    plot.step(speedups, costs, where="pre", color=HERE, linewidth=1)
    plot.plot(speedups, costs, ".", color=HERE, markersize=4, label="a plan of the frontier")
    tried = data["tried"]
    plot.plot(
        [each["predicted"] for each in tried], [each["cost"] for each in tried], "o",
        mfc="none", mec="#b4470f", mew=1.4, ms=9, ls="", label="tried",
    )  # fmt: skip
    (picked,) = (each for each in tried if each["picked"])
    plot.plot(
        picked["predicted"], picked["cost"], "o", color="#b4470f", ms=6, ls="", label="picked"
    )
    plot.plot(1, floor, "s", color=LINE, ms=7, ls="", clip_on=False, label="the original, cost 0")
    plot.set(yscale="log", xlim=(0.9, 6), ylim=(floor, 2))
    plot.set_xlabel("predicted speed-up", color=MUTED, fontsize=9)
    plot.set_ylabel("cost: what it is likely to lose", color=MUTED, fontsize=9)
    plot.set_xticks(range(1, 7), [f"{i}x" for i in range(1, 7)])
    plot.tick_params(colors=MUTED, labelsize=8)
    plot.minorticks_off()
    plot.grid(color="#e6eaf0", linewidth=0.8)
    plot.set_axisbelow(True)
    plot.spines[["top", "right"]].set_visible(False)
    plot.spines[["left", "bottom"]].set_color(CARD)
    plot.legend(loc="lower right", fontsize=8, frameon=False, labelcolor=MUTED)
    return axes.figure  # type: ignore[return-value]


PICTURES: dict[str, Callable[[], Figure]] = {
    "chain": chain_picture,
    "drop": drop_picture,
    "fit": fit_picture,
    "merge": merge_picture,
    "narrow": narrow_picture,
    "frontier": frontier_picture,
}


def picture(name: str) -> bytes:
    """A picture as SVG: the same bytes each time, as long as matplotlib is the same."""
    with rc_context({"font.family": "sans-serif"}):
        return svg(PICTURES[name]())


def main() -> None:
    """Write all of them."""
    for name in PICTURES:
        (FOLDER / f"{name}.svg").write_bytes(picture(name))


if __name__ == "__main__":
    main()
