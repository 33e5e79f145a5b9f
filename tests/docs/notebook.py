"""The notebook of the docs, run from its first cell to its last.

    python tests/docs/notebook.py

runs it and writes what it gives into it; look at its pictures then. Warnings are left out: they
are of the machine that it ran on.
"""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "first-look.ipynb"


def ran(path: Path, folder: Path) -> Any:
    """The notebook with what it gives.

    Args:
        path: of the notebook.
        folder: that it works in.
    """
    notebook = nbformat.read(path, as_version=4)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([before] if before else [])])
    try:
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=resources).execute()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main() -> None:
    found = ran(NOTEBOOK, Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOK.parent)
    NOTEBOOK.write_text(nbformat.writes(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
