"""Progress where there is no terminal: a line now and then, whole."""

import contextlib
import io
import time

from rich.console import Console

from depthopt.workflow.progress import ConsoleReporter


def told(line_s: float, **options) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=1000, **options)
    with ConsoleReporter(console, line_s) as reporter:
        reporter.started("profile")
        reporter.progress(30, 120, "entries measured")
        time.sleep(0.12)
        reporter.finished("profile", 0.1, "120 entries " + "and more " * 30)
        time.sleep(0.05)
    return out.getvalue().splitlines()


def test_a_line_each_ten_seconds_says_how_far_the_stage_is() -> None:
    first, *between, last = told(0.05)
    assert first == "profile ..."
    assert set(between) == {"profile        0 s  entries measured 30/120"}
    assert 1 <= len(between) <= 3
    assert last.startswith("profile      0.1 s  120 entries")
    assert last.rstrip().endswith("and more")


def test_a_library_that_is_kept_silent_does_not_swallow_them(capsys) -> None:
    with ConsoleReporter(Console(stderr=True, width=1000), 0.05) as reporter:
        reporter.started("export")
        with contextlib.redirect_stderr(io.StringIO()):
            time.sleep(0.12)
    assert "export         0 s  ...\n" in capsys.readouterr().err


def test_a_stage_that_ends_sooner_has_two_lines() -> None:
    assert len(told(10)) == 2


def test_a_quiet_console_is_told_nothing() -> None:
    assert told(0.05, quiet=True) == []
