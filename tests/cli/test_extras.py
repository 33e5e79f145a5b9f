"""What a plain install leaves out: told before the work, and nothing else is lost."""

import io
import sys

import pytest
from rich.console import Console

from depthopt.cli import options
from depthopt.cli.main import main
from depthopt.core.extras import EXTRAS, has, pip, require_extra
from depthopt.errors import UsageError
from depthopt.report import written

RECIPE = """
model: {name: mobilenetv2_035, input_size: [1, 32, 32]}
data: {source: digits, calibration_images: 64}
budget: {speedup: 1.5}
"""


@pytest.fixture
def plain(monkeypatch):
    for package in EXTRAS:
        monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.usefixtures("plain")
def test_the_message_holds_the_command() -> None:
    assert not has("matplotlib")
    with pytest.raises(UsageError, match=r'^--plot needs matplotlib; run: pip install "depthopt'):
        require_extra("matplotlib", "--plot")
    assert pip("ray") == 'pip install "depthopt[ray]"'


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["extract", "resnet18", "--svg", "x.svg"], "plots"),
        (["estimate", "r.yaml", "--plot", "x.svg"], "plots"),
        (["estimate", "r.yaml", "--workers", "2"], "workers"),
        (["profile", "resnet18", "--validate", "2", "--plot", "x.svg"], "plots"),
        (["check", "a.onnx", "b.onnx", "--history", "h", "--history-plot", "x.svg"], "plots"),
    ],
)
def test_each_option_says_so_first(words, extra, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE)
    monkeypatch.setattr("sys.argv", ["depthopt", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f'pip install "depthopt[{extra}]"')
    assert [path.name for path in tmp_path.iterdir()] == ["r.yaml"]


@pytest.mark.usefixtures("plain")
def test_a_report_is_written_without_plots(monkeypatch, tmp_path, caplog) -> None:
    monkeypatch.setattr(written, "report_page", lambda _: "page")
    assert written.write_report(None, tmp_path) == [tmp_path / "report.html"]
    assert (tmp_path / "report.html").read_text() == "page"
    assert caplog.messages[-1].endswith('pip install "depthopt[plots]"')


@pytest.mark.parametrize("terminal", [True, False])
def test_while_torch_loads_a_terminal_says_so(terminal, monkeypatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(options, "err", Console(file=said, force_terminal=terminal, width=80))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with options.loading():
        pass
    assert ("loading torch ..." in said.getvalue()) == terminal
    assert not said.getvalue() or said.getvalue().endswith("\x1b[2K")  # the line is gone again
    monkeypatch.undo()
    monkeypatch.setattr(options, "err", Console(file=io.StringIO(), force_terminal=terminal))
    monkeypatch.setitem(sys.modules, "torch", sys)
    with options.loading():
        assert options.err.file.getvalue() == ""
