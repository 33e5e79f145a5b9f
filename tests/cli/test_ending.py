"""How commands end: statuses, one line, a log of what nobody expected, streams that are gone."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from depthopt.cli import ending
from depthopt.cli import main as cli
from depthopt.errors import CheckFailed, UsageError

ERRORS = [
    RuntimeError("no idea"),
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
    KeyError("x" * 10**6),
]


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str, BaseException], int | str | None]:
    """Runs a command that ends by an error; its log goes to a folder of the test."""
    monkeypatch.setattr(ending.tempfile, "tempdir", str(tmp_path))

    def called(command: str, error: BaseException) -> int | str | None:
        def fail(**_: object) -> None:
            raise error

        monkeypatch.setattr(cli, "app", fail)
        monkeypatch.setattr("sys.argv", ["depthopt", command])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code

    return called


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_defect_is_one_line_with_a_log_and_status_70(error, call, capsys, tmp_path) -> None:
    assert call("run", error) == 70
    (line,) = capsys.readouterr().err.strip().splitlines()
    (log,) = tmp_path.glob("depthopt-*.log")
    assert line.startswith(f"depthopt: a defect of depthopt: {type(error).__name__}")
    assert f"the details are in {log}, please report it" in line
    assert "depthopt doctor" in line
    assert len(line) < 3000
    assert "Traceback" in log.read_text()
    assert "depthopt, called as: ['depthopt', 'run']" in log.read_text()
    call("run", error)
    assert len(list(tmp_path.glob("depthopt-*.log"))) == 2


@pytest.mark.parametrize(
    "error", [*ERRORS, CheckFailed("x"), UsageError("x"), OSError(28, "full"), SystemExit(1)],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_of_check_all_that_is_no_verdict_is_2(error, call, capsys) -> None:
    assert call("check", error) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(CheckFailed("x"), 1), (OSError(28, "full"), 1), (UsageError("x"), 2),
                          (KeyboardInterrupt(), 130), (BrokenPipeError(32, "gone"), 141)],
)  # fmt: skip
def test_other_errors_have_their_status(error, status, call, capsys) -> None:
    assert call("run", error) == status
    assert len(capsys.readouterr().err.strip().splitlines()) == (0 if status == 141 else 1)


def test_a_log_that_cannot_be_written_is_shown(call, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(ending.tempfile, "tempdir", str(tmp_path / "none"))
    assert call("run", ValueError("x")) == 70
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "the details are above" in said.strip().splitlines()[-1]


RUN = "from depthopt.cli.main import main; main()"


def command(*words: str, **streams: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *words], check=False, stderr=subprocess.PIPE, **streams
    )


def test_where_nobody_reads_the_output_a_command_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = command("--help", stdout=writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")
    closed = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -c "{RUN}" --help >&-', sys.executable],
        check=False, capture_output=True,
    )  # fmt: skip
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_names_that_are_no_utf_8_are_told_in_one_line(tmp_path: Path) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/\xff\xfe.json")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for environment in (os.environ, {**os.environ, **plain}):
        ended = command("frontier", name, name, "--speedup=2", env=environment)
        assert ended.returncode == 2
        assert b"Traceback" not in ended.stderr
        assert b"does not exist" in ended.stderr
