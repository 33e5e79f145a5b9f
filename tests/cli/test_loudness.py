"""``-v``, ``-q`` and ``--version``."""

import logging

import pytest

import depthopt
from depthopt.cli import options
from depthopt.cli.main import COMMANDS, app, main


@pytest.fixture(autouse=True)
def as_before():
    root = logging.getLogger()
    handlers, level, quiet = root.handlers[:], root.level, options.err.quiet
    yield
    root.handlers[:], root.level, options.err.quiet = handlers, level, quiet


def call(monkeypatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["depthopt", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("words", "level", "quiet"),
    [
        (("recipes",), logging.WARNING, False),
        (("-v", "recipes"), logging.INFO, False),
        (("recipes", "--verbose"), logging.INFO, False),
        (("-q", "recipes"), logging.ERROR, True),
        (("recipes", "quickstart", "-q"), logging.ERROR, True),
        (("tables", "list", "-v"), logging.INFO, False),
    ],
)
def test_before_the_command_or_after_it(words, level, quiet, monkeypatch, capsys) -> None:
    assert call(monkeypatch, *words) == 0
    assert (logging.getLogger().level, options.err.quiet) == (level, quiet)
    assert capsys.readouterr().out


@pytest.mark.parametrize("words", [("-v", "-q", "recipes"), ("recipes", "-v", "-q")])
def test_both_are_refused(words, monkeypatch, capsys) -> None:
    assert call(monkeypatch, *words) == 2
    assert "--verbose and --quiet cannot be used together" in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"tables"}))
def test_every_command_takes_them_and_names_no_clone(command, monkeypatch, capsys) -> None:
    assert call(monkeypatch, command, "--help") == 0
    text = capsys.readouterr().out
    assert "-v, --verbose" in text
    assert "-q, --quiet" in text
    assert "recipes/" not in text


def test_the_help_names_no_path_of_a_clone(monkeypatch, capsys) -> None:
    assert call(monkeypatch, "--help") == 0
    assert "recipes/" not in capsys.readouterr().out
    assert app.info.epilog == "Start with: depthopt compress MODEL --data FOLDER"


def test_in_a_file_a_warning_is_one_line(monkeypatch, capsys) -> None:
    logging.getLogger().handlers.clear()
    assert call(monkeypatch, "-q", "recipes") == 0
    assert call(monkeypatch, "recipes") == 0
    logging.getLogger("depthopt.x").warning("word " * 60)
    assert len(logging.getLogger().handlers) == 1
    assert capsys.readouterr().err == f"WARNING  {'word ' * 60}\n"


def test_the_version_is_the_metadatas(monkeypatch, capsys) -> None:
    from importlib.metadata import version

    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"depthopt {version('depthopt')}\n"
    assert depthopt.__version__ == version("depthopt")


def test_recipes_are_listed_with_purpose_and_needs(monkeypatch, capsys) -> None:
    assert call(monkeypatch, "recipes") == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("quickstart")
    assert lines[at + 1].startswith("    Quickstart: MobileNetV2-1.0 on ")
    assert lines[at + 2].startswith("    needs: none; nothing is downloaded.")
    assert all(line == line.rstrip() for line in lines)
    assert call(monkeypatch, "recipes", "quickstart") == 0
    assert capsys.readouterr().out.startswith("# Quickstart: MobileNetV2-1.0")
