"""A run's plots as files."""

import shutil
from pathlib import Path

from depthopt.report.figures import png, svg
from depthopt.report.plots import run_figures
from depthopt.report.reading import read_run
from tests.report.run_folder import small_candidates, small_chain, write_run


def test_a_finished_run_is_drawn_the_same_every_time(tmp_path: Path) -> None:
    write_run(tmp_path)
    drawn = {name: svg(draw()) for name, draw in run_figures(read_run(tmp_path)).items()}
    assert list(drawn) == ["frontier", "plan", "importance", "training"]
    again = {name: svg(draw()) for name, draw in run_figures(read_run(tmp_path)).items()}
    assert drawn == again
    text = drawn["frontier"].decode()
    for label in ("before finetuning", "finetuned", "the plan, measured", "original"):
        assert f">{label}</text>" in text


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    chain = small_chain(r"<b>$\no$</b>")
    write_run(tmp_path, chain, small_candidates(chain))
    for name, draw in run_figures(read_run(tmp_path)).items():
        drawn = svg(draw()).decode()
        assert "<b>" not in drawn
        if name in {"frontier", "importance"}:
            assert r"&lt;b&gt;$\no$&lt;/b&gt;" in drawn


def test_plots_are_pictures_too(tmp_path: Path) -> None:
    write_run(tmp_path)
    plots = run_figures(read_run(tmp_path))
    assert png(plots["plan"]()).startswith(b"\x89PNG")


def test_an_unfinished_run_is_drawn_as_far_as_it_is(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "result.json").unlink()
    shutil.rmtree(tmp_path / "finetuned")
    drawn = {name: svg(draw()) for name, draw in run_figures(read_run(tmp_path)).items()}
    assert list(drawn) == ["frontier", "plan", "importance"]
    assert b"accuracy" not in drawn["frontier"]
