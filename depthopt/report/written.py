"""Write a run's report to files."""

import logging
from pathlib import Path

from depthopt.core.clipped import printable
from depthopt.core.extras import has, pip
from depthopt.core.writing import write_bytes
from depthopt.report.page import report_page
from depthopt.report.reading import RunArtefacts

logger = logging.getLogger(__name__)


def write_page(run: RunArtefacts, folder: Path) -> Path:
    """Write ``report.html``, and return its path."""
    path = folder / "report.html"
    write_bytes(path, printable(report_page(run)).encode())
    return path


def write_report(run: RunArtefacts, folder: Path) -> list[Path]:
    """Write ``report.html``, and the plots if matplotlib is installed. Return the paths."""
    page, plots = write_page(run, folder), _plots(run)
    for name, content in plots.items():
        write_bytes(folder / name, content)
    return [page, *(folder / name for name in plots)]


def _plots(run: RunArtefacts) -> dict[str, bytes]:
    """The plots as SVG and PNG, where what draws them is installed; a line says where not."""
    if not has("matplotlib"):
        logger.warning("plots as PNG and SVG need matplotlib; for them: %s", pip("matplotlib"))
        return {}
    from depthopt.report.figures import png, svg  # noqa: PLC0415 - matplotlib is an extra
    from depthopt.report.plots import run_figures  # noqa: PLC0415 - as above

    files: dict[str, bytes] = {}
    for name, draw in run_figures(run).items():
        figure = draw()
        files |= {f"{name}.svg": svg(figure), f"{name}.png": png(figure)}
    return files
