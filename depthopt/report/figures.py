"""Write figures as files, with the same bytes for the same data."""

import io
from typing import Literal

from matplotlib import rc_context
from matplotlib.figure import Figure


def svg(figure: Figure) -> bytes:
    """The figure as SVG, with text kept as text."""
    return _saved(figure, "svg", {"Date": None})


def png(figure: Figure) -> bytes:
    """The figure as PNG, at 150 pixels per inch."""
    return _saved(figure, "png", {"Software": None})


def literal(name: str) -> str:
    """A name as text that matplotlib does not take for a formula."""
    return name.replace("$", r"\$")


def _saved(figure: Figure, form: Literal["svg", "png"], metadata: dict[str, None]) -> bytes:
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "depthopt", "svg.fonttype": "none"}):
        figure.savefig(content, format=form, metadata=metadata, dpi=150)
    return content.getvalue()
