"""What is wrong with a command is told before torch, timm or the solver is loaded."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "timm", "torchvision", "numba", "onnx", "onnxruntime", "matplotlib", "sklearn"}

REFUSED = [
    ("run nosuch.yaml", "recipe nosuch.yaml does not exist"),
    ("run quickstrat", "did you mean quickstart?"),
    ("run r.yaml budget.sped=2", "unknown key budget.sped; did you mean speedup?"),
    ("run r.yaml candidates.kinds=[fat]", "candidate kind 'fat' is unknown"),
    ("run r.yaml task=naming", "task 'naming' is unknown"),
    ("run r.yaml model.checkpoint=none.pth", "model.checkpoint none.pth does not exist"),
    ("run r.yaml latency.table=none", "latency.table none does not exist; tables that come"),
    ("run r.yaml data.source=folder:none", "data.source folder:none: none does not exist"),
    ("run r.yaml --nosuch", "No such option: --nosuch"),
    ("solve r.yaml --speedup x", "--speedup"),
    ("estimate nosuch.yaml", "recipe nosuch.yaml does not exist"),
    ("extract nosuch.yaml", "recipe nosuch.yaml does not exist"),
    ("extract resnet18 --input-size 3,4", "input size '3,4' is neither one side"),
    ("extract resnet18 --svg x.svg", 'pip install "depthopt[plots]"'),
    ("doctor nosuch.yaml", "recipe nosuch.yaml does not exist"),
    ("profile nosuch.yaml", "recipe nosuch.yaml does not exist"),
    ("profile r.yaml model.checkpoint=none.pth", "model.checkpoint none.pth does not exist"),
    ("compress none.py:build --data digits", "none.py does not exist; build was to make"),
    ("compress resnet18 --data none", "'none' is neither a data set nor a folder or tar"),
    ("compress resnet18 --data digits --checkpoint none.pth", "--checkpoint none.pth does not"),
    ("compress resnet18 --data digits finetune.stps=2", "did you mean steps?"),
    ("compress r.yaml --data digits", "carry it out with depthopt run r.yaml"),
    ("init resnet18 --data none.tar", "'none.tar' is neither a data set nor a folder or tar"),
    ("explore resnet18 --data none", "'none' is neither a data set nor a folder or tar"),
    ("explore resnet18", "say what resnet18 is trained on"),
    ("extract none.py:build", "none.py does not exist; build was to make"),
    ("extract resnet18 --checkpoint none.pth", "--checkpoint none.pth does not exist"),
    ("doctor none.py:build", "none.py does not exist; build was to make"),
    ("predict none x.png", "none/model.json does not exist"),
    ("report none", "none is not a run's folder"),
    ("frontier a.json b.json --speedup 2", "a.json does not exist"),
    ("tables import resnet18 --latency none.csv", "none.csv"),
    ("recipes nosuch", "recipe 'nosuch' is neither a file nor a recipe"),
]  # fmt: skip

RECIPE = """
model: {name: mobilenetv2_035, input_size: [1, 32, 32]}
data: {source: digits, calibration_images: 64}
budget: {speedup: 1.5}
"""

CALL = """
import sys

for name in {blocked!r}:
    sys.modules[name] = None  # how Python says that it is not there

import depthopt.cli.main as cli

for words in sys.argv[1:]:
    sys.argv = ["depthopt", *words.split()]
    try:
        cli.main()
    except SystemExit as ended:
        print("ended with", ended.code, file=sys.stderr, flush=True)
"""


def test_bad_input_is_told_without_torch(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    done = subprocess.run(
        [sys.executable, "-c", CALL.format(blocked=sorted(HEAVY)), *(c for c, _ in REFUSED)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = [part.strip() for part in done.stderr.split("ended with 2\n")]
    assert len(said) == len(REFUSED) + 1, done.stderr
    for (words, message), found in zip(REFUSED, said, strict=False):
        assert message in found.replace("\n", " "), words
        assert "is not installed" not in found, words
    assert [path.name for path in tmp_path.iterdir()] == ["r.yaml"]


@pytest.mark.parametrize(
    "module",
    [
        "depthopt",
        "depthopt.cli.main",
        "depthopt.pipeline.recipe",
        "depthopt.pipeline.named_files",
        *(f"depthopt.cli.{path.stem}" for path in (ROOT / "depthopt" / "cli").glob("[a-z]*.py")),
    ],
)
def test_nothing_heavy_is_imported_with(module: str) -> None:
    reached, left = {module}, [module]
    while left:
        for name in imports(left.pop()):
            assert name.partition(".")[0] not in HEAVY, f"{module} imports {name} by {reached}"
            if name.startswith("depthopt") and name not in reached:
                reached.add(name)
                left.append(name)


def imports(module: str) -> Iterator[str]:
    """What a module imports as it is imported, its packages included."""
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.exists():  # a name in a module
        return
    yield module.rpartition(".")[0] or module
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.parametrize("words", ["run nosuch.yaml", "run r.yaml budget.sped=2", "doctor x.yaml"])
def test_bad_input_is_told_within_a_second(words: str, tmp_path: Path) -> None:
    import time

    (tmp_path / "r.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "depthopt", *words.split()]
    seconds = []
    for _ in range(3):
        begin = time.monotonic()
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        seconds.append(time.monotonic() - begin)
    assert min(seconds) < 1
