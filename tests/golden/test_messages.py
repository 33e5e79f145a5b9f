"""What is said to bad input, against ``messages.json`` (see ``messages.py``)."""

import json
import re
from pathlib import Path

import pytest

from tests.golden.attempts import Attempt
from tests.golden.messages import MESSAGES, attempts, prepare, versions

GOLDEN = json.loads(MESSAGES.read_text())
SAME = GOLDEN["versions"] == versions()
ATTEMPTS = attempts()

LIBRARY = re.compile(
    "(Input|Tuple|String|Keys) (should|is)|Field required|Unterminated|Expecting|while (pars|scan)"
    r"|unacceptable|could not determine|Error while|Given groups|did you mean (mobile|res)net"
    r"|\[Errno|\w+\.__init__\(\)|'utf-8' codec"
)
"""Where a library's or Python's own words begin, which differ from version to version."""


PARSED = {
    'candidates: candidates/0/kind is "shrink"',
    'plan: choices/0/kind is "shrink"',
    "candidate 'shrink 0:1 identity'",
    "candidate 'fit 3:5 64-128 k3x3 of 1,'",
    "candidate 'merge 3:5 64-128 k3x3 of a'",
    "entry 'pool 8-8 k1x1 @7x7'",
}
"""Of unknown kinds, details or operators: these are refused where they are used."""

UNSTEADY = {
    "run model.checkpoint=fused/model.safetensors": "fused/model.safetensors does not fit ",
    "override candidates.kinds=[drop, shrink]": "'shrink' is unknown; known: keep, drop, fit,",
}
"""The steady part of messages that name tensors in a random order, or kinds that other packages
may bring."""


def said(message: str, *, same: bool = SAME) -> str:
    """What must be the same here: all of it, or what comes before a library's words."""
    found = None if same else LIBRARY.search(message)
    return message if found is None else message[: found.start()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inputs")
    prepare(path)
    return path


@pytest.fixture(autouse=True)
def _in_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_no_input_is_left_out() -> None:
    assert list(GOLDEN["messages"]) == list(ATTEMPTS)
    assert len(ATTEMPTS) > 300


@pytest.mark.parametrize(("name", "attempt"), [*ATTEMPTS.items()], ids=[*ATTEMPTS])
def test_the_same_is_said(name: str, attempt: Attempt) -> None:
    wanted = GOLDEN["messages"][name]
    if name in PARSED:
        assert attempt() == wanted == "nothing"
        return
    if name in UNSTEADY:
        assert UNSTEADY[name] in wanted
        assert UNSTEADY[name] in attempt()
        return
    assert said(attempt()) == said(wanted)
    assert wanted != "nothing"
    assert not wanted.startswith("0 ")
    assert "\n" not in wanted


def test_with_other_libraries_their_words_alone_may_differ() -> None:
    golden = "RecipeError: recipe.yaml: budget.ms: Input should be greater than 0 (got -1)"
    other = "RecipeError: recipe.yaml: budget.ms: Input should be positive"
    assert said(golden, same=True) != said(other, same=True)
    assert said(golden, same=False) == said(other, same=False)
    assert said(golden, same=False) != said(other.replace("ms", "cost"), same=False)
    own = "UsageError: speedup must be a positive number, got 0"
    assert said(own, same=False) == own
