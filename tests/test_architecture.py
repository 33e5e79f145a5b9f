"""docs/architecture.md against the folders that exist, and against the layers that are checked."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
FOLDERS = {path.parent.name for path in (ROOT / "depthopt").glob("*/__init__.py")}


def layers() -> list[set[str]]:
    """The layers of the import contract, from the top; without those that are still to come."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = settings["tool"]["importlinter"]["contracts"][0]
    rows = [re.findall(r"(?<!\()\b\w+\b(?!\))", row) for row in contract["layers"]]
    return [set(row) for row in rows]


def test_every_folder_has_its_sentence() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE)
    assert {name for name, _ in rows} == FOLDERS
    assert len(rows) == len(FOLDERS)
    assert all(purpose.endswith(".") for _, purpose in rows)


def test_the_picture_shows_the_layers_that_are_checked() -> None:
    picture = PAGE.split("```")[3].split("\n")[1:]
    drawn = [set(re.findall(r"\w+", row)) for row in picture if row]
    assert drawn == layers()
    assert set().union(*drawn) == FOLDERS | {"errors", "plugins"}


def test_an_operator_has_its_files() -> None:
    package = ROOT / "depthopt"
    operators = {path.stem for path in (package / "core" / "operators").glob("[a-z]*.py")}
    assert {"convolution", "average_pooling", "activation", "identity"} <= operators
    for name in operators - {"unknown"}:
        assert (package / "latency" / "graphs" / f"{name}.py").exists()
