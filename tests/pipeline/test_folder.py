from pathlib import Path

import timm

from depthopt.pipeline.folder import RunFolder


def test_a_stage_is_done_until_something_it_depends_on_changes(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "in").write_text("a")
    (tmp_path / "out").write_text("b")
    made_from = folder.digest({"epochs": 1}, ["in"])
    assert not folder.is_done("stage", made_from)
    folder.finish("stage", made_from, ["out"], 1.5)
    again = RunFolder(tmp_path)
    assert again.is_done("stage", again.digest({"epochs": 1}, ["in"]))
    assert not again.is_done("stage", again.digest({"epochs": 2}, ["in"]))
    assert again.is_done("stage", made_from, ["out"])
    assert not again.is_done("stage", made_from, ["out", "new in this version"])
    record = again.manifest.stages["stage"]
    assert record.seconds == 1.5
    assert record.versions["timm"] == timm.__version__
    (tmp_path / "out").write_text("cut")
    assert not again.is_done("stage", made_from)
    (tmp_path / "out").write_text("b")
    (tmp_path / "in").write_text("changed")
    assert not again.is_done("stage", again.digest({"epochs": 1}, ["in"]))
