"""No code but that of kinds/ knows a kind by its name."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from depthopt.kinds.registry import KINDS

PACKAGE = Path(__file__).parents[1] / "depthopt"
NAMES = set(KINDS.own)
EXEMPT = {PACKAGE / "core" / "version_1.py", PACKAGE / "core" / "old_words.py"}
"""What reads the words of old files."""

MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if PACKAGE / "kinds" not in path.parents and path not in EXEMPT
]


def names_in(node: ast.AST) -> set[str]:
    return {
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value in NAMES
    }


def is_literal(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Literal"


def found_in(tree: ast.AST) -> Iterator[str]:
    """Comparisons, cases, literals and keys of dictionaries that name a kind; imports of one."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Compare, ast.match_case)) or is_literal(node):
            where = node.pattern if isinstance(node, ast.match_case) else node
            yield from (
                f"{name!r}, line {getattr(node, 'lineno', '?')}" for name in names_in(where)
            )
        elif isinstance(node, ast.Dict):
            keys = [key for key in node.keys if isinstance(key, ast.Constant)]
            yield from (f"key {key.value!r}, line {key.lineno}" for key in keys
                        if key.value in NAMES)  # fmt: skip
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".")
            if parts[:2] == ["depthopt", "kinds"] and parts[-1] in NAMES:
                yield f"import of {node.module}, line {node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_knows_a_kind(path: Path) -> None:
    assert list(found_in(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "report" / "static").iterdir()), ids=lambda p: p.name
)
def test_no_script_or_style_knows_a_kind(path: Path) -> None:
    if path.suffix not in {".js", ".css", ".html"}:
        pytest.skip("neither")
    words = "|".join(NAMES)
    pattern = rf"""["'](?:{words})["']|--(?:{words})\b|\.(?:{words})\b(?!\()|\b(?:{words}): ["']"""
    assert re.findall(pattern, path.read_text()) == []


def test_the_test_finds_what_it_looks_for() -> None:
    guilty = """
if kind == "fit": ...
match kind:
    case "drop": ...
Kind = Literal["keep"]
VERBS = {"merge": 1}
from depthopt.kinds.fit import KIND
"""
    assert len(list(found_in(ast.parse(guilty)))) == 5
