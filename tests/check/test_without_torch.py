"""``depthopt check`` on the light install: numpy, onnx, onnxruntime and a few small packages."""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from depthopt.check.requirements import NEEDED, name_of

ROOT = Path(__file__).parents[2]

CALL = """
import sys

for name in {blocked!r}:
    sys.modules[name] = None  # how Python says that it is not there

import depthopt.cli.main as cli

for words in {calls!r}:
    sys.argv = ["depthopt", *words]
    try:
        cli.main()
    except SystemExit as ended:
        print("ended with", ended.code or 0)
"""


def dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    names = {name_of(line) for line in [*project["dependencies"], *extras]}
    return sorted(names - {"depthopt"})


def network(path: Path, channels: int) -> Path:
    """One convolution."""
    weight = np.ones((channels, 3, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="features.0", pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, 32, 32])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def test_a_check_and_its_help_need_none_of_the_other_packages(tmp_path: Path) -> None:
    others = [name.replace("-", "_") for name in dependencies() if name not in NEEDED]
    others += ["sklearn", "PIL", "scipy"]
    assert {"torch", "timm", "torchvision", "matplotlib", "numba", "accelerate"} <= set(others)
    old, new = network(tmp_path / "old.onnx", 4), network(tmp_path / "new.onnx", 4)
    kept = ["--seconds", "0.2", "--history", "h.jsonl", "--junit", "j.xml", "--summary", "s.md"]
    calls = [
        ["check", "--help"],
        ["check", str(old), str(new), "--tolerance", "900%", *kept],
        ["check", str(old), str(new), "--data", "digits"],
        ["extract", "resnet18"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", CALL.format(blocked=others, calls=calls)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    ended = [line for line in done.stdout.splitlines() if line.startswith("ended with")]
    assert ended[0] == "ended with 0"
    assert ended[1] in {"ended with 0", "ended with 3"}, done.stderr
    assert ended[2:] == ["ended with 2", "ended with 2"], done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"h.jsonl", "j.xml", "s.md"}
    lacking = [line for line in done.stderr.splitlines() if "is not installed" in line]
    assert len(lacking) == 2, done.stderr
    assert all(line.endswith("for everything else run: pip install depthopt") for line in lacking)


def test_the_list_is_the_documented_one() -> None:
    page = (ROOT / "docs" / "start" / "install.md").read_text()
    assert f"pip install {' '.join(NEEDED)}\n" in page
    assert set(NEEDED) <= set(dependencies())
    assert name_of('torch>=2.6; extra == "x"') == "torch"
