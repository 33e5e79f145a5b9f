"""All that is used of TensorRT's API is in its real bindings: the oldest, newest 10.x and newest.

What is used is read from the sources; the bindings' wheels are fetched by pip.
"""

import ast
import logging
import os
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import depthopt
from tests.runtimes import bindings

pytestmark = pytest.mark.slow

logger = logging.getLogger(__name__)

ROOT = Path(depthopt.__file__).parents[1]
PACKAGE = ROOT / "depthopt" / "runtimes" / "tensorrt"
WHEELS = {
    "oldest": "tensorrt-cu12-bindings==10.12.*",
    "newest-10": "tensorrt-cu13-bindings<11",
    "newest": "tensorrt-cu13-bindings",
}
OTHERS = (
    logging.Logger,
    str,
    bytes,
    list,
    dict,
    deque,
    Path,
    np,
    np.ndarray,
    torch,
    torch.cuda,
    torch.Tensor,
)
OTHERS += (torch.cuda.Stream, torch.cuda.Event, torch.cuda.CUDAGraph)
"""Whose attributes are none of TensorRT's."""


@pytest.fixture(scope="module", params=WHEELS)
def stub(request, tmp_path_factory) -> Path:
    """The stub of one release, in a folder that mypy searches."""
    folder = tmp_path_factory.mktemp(request.param)
    try:
        text = bindings.stub(bindings.fetched(WHEELS[request.param], folder))
    except bindings.AbsentError as reason:
        warnings.warn(f"TensorRT's names are NOT checked: {reason}", stacklevel=1)
        pytest.skip(str(reason))
    path = folder / "stubs" / "tensorrt" / "__init__.pyi"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def sources() -> dict[str, ast.Module]:
    """The modules that are of no use without TensorRT."""
    trees = {path.name: ast.parse(path.read_text()) for path in PACKAGE.glob("*.py")}
    return {
        name: tree
        for name, tree in trees.items()
        if any(isinstance(n, ast.Import) and n.names[0].name == "tensorrt" for n in tree.body)
    }


def chain(node: ast.expr) -> tuple[str, str]:
    """``a.b.c`` as ``a`` and ``b.c``; what does not begin with a name has no root."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return node.id if isinstance(node, ast.Name) else "", ".".join(reversed(parts))


def used_names() -> tuple[set[str], set[str]]:
    """What is reached from the module, by full name, and what is asked of its objects."""
    full, members = set(), set()
    others = {name for other in OTHERS for name in dir(other)}
    for path in PACKAGE.glob("*.py"):
        others |= set(defined(ast.parse(path.read_text())))
    for tree in sources().values():
        modules = {
            name.asname or name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                root, rest = chain(node)
                if root == "trt":
                    full.add(rest)
                elif root not in modules and not node.attr.startswith("_"):
                    members.add(node.attr)
            elif isinstance(node, ast.ClassDef):
                bases = [rest for root, rest in map(chain, node.bases) if root == "trt"]
                full |= {f"{base}.{name}" for base in bases for name in called_back(node)}
    return full - {"__version__"}, members - others


def called_back(node: ast.ClassDef) -> list[str]:
    """Of a class that TensorRT calls, what it calls."""
    return [
        part.name
        for part in node.body
        if isinstance(part, ast.FunctionDef)
        and (ast.get_docstring(part) or "").startswith("Called by TensorRT")
    ]


def methods(node: ast.ClassDef) -> list[str]:
    return [part.name for part in node.body if isinstance(part, ast.FunctionDef)]


def defined(tree: ast.Module) -> Iterator[str]:
    """Our own methods and fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from methods(node)
        elif isinstance(node, ast.AnnAssign):
            yield getattr(node.target, "id", getattr(node.target, "attr", ""))


def offered(stub: Path) -> dict[str, set[str]]:
    """Members by class; those of nested classes as of a class ``Outer.Inner``."""
    found: dict[str, set[str]] = {}

    def add(node: ast.ClassDef, prefix: str) -> None:
        members = found[prefix + node.name] = set(methods(node))
        for part in node.body:
            if isinstance(part, ast.AnnAssign):
                members.add(part.target.id)  # type: ignore[union-attr]
            elif isinstance(part, ast.ClassDef):
                members.add(part.name)
                add(part, f"{prefix}{node.name}.")

    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.ClassDef):
            add(node, "")
    return found


def test_every_name_that_is_used_exists(stub: Path) -> None:
    full, members = used_names()
    assert min(len(full), len(members)) > 20, "the sources' names were not found"
    classes = offered(stub)
    version = next(line for line in stub.read_text().splitlines() if "__version__" in line)
    gone = sorted(name for name in full if not exists(name, classes))
    gone += sorted(members - set().union(*classes.values()))
    logger.info("%s: %d names, %d members", version, len(full), len(members))
    assert not gone, f"{version} has no {gone}"


def exists(name: str, classes: dict[str, set[str]]) -> bool:
    owner, _, member = name.rpartition(".")
    return name in classes or member in classes.get(owner, ())


def checked(stub: Path, target: list[str]) -> str:
    """What mypy says of our calls against the stub; empty if nothing."""
    command = [sys.executable, "-m", "mypy", "--no-warn-unused-ignores", "--no-error-summary"]
    command += ["--follow-imports", "silent"]
    command += ["--cache-dir", str(stub.parents[1] / "cache"), *target]
    environment = {**os.environ, "MYPYPATH": f"{stub.parents[1]}:{ROOT}"}
    run = subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    return run.stdout + run.stderr


def test_calls_fit_the_signatures(stub: Path) -> None:
    assert checked(stub, ["-p", "depthopt.runtimes.tensorrt"]) == ""


MISTAKES = [
    ("set_timing_cache(cache, False)", "set_timing_cache(cache)", "Missing positional argument"),
    ("trt.BuilderFlag.TF32", "trt.BuilderFlag.FP13", 'has no attribute "FP13"'),
    ("parser.num_errors", "parser.errors", 'has no attribute "errors"'),
    ("inspector.get_engine_information(", "inspector.get_engine(", 'no attribute "get_engine"'),
    ("e.node_operator()", "e.node_op()", 'has no attribute "node_op"'),
]


def test_mistakes_would_be_found(stub: Path, tmp_path: Path) -> None:
    text = (PACKAGE / "engine.py").read_text()
    for right, wrong, _ in MISTAKES:
        assert right in text
        text = text.replace(right, wrong)
    path = tmp_path / "engine_with_mistakes.py"
    path.write_text(text)
    told = checked(stub, [str(path)])
    for _, wrong, message in MISTAKES:
        assert message in told, (wrong, told)
