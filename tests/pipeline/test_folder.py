from pathlib import Path

import pytest
import timm

from depthopt.core.artefacts import save_json
from depthopt.core.plan import Plan
from depthopt.errors import ArtefactError
from depthopt.pipeline.folder import RunFolder
from depthopt.pipeline.kept import read_kept


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


def test_what_is_not_as_its_stage_left_it_is_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "out").write_text("a")
    folder.start("stage", "x", None)
    folder.finish("stage", "x", ["out"], 1.0)
    assert folder.why_changed("out") is None
    folder.discard_changed("stage", ["out"])
    (tmp_path / "out").write_text("b")
    assert folder.why_changed("out") == f"{tmp_path}/out was changed after the stage stage wrote it"
    folder.discard_changed("stage", ["out"])
    assert not (tmp_path / "out").exists()
    (said,) = caplog.messages
    assert said.endswith("it is deleted, and the stage stage done again")
    folder.start("stage", "x", None)
    assert "stage" not in RunFolder(tmp_path).manifest.stages
    (tmp_path / "out").write_text("a part")
    assert folder.why_changed("out") is None, "it is being made"


def test_a_stage_begun_from_something_else_may_write_over_its_files(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "out").write_text("a")
    folder.start("stage", "x", None)
    folder.finish("stage", "x", ["out"], 1.0)
    folder.start("stage", "y", None)
    (tmp_path / "out").write_text("b")
    assert folder.why_changed("out") is None
    folder.start("stage", "x", None)
    assert folder.begun("stage") == ("y", "x")
    assert folder.made_from("stage") == "x"


def test_a_damaged_manifest_is_refused_with_what_it_is_for(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.start("stage", "x", None)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"x"', '"y"'))
    with pytest.raises(ArtefactError, match=r"was changed .* without it, all are done again"):
        RunFolder(tmp_path)


def test_what_a_stage_kept_is_read_if_it_is_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan, path = Plan("net", (1, 8, 8), (), 1.5, 3.0, 0.25), tmp_path / "plan.json"
    assert read_kept(Plan, path, ("x",)) is None
    save_json(plan, path, made_from="x")
    assert read_kept(Plan, path, ("x",)) == plan
    assert not caplog.messages
    assert read_kept(Plan, path, ("y",)) is None
    path.write_text(path.read_text().replace("1.5", "1.6"))
    assert read_kept(Plan, path, ("x",)) is None
    path.write_text("{")
    assert read_kept(Plan, path, ("x",)) is None
    ends = [message.endswith("is not used, and is computed again") for message in caplog.messages]
    assert ends == [True] * 3
