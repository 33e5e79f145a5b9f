"""The notebook holds what it gave when it ran, with its pictures; under ``-m slow`` it runs."""

from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.docs.notebook import NOTEBOOK, ran


def _outputs(notebook: Any) -> list[Any]:
    return [each for cell in notebook.cells for each in cell.get("outputs", ())]


def _pictures(notebook: Any) -> int:
    return sum("image/png" in each.get("data", {}) for each in _outputs(notebook))


def test_the_notebook_is_kept_as_it_ran() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {each.output_type for each in _outputs(notebook)} == {"stream", "display_data"}
    assert _pictures(notebook) == 4
    assert NOTEBOOK.stat().st_size < 500_000


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    assert _pictures(ran(NOTEBOOK, tmp_path)) == 4
