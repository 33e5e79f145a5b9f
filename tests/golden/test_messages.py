"""What is said to bad input, against what was said before (``messages.py``)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from depthopt.core.artefacts import SCHEMA_VERSION
from tests.golden.attempts import Attempt
from tests.golden.messages import MESSAGES, attempts, prepare, versions

GOLDEN = json.loads(MESSAGES.read_text())
SAME = GOLDEN["versions"] == versions()
ATTEMPTS = attempts()

LIBRARY = re.compile(
    "(Input|Tuple|String|Keys) (should|is)|Field required|Unterminated|Expecting|while (pars|scan)"
    r"|unacceptable|could not determine|Error while|Given groups|did you mean mobilenet|\[Errno"
    r"|\w+\.__init__\(\)|'utf-8' codec"
)
"""Where a library's or Python's own words begin, which differ from version to version."""


def said(message: str) -> str:
    """What must be the same here: all of it, or what comes before a library's words."""
    found = None if SAME else LIBRARY.search(message)
    return message if found is None else message[: found.start()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inputs")
    prepare(path)
    return path


@pytest.fixture(autouse=True)
def _in_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    return


def test_no_input_is_left_out() -> None:
    assert list(GOLDEN["messages"]) == list(ATTEMPTS)
    assert len(ATTEMPTS) > 300


@pytest.mark.parametrize(("name", "attempt"), [*ATTEMPTS.items()], ids=[*ATTEMPTS])
def test_the_same_is_said(name: str, attempt: Attempt) -> None:
    wanted = GOLDEN["messages"][name].replace("reads up to 1;", f"reads up to {SCHEMA_VERSION};")
    assert said(attempt()) == said(wanted)
    assert wanted != "nothing"
    assert not wanted.startswith("0 ")
    assert "\n" not in wanted
