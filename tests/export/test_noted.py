import json

import pytest

from depthopt.errors import ArtefactError
from depthopt.export.noted import NOTE, check_noted, note, note_again


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"a")
    note(tmp_path / "a.onnx")
    return tmp_path / "a.onnx"


def test_a_noted_file_is_let_through_and_another_in_its_place_refused(path):
    check_noted(path)
    path.write_bytes(b"b")
    with pytest.raises(ArtefactError, match=r"a\.onnx was changed or exchanged .*export it again"):
        check_noted(path)
    note(path)
    check_noted(path)


def test_a_file_that_was_never_noted_is_let_through(path):
    other = path.with_name("other.onnx")
    other.write_bytes(b"b")
    check_noted(other)
    check_noted(path.parent / "elsewhere" / "other.onnx")


def test_a_changed_note_is_refused_and_made_again(path):
    note_file = path.with_name(NOTE)
    note_file.write_text(note_file.read_text().replace("a.onnx", "b.onnx"))
    with pytest.raises(ArtefactError, match=r"was changed .*exporting again makes it again"):
        check_noted(path)
    note(path)
    check_noted(path)


def test_notes_of_files_that_are_gone_go(path):
    other = path.with_name("b.onnx")
    other.write_bytes(b"b")
    note(other)
    assert json.loads(path.with_name(NOTE).read_text())["files"].keys() == {"a.onnx", "b.onnx"}
    path.unlink()
    note(other)
    assert json.loads(path.with_name(NOTE).read_text())["files"].keys() == {"b.onnx"}


def test_an_export_into_any_folder_leaves_no_note(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"a")
    note_again(tmp_path / "a.onnx")
    assert not (tmp_path / NOTE).exists()
    (tmp_path / "model.json").write_text("{}")
    note_again(tmp_path / "a.onnx")
    check_noted(tmp_path / "a.onnx")
    assert (tmp_path / NOTE).exists()
