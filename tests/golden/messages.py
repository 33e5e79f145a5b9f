"""What is said to inputs with faults of every kind.

``python -m tests.golden.messages`` writes it to ``messages.json``; ``test_messages.py`` compares.
Write it again after you change a message: the file's diff then shows every change.
The artefacts that are broken are those of ``version_1``.
"""

import contextlib
import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.golden.attempts import Attempt
from tests.golden.bad_calls import calls, commands, names
from tests.golden.bad_files import artefacts, imports, solves
from tests.golden.bad_recipes import RECIPE, overrides, recipes, runs

FOLDER = Path(__file__).parent / "version_1"
MESSAGES = Path(__file__).parent / "messages.json"


def versions() -> dict[str, str]:
    """Of those whose own words are part of some messages."""
    python = ".".join(map(str, sys.version_info[:2]))
    names = ("pydantic", "PyYAML", "timm", "torch", "safetensors", "numpy")
    return {"python": python, **{name: version(name) for name in names}}


def prepare(folder: Path) -> None:
    """Lay out what the attempts read, in an empty folder."""
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    (folder / "recipe.yaml").write_text(RECIPE)


def attempts() -> dict[str, Attempt]:
    """Every input by name."""
    return {
        **overrides(),
        **recipes(),
        **runs(),
        **artefacts(),
        **solves(),
        **imports(),
        **names(),
        **calls(),
        **commands(),
    }


def _write() -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        prepare(Path())
        messages = {name: attempt() for name, attempt in attempts().items()}
    content = {"versions": versions(), "messages": messages}
    MESSAGES.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    _write()
