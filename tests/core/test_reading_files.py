import os
import subprocess
import sys
from pathlib import Path

import pytest

from depthopt.core import limits, reading

LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)


def test_yaml_is_read_with_its_aliases() -> None:
    text = "a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n1: yes\n"
    assert reading.parse_yaml(text) == {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}, 1: True}
    assert reading.parse_yaml("") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' on line 3 is on line 1 already"),
        ("x:\n  {b: 1, c: 2, b: 3}", "the key 'b' on line 2 is on line 2 already"),
        ("a: &a [*a]", "what begins on line 1 holds itself"),
        ("[" * 100_000, "nested more than 64 deep"),
        ("{a: " * 70 + "1" + "}" * 70, "nested more than 64 deep"),
        (LAUGHS, "aliases stand for more than"),
        ("a: &a 1\nb: [" + "*a, " * 101 + "]", "more than 100 aliases"),
        ("2001-99-99", "does not fit its type: month must be"),
        ("!!int ''", "does not fit its type"),
        ("!!float x", "does not fit its type"),
        ("!!timestamp x", "does not fit its type"),
        ("-0x_", "does not fit its type"),
        ("1" * 5000, "does not fit its type"),
        ("!!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("? [a]\n: b", "unhashable key"),
        ("a: [1", "while parsing"),
        ("\0", "unacceptable character"),
    ],
)
def test_yaml_that_is_none_or_too_much_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        reading.parse_yaml(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested more than 64 deep"),
        ("[" * 70 + "]" * 70, "nested more than 64 deep"),
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' comes twice"),
        ("1" * 5000, "4300 digits"),
        ("{", "Expecting"),
        ("[],[" * (limits.CONTAINERS // 2 + 1), "lists and mappings"),
    ],
)
def test_json_that_is_none_or_too_much_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reading.parse_json(text)


def test_files_are_read_as_utf_8_and_within_their_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes('\ufeff{"é": [1]}'.encode())
    assert reading.read_json(path) == {"é": [1]}
    with pytest.raises(ValueError, match=r"more than 5 bytes"):
        reading.read_text(path, 5)
    with pytest.raises(ValueError, match=r"more than 10 bytes"):
        reading.read_text(Path("/dev/zero"), 10)
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match="utf-8"):
        reading.read_json(path)


def test_the_systems_encoding_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "é.yaml"
    path.write_text("a: é", encoding="utf-8")
    code = (
        "import sys, pathlib\n"
        "from depthopt.core.reading import parse_yaml, read_text\n"
        "found = parse_yaml(read_text(next(pathlib.Path(sys.argv[1]).glob('*.yaml')), 99))\n"
        "assert found == {'a': chr(233)}, ascii(found)\n"
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, **plain})
