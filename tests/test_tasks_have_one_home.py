"""No code but that of tasks/, and what displays it, knows that networks classify."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from depthopt.tasks.registry import DEFAULT, TASKS

PACKAGE = Path(__file__).parents[1] / "depthopt"

COMMON = {"matching", "embedding"}
"""Names of tasks that are words of the field too."""

WORDS = {"logit", "logits", "classes", "accuracy", "accuracies", *TASKS.own} - COMMON

EXEMPT = (
    "tasks",
    "cli",  # these three display what a task says
    "report",
    "workflow",
    "data/builtin.py",  # data sets of classes
    "data/classes.py",
    "data/described.py",
    "data/examples.py",
    "data/flat.py",
    "data/forms.py",
    "data/given.py",
    "data/hub.py",
    "data/index.py",
    "data/load.py",
    "data/pairs.py",
    "data/resolve.py",
    "data/shards.py",
    "models/timm.py",  # what libraries, and users' callables, call the width of a head
    "models/torchvision.py",
    "models/code.py",
    "graph/network.py",
    "core/version_1.py",  # words of old files
    "core/old_words.py",
)

MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not str(path.relative_to(PACKAGE)).startswith(EXEMPT)
]


def docstrings(tree: ast.AST) -> set[ast.AST]:
    """Strings that stand alone: what is said about the code."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def names_in(node: ast.AST) -> Iterator[str]:
    """What a node is called, or says."""
    for field in ("id", "attr", "arg", "name", "asname", "module", "value"):
        if isinstance(found := getattr(node, field, None), str):
            yield found


def found_in(tree: ast.AST) -> list[str]:
    said = docstrings(tree)
    return [
        f"{name!r}, line {getattr(node, 'lineno', '?')}"
        for node in ast.walk(tree)
        if node not in said
        for name in names_in(node)
        if WORDS & set(re.findall(r"[a-z]+", name.lower()))
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_knows_that_networks_classify(path: Path) -> None:
    assert found_in(ast.parse(path.read_text())) == []


def test_the_test_finds_what_it_looks_for() -> None:
    guilty = """
from depthopt.tasks.classification import TASK
def loss(logits, *, num_classes): ...
Figure("accuracy")
top.accuracy = 1
"""
    assert len(found_in(ast.parse(guilty))) == 5
    assert DEFAULT in WORDS
