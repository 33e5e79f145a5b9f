"""`depthopt report` and `depthopt compare`."""

import json
from pathlib import Path

import pytest

from depthopt.cli.main import main
from tests.report.run_folder import write_run


def depthopt(*arguments: object, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["depthopt", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def test_report_writes_a_page_and_plots_and_prints_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path)
    assert depthopt("report", tmp_path, monkeypatch=monkeypatch) == 0
    written = {path.name for path in (tmp_path / "report").iterdir()}
    plots = {
        f"{n}.{k}" for n in ("frontier", "plan", "importance", "training") for k in ("svg", "png")
    }
    assert written == {"report.html"} | plots
    printed = capsys.readouterr().out
    for text in (
        "98.12", "97.38", "91.25", "all predicted", "128 steps", "a device",
        "what no plan touches", "another plan: depthopt run", "'budget={ms: MS}' pick=predicted",
        "torch 2.9.1", "--validate 12",
    ):  # fmt: skip
        assert text in printed


def test_a_summary_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path)
    (tmp_path / "result.json").unlink()
    assert depthopt("report", tmp_path, "--summary", monkeypatch=monkeypatch) == 0
    assert not (tmp_path / "report").exists()
    assert (
        "missing: result.json is missing: the stage result is not done" in capsys.readouterr().out
    )


def test_a_newer_run_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(content | {"schema_version": 99}))
    assert depthopt("report", tmp_path, monkeypatch=monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "has schema version 99" in line
    assert not (tmp_path / "report").exists()


def test_compare_writes_one_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        write_run(folder)
    out = tmp_path / "both.html"
    assert depthopt("compare", *folders, "--out", out, "--json", monkeypatch=monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in found["runs"]] == ["one", "two"]
    assert out.read_text().startswith("<!doctype html>")
    assert depthopt("compare", folders[0], "--out", out, monkeypatch=monkeypatch) == 2
