"""What is said to bad input, against what was said before (``messages.py``)."""

import json
import re
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


PARSED = {
    'candidates: candidates/0/kind is "shrink"',
    'plan: choices/0/kind is "shrink"',
    "candidate 'shrink 0:1 identity'",
    "candidate 'fit 3:5 64-128 k3x3 of 1,'",
    "candidate 'merge 3:5 64-128 k3x3 of a'",
    "entry 'pool 8-8 k1x1 @7x7'",
}
"""Of unknown kinds, details or operators: these are refused where they are used."""

_ENTRY = "latency entries/conv 1-1 k3x3 s2x2 p1,1,1,1 @32x32 relu/median_ms"
_COST = "importance entries/drop 0:1 1-1 k1x1 s2x2 relu/cost"

REWORDED = {
    "candidate 'fit 3:5 64-128 kx'": "'64-128' is no convolution, such as '64-128 k3x3",
    'solve: importance entries/fit 0:1 1-8 is {"cost": 1.0}': "'1-8' is no convolution, such as",
    "entry 'identity x @7x7'": "'identity x' is no identity, such as 'identity 64'",
    "entry 'identity 8-8 k1x1 @7x7'": "'identity 8-8 k1x1' is no identity, such as 'identity 64'",
    "entry 'avgpool 8 @7x7'": "'avgpool 8' is no pooling, such as 'avgpool 64-64 k2x2 s2x2 g64'",
    "call: candidates with an unknown activation": "cannot be inserted; known: usual, elu, gelu,",
    "call: apply another block": "expected text, got dict",
    "run model.name=mobilenet_v9": "timm knows no model 'mobilenet_v9'; did you mean mobilenet",
    "call: create an unknown model": "did you mean resnet18, resnet18d, resnet101?",
    "command: extract an unknown model": "did you mean resnet18, resnet18d, resnet101?",
    "command: profile an unknown model": "did you mean resnet18, resnet18d, resnet101?",
    "call: apply a plan with a gap": "'fit 5:4 1-8 k1x1 s4x4 relu' is of no segment: it ends where",
    'solve: importance entries/fit 5:2 3-3 k1x1 is {"cost": 1.0}': "is of no segment: it ends",
    'solve: importance entries/merge 0:2 1-8 k7x7 of is {"cost": 1.0}': "is no candidate",
    "latency: of no schema": "has schema version None, expected 1 to 2; make it anew",
    "latency: of a schema in words": "has schema version '1', expected 1 to 2; make it anew",
    "plan: of no schema": "has schema version None, expected 1 to 2; make it anew",
    "plan: of a schema in words": "has schema version '1', expected 1 to 2; make it anew",
    "command: check one": "record one: `depthopt check --record baseline.json run/out/fused.onnx`",
    "command: check against nothing": "record it: `depthopt check --record none.json MODEL`",
    "command: predict nothing": "--top is 0: Input should be greater than 0",
    "command: profile no batch": "--batch is 0: Input should be greater than 0",
    "command: check no batch": "--batch is 0: Input should be greater than 0",
    f"solve: {_ENTRY} is NaN": "median_ms: Input should be a finite number",
    f"solve: {_ENTRY} is Infinity": "median_ms: Input should be a finite number",
    f"solve: {_ENTRY} is -1.0": "median_ms: Input should be greater than or equal to 0",
    f"solve: {_COST} is NaN": "cost: Input should be a finite number",
    f"solve: {_COST} is Infinity": "cost: Input should be a finite number",
    "override candidates.kinds=[drop, shrink]": "'shrink' is unknown; known: keep, drop, fit,",
    "solve: no wish": "--csv FILE alone writes all",
    "solve: a frontier and a plan without a wish": "--csv FILE alone writes all",
    "command: extract at a bad size": "input size '64,64' is neither one side, such as 64, nor of",
    "command: extract at size nought": "'3,0,64' is neither one side, such as 64, nor of the form",
    "import: another stride": "its str is 1, that of blocks 0 to 1 2; no first_block fits",
    "import: a block beyond": "[90, 91) is not a run of blocks of 0..52; no first_block fits every",
    "import: another size": "input size '64,64' is neither one side, such as 64, nor of the form",
    "run model.checkpoint=fused/model.safetensors": "fused/model.safetensors does not fit ",
    "solve: a table without its budget": "is not parameters=N, memory=BYTES or TABLE.json=MS",
    "run model.checkpoint=none.safetensors": "model.checkpoint none.safetensors does not exist",
    "run data.source=folder:nowhere": "data.source folder:nowhere: nowhere does not exist",
    "run data.source=wds/nowhere": "data.source wds/nowhere: nowhere does not exist",
    "override entirely_unknown=1": "unknown key entirely_unknown; known: method, model, data, task",
    "override budget.measured=perhaps": "pick: Input should be 'predicted', 'measured' or 'tried'",
}
"""Of operators as text, each of which names itself; of a candidate that is not text, or of no
segment; of schemas that are no numbers; of numbers that are refused where they are read; of kinds
that other packages may bring; of options that bear other names; how a baseline is recorded; of a
size where one side is enough; of another network's weights; of files that a recipe names, which
are looked for before anything is loaded; of a recipe's newer keys."""

_TRIED = "pick: tried"

RENAMED = {
    "override importance.estimator=guess": ("'fit'", "'regression'"),
    "override apply.form=folded": ("'merged'", "'fused'"),
    'saved: form is "folded"': ("'merged'", "'fused'"),
    'saved: merged is "perhaps"': ("merged:", "fused:"),
    "call: estimate by an unknown estimator": (" fit,", " regression,"),
    "call: estimate without images": ("the fit estimator", "the regression estimator"),
    "call: estimate on from another table": (" by fit on ", " by regression on "),
    "overrides budget={speedup: 2, measured: false} trials.steps=50": ("budget.measured", _TRIED),
    "overrides budget={cost: 0.5} trials.steps=50": ("budget.measured", _TRIED),
    "solve: an unknown objective": (" or 'exp_accuracy'", ", 'metric' or 'exp_metric'"),
    "solve: without labels": ("accuracy", "metric"),
}
"""What a thing was called, and is now; the rest of the message is the same."""

GONE = {
    "call: cost of a candidate without entry",  # a table is a dictionary: there is no call
    "solve: nothing",  # one command takes a recipe, another table files
    "solve: a table alone",
    "solve: a recipe and a table",
    "solve: a recipe and a cap",
}


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
    assert [name for name in GOLDEN["messages"] if name not in GONE] == list(ATTEMPTS)
    assert len(ATTEMPTS) > 300


@pytest.mark.parametrize(("name", "attempt"), [*ATTEMPTS.items()], ids=[*ATTEMPTS])
def test_the_same_is_said(name: str, attempt: Attempt) -> None:
    if name in PARSED:
        assert attempt() == "nothing"
        return
    if name in REWORDED:
        assert REWORDED[name] in attempt()
        return
    wanted = GOLDEN["messages"][name].replace("reads up to 1;", f"reads up to {SCHEMA_VERSION};")
    wanted = wanted.replace(*RENAMED.get(name, ("", "")))
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
