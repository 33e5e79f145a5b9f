import json

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load, save

from depthopt.core import digests
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.plan import Plan
from depthopt.errors import ArtefactError, CheckFailed

PLAN = Plan("net", (1, 8, 8), (), 1.5, 3.0, 0.25)
TENSORS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(5, np.int64)}


@pytest.fixture
def path(tmp_path):
    save_json(PLAN, tmp_path / "plan.json", made_from="x")
    return tmp_path / "plan.json"


def test_a_changed_value_is_refused_with_what_to_do(path):
    path.write_text(path.read_text().replace("1.5", "1.25"))
    with pytest.raises(
        ArtefactError, match=r'plan\.json was changed after .*; make it again, or delete its line "'
    ):
        load_json(Plan, path)
    content = json.loads(path.read_text())
    del content["sha256"]
    path.write_text(json.dumps(content))
    assert load_json(Plan, path).latency_ms == 1.25, "as the message says"


def test_a_file_laid_out_otherwise_is_whole(path):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(content.items())), indent=7))
    assert load_json(Plan, path) == PLAN


def test_no_flipped_bit_changes_a_value_in_silence(path, caplog):
    """Every byte, one bit of it: refused, or of the same value, or read with a line of the log."""
    whole = path.read_bytes()
    read = 0
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        caplog.clear()
        digests._tell_of_none.cache_clear()
        try:
            found = load_json(Plan, path)
        except ArtefactError:
            continue
        read += 1
        assert found == PLAN
        assert caplog.messages or json.loads(whole) == json.loads(flipped)
    assert read < len(whole) / 4


def test_a_file_without_a_digest_is_read_and_said_to_be_once(path, caplog):
    content = json.loads(path.read_text())
    del content["sha256"]
    path.write_text(json.dumps(content))
    for _ in range(2):
        assert load_json(Plan, path) == PLAN
    (said,) = caplog.messages
    assert said.startswith(f"{path} carries no sha256")


def test_what_a_file_is_made_from_is_asked_where_that_matters(path):
    assert load_json(Plan, path, made_from=("w", "x")) == PLAN
    with pytest.raises(ArtefactError, match="is not of this run"):
        load_json(Plan, path, made_from=("y",))
    content = json.loads(path.read_text())
    del content["made_from"]
    path.write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match="was changed"):
        load_json(Plan, path, made_from=("x",))
    save_json(PLAN, path)
    with pytest.raises(ArtefactError, match="is not of this run"):
        load_json(Plan, path, made_from=("x",))
    del (content := json.loads(path.read_text()))["sha256"]
    path.write_text(json.dumps(content))
    assert load_json(Plan, path, made_from=("x",)) == PLAN, "of an earlier version"


def test_no_file_holds_what_json_has_no_word_for(tmp_path):
    with pytest.raises(CheckFailed, match="latency_ms of a Plan is NaN or infinite"):
        save_json(Plan("net", (1, 8, 8), (), float("nan"), 3.0, 0.25), tmp_path / "plan.json")
    assert list(tmp_path.iterdir()) == []


def test_a_sealed_file_is_read_by_the_library_and_is_the_same_every_time():
    content = digests.sealed(save(TENSORS, {"of": "a test"}))
    assert digests.metadata(content).keys() == {"of", "sha256"}
    assert digests.sealed(content) == content == digests.sealed(save(TENSORS, {"of": "a test"}))
    assert {name: value.tolist() for name, value in load(content).items()} == {
        name: value.tolist() for name, value in TENSORS.items()
    }


def test_no_flipped_bit_of_a_sealed_file_is_let_through(tmp_path, caplog):
    whole = digests.sealed(save(TENSORS, {"of": "a test"}))
    path = tmp_path / "tensors"
    digests.check_tensors(whole, path, own=True, instead="do it again")
    read = 0
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        try:
            tensors = load(bytes(flipped))
            digests.check_tensors(bytes(flipped), path, own=True, instead="do it again")
        except (SafetensorError, ArtefactError):
            continue
        read += 1  # the name of the digest, or a blank
        assert {name: value.tolist() for name, value in tensors.items()} == {
            name: value.tolist() for name, value in TENSORS.items()
        }
    assert read < len(whole) / 10
    assert len(caplog.messages) == 1


def test_another_programs_file_is_let_through_without_a_word(tmp_path, caplog):
    for own in (False, True):
        digests.check_tensors(save(TENSORS), tmp_path / "t", own=own, instead="")
        assert len(caplog.messages) == own


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, b"\xff" * 20, b"\x02" + b"\x00" * 7 + b"[]"])
def test_what_is_no_safetensors_file_is_refused(content, tmp_path):
    with pytest.raises(ArtefactError, match=r"t is not whole safetensors .*; again"):
        digests.check_tensors(content, tmp_path / "t", own=True, instead="again")


def test_a_signed_text_tells_whether_it_was_changed():
    text = digests.signed("seed: 1\n")
    assert digests.is_as_signed(text)
    assert digests.is_as_signed(text.replace("1", "2")) is False
    assert digests.is_as_signed(text + "more: 1\n") is False
    assert digests.is_as_signed("seed: 1\n") is None
