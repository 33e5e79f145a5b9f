"""All that is used of TensorRT's API is in its real bindings, of TensorRT and of TensorRT for RTX.

Of TensorRT: the oldest, the newest 10.x and the newest; of TensorRT for RTX, the oldest and the
newest. What is used is read from the sources; the bindings' wheels are fetched by pip. What only
TensorRT for RTX has is looked for there alone.
"""

import ast
import logging
import os
import re
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
    "rtx-oldest": "tensorrt-rtx-cu13-bindings==1.4.*",
    "rtx-newest": "tensorrt-rtx-cu13-bindings",
}
BOTH, RTX = "tensorrt", "tensorrt_rtx"
"""Modules that sources import for type checkers: what both libraries have, what RTX alone has."""

QUOTED = re.compile(r"[\w.\[\]]*\btensorrt(_rtx)?\.[\w.\[\], |]+")
"""An annotation in quotes that names one of them."""

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
    """The stub of one release, in a folder that mypy searches.

    It has the name ``tensorrt``, whichever of the two libraries it is of; that of RTX has its own
    name too, for the same classes. Where there is no such stub, mypy takes all of it for Any.
    """
    folder = tmp_path_factory.mktemp(request.param)
    try:
        text = bindings.stub(bindings.fetched(WHEELS[request.param], folder))
    except bindings.AbsentError as reason:
        warnings.warn(f"TensorRT's names are NOT checked: {reason}", stacklevel=1)
        pytest.skip(str(reason))
    path = written(folder / "stubs" / BOTH, text)
    if request.param.startswith("rtx"):
        written(folder / "stubs" / RTX, f"from {BOTH} import *\n")
    return path


def written(package: Path, text: str) -> Path:
    package.mkdir(parents=True)
    path = package / "__init__.pyi"
    path.write_text(text)
    return path


def of_rtx(stub: Path) -> bool:
    return (stub.parents[1] / RTX).exists()


def sources() -> dict[str, ast.Module]:
    """The modules that know one of the libraries, if only for type checkers."""
    trees = {path.name: ast.parse(path.read_text()) for path in PACKAGE.glob("*.py")}
    return {name: tree for name, tree in trees.items() if {BOTH, RTX} & imported(tree)}


def imported(tree: ast.Module) -> set[str]:
    """What a source imports, whatever it is named there."""
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {name.name for node in imports for name in node.names}
    return names | {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}


def chain(node: ast.expr) -> tuple[str, str]:
    """``a.b.c`` as ``a`` and ``b.c``; what does not begin with a name has no root."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return node.id if isinstance(node, ast.Name) else "", ".".join(reversed(parts))


def walked(node: ast.AST, owner: str = BOTH) -> Iterator[tuple[ast.AST, str]]:
    """All nodes, each with the module that has what is used there.

    A function is of RTX alone if one of its parameters is.
    """
    for child in ast.iter_child_nodes(node):
        given = ast.unparse(child.args) if isinstance(child, ast.FunctionDef) else ""
        inner = RTX if "RtxBindings" in given or RTX in given else owner
        yield child, inner
        yield from walked(child, inner)
        if isinstance(child, ast.Constant) and QUOTED.fullmatch(str(child.value)):
            yield from walked(ast.parse(child.value, mode="eval"), owner)  # type: ignore[arg-type]


def used_names(libraries: set[str]) -> tuple[set[str], set[str]]:
    """What is reached from the modules, by full name, and what is asked of their objects."""
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
        for node, owner in walked(tree):
            if isinstance(node, ast.Attribute):
                root, rest = chain(node)
                if (RTX if root == RTX else owner) not in libraries:
                    continue
                if root in {"trt", BOTH, RTX}:
                    full.add(rest)
                elif root not in modules and not node.attr.startswith("_"):
                    members.add(node.attr)
            elif isinstance(node, ast.ClassDef):
                bases = [name for base in node.bases if (name := based_on(base))]
                full |= {f"{base}.{name}" for base in bases for name in called_back(node)}
    return full - {"__version__"}, members - others


def based_on(base: ast.expr) -> str:
    """The library's class that a class is one of, such as ``ILogger``; empty if none."""
    root, rest = chain(base)
    return rest if root in {"trt", BOTH} else root if re.match("I[A-Z]", root) else ""


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
    full, members = used_names({BOTH, RTX} if of_rtx(stub) else {BOTH})
    assert min(len(full), len(members)) > 20, "the sources' names were not found"
    classes = offered(stub)
    version = next(line for line in stub.read_text().splitlines() if "__version__" in line)
    gone = sorted(name for name in full if not exists(name, classes))
    gone += sorted(members - set(classes).union(*classes.values()))
    logger.info("%s: %d names, %d members", version, len(full), len(members))
    assert not gone, f"{version} has no {gone}"
    assert ("ComputeCapability" in full) == of_rtx(stub)


def exists(name: str, classes: dict[str, set[str]]) -> bool:
    owner, _, member = name.rpartition(".")
    return name in classes or member in classes.get(owner, ())


def checked(stub: Path, target: list[str]) -> str:
    """What mypy says of our calls against the stub; empty if nothing.

    Not asked for is what depends on whose stub it is: what RTX alone has is Any on TensorRT's, and
    what both have is one class on RTX's.
    """
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--follow-imports", "silent"]
    command += [f"--no-warn-{of}" for of in ("unused-ignores", "return-any", "redundant-casts")]
    command += ["--cache-dir", str(stub.parents[3] / "mypy"), *target]  # of torch, once for all
    environment = {**os.environ, "MYPYPATH": f"{stub.parents[1]}:{ROOT}"}
    run = subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    return run.stdout + run.stderr


def test_calls_fit_the_signatures(stub: Path) -> None:
    assert checked(stub, ["-p", "depthopt.runtimes.tensorrt"]) == ""


def test_the_protocols_name_classes_by_their_own_names() -> None:
    tree = ast.parse((PACKAGE / "bindings.py").read_text())
    fields = [node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)]
    assert len(fields) > 10
    for node in fields:
        name, kind = ast.unparse(node.target), ast.unparse(node.annotation).strip("'")
        assert kind in {f"type[{BOTH}.{name}]", f"type[{RTX}.{name}]"} or name == "__version__"


MISTAKES = [
    ("set_timing_cache(cache, False)", "set_timing_cache(cache)", 'argument "ignore_mismatch"'),
    ("trt.BuilderFlag.TF32", "trt.BuilderFlag.FP13", 'has no attribute "FP13"'),
    ("parser.num_errors", "parser.errors", 'has no attribute "errors"'),
    ("inspector.get_engine_information(", "inspector.get_engine(", 'no attribute "get_engine"'),
    ("e.node_operator()", "e.node_op()", 'has no attribute "node_op"'),
    ("trt.TensorIOMode", "trt.TensorMode", '"Bindings" has no attribute "TensorMode"'),
    ("set_tensor_address(name, ", "set_tensor_address(", 'Missing positional argument "memory"'),
    ("def log(self, severity", "def log(self", 'Signature of "log" incompatible'),
    ("layer_name: str, ms: SupportsFloat", "ms: SupportsFloat", 'of "report_layer_time" incomp'),
]
RTX_MISTAKES = [
    ("config.num_compute_capabilities", "config.num_targets", 'no attribute "num_targets"'),
    ("REQUIRE_USER_ALLOCATION", "REQUIRE_USERS", 'no attribute "REQUIRE_USERS"'),
    ("cache.deserialize(content)", "cache.deserialize()", 'Missing positional argument "blob"'),
    ("set_runtime_cache(cache)", "set_runtime_cache(engine)", 'expected "IRuntimeCache"'),
]


def test_mistakes_would_be_found(stub: Path, tmp_path: Path) -> None:
    mistakes = MISTAKES + (RTX_MISTAKES if of_rtx(stub) else [])
    told = checked(stub, [str(path) for path in mistaken(tmp_path, mistakes)])
    for _, wrong, message in mistakes:
        assert message in told, (wrong, told)


def mistaken(folder: Path, mistakes: list[tuple[str, str, str]]) -> list[Path]:
    """The sources that hold what is right, with what is wrong in its place."""
    texts = {path.stem: path.read_text() for path in PACKAGE.glob("*.py")}
    changed = set()
    for right, wrong, _ in mistakes:
        holding = [stem for stem, text in texts.items() if right in text]
        assert holding, f"no source has {right}"
        for stem in holding:
            texts[stem] = texts[stem].replace(right, wrong)
        changed.update(holding)
    paths = {stem: folder / f"{stem}_with_mistakes.py" for stem in changed}
    for stem, path in paths.items():
        path.write_text(texts[stem])
    return list(paths.values())
