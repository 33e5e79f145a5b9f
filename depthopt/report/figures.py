"""Figures as files: the same bytes for the same data."""

import io

from matplotlib import rc_context
from matplotlib.figure import Figure


def svg(figure: Figure) -> bytes:
    """The figure as SVG, its text as text."""
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "depthopt", "svg.fonttype": "none"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
