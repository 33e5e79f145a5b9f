"""Checks over commits: the file, and the steps in it."""

import json

import numpy as np
import pytest

from depthopt.check.check import Network, reported
from depthopt.check.figures import Tolerances
from depthopt.check.history import append, read, steps
from depthopt.check.latency import LatencyChange
from depthopt.check.statistics import Change
from depthopt.check.verdict import Verdict
from depthopt.errors import ArtefactError
from depthopt.report.history import history_svg
from depthopt.tables.latency import LatencySummary, MeasurementConditions

CONDITIONS = MeasurementConditions("cpu", "onnxruntime", "1", 1, "float32", 1)


def report(ratio, *, baseline="old", conditions=CONDITIONS, measured=True):
    summary = LatencySummary(10 * ratio, 9, 11, 9)
    change = Change(ratio - 1, ratio - 1.01, ratio - 0.99)
    latency = LatencyChange(summary, summary, change, change, change, "wall", None, 6, 36)
    return reported(
        Network("old.onnx", baseline),
        Network("new.onnx", "new"),
        conditions,
        Tolerances(),
        Verdict("pass", "fine"),
        latency=latency if measured else None,
    )


def history(path, ratios, **options):
    for ratio in ratios:
        append(path, report(ratio, **options))
    return path


def test_what_was_appended_is_read_back(tmp_path):
    entries = read(history(tmp_path / "h" / "history.jsonl", [1.0, 1.02]))
    assert [entry.ratio for entry in entries] == pytest.approx([1.0, 1.02])
    assert entries[0].median_ms == 10
    assert entries[0].conditions == CONDITIONS


def test_only_what_compares_with_the_last_check_is_read(tmp_path):
    path = history(tmp_path / "h.jsonl", [1.0], baseline="older")
    history(path, [1.1], conditions=MeasurementConditions("gpu", "x", "1", 0, "float16", 1))
    history(path, [1.2, 1.3])
    append(path, report(9.0, measured=False))
    assert [entry.ratio for entry in read(path)] == pytest.approx([1.2, 1.3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line[:40], "line 2, is not a check"),
        (lambda line: line.replace('"ratio": 1.0', '"ratio": 1.5'), "line 2, was changed after"),
        (lambda _: json.dumps({"schema_version": 1}), "line 2, is not a check"),
        (lambda _: "[]", "line 2, is not a check"),
        (lambda _: "\xff", "line 2, is not a check"),
    ],
)
def test_a_damaged_line_is_left_out_and_said_to_be(tmp_path, caplog, change, message):
    path = history(tmp_path / "h.jsonl", [1.0, 1.0, 1.02])
    lines = path.read_text().splitlines(keepends=True)
    broken = change(lines[1].rstrip()) + "\n"
    path.write_bytes((lines[0] + broken + lines[2]).encode("latin-1"))
    assert [entry.ratio for entry in read(path)] == pytest.approx([1.0, 1.02])
    assert [message in said for said in caplog.messages] == [True]


def test_a_line_cut_short_does_not_swallow_the_next(tmp_path, caplog):
    path = history(tmp_path / "h.jsonl", [1.0, 1.01])
    path.write_bytes(path.read_bytes()[:-30])
    history(path, [1.02])
    assert [entry.ratio for entry in read(path)] == pytest.approx([1.0, 1.02])
    assert "line 2" in caplog.text


def test_a_line_of_an_earlier_version_has_no_digest_and_is_read(tmp_path, caplog):
    path = history(tmp_path / "h.jsonl", [1.0])
    line = json.loads(path.read_text())
    del line["sha256"]
    path.write_text(json.dumps(line) + "\n")
    assert len(read(path)) == 1
    assert not caplog.messages


def test_a_newer_line_and_a_history_of_none_are_refused(tmp_path):
    path = history(tmp_path / "h.jsonl", [1.0])
    newer = json.dumps(json.loads(path.read_text()) | {"schema_version": 99})
    path.write_text(path.read_text() + newer + "\n")
    with pytest.raises(ArtefactError, match="line 2, has schema version 99"):
        read(path)
    path.write_text("what\n")
    with pytest.raises(ArtefactError, match="nor is any other line"):
        read(path)
    with pytest.raises(ArtefactError, match="does not exist"):
        read(tmp_path / "absent.jsonl")


def test_a_step_is_found_where_it_is(tmp_path):
    noise = 1 + 0.004 * np.random.default_rng(0).standard_normal(30)
    levels = np.where(np.arange(30) < 18, 1.0, 1.05)
    entries = read(history(tmp_path / "h.jsonl", levels * noise))
    (step,) = steps(entries)
    assert step.index == 18
    assert step.change == pytest.approx(0.05, abs=0.005)


def test_noise_alone_has_no_steps_in_19_of_20_histories(tmp_path):
    entry = read(history(tmp_path / "h.jsonl", [1.0]))[0]
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(100):
        ratios = 1 + 0.01 * generator.standard_normal(40)
        found += bool(steps(tuple(_with(entry, ratio) for ratio in ratios)))
    assert found <= 5


def test_a_short_history_has_no_steps(tmp_path):
    assert steps(read(history(tmp_path / "h.jsonl", [1.0, 1.5, 1.5]))) == ()


def test_a_history_is_drawn(tmp_path):
    entries = read(history(tmp_path / "h.jsonl", [1.0, 1.0, 1.001, 1.1, 1.1, 1.101]))
    picture = history_svg(entries, steps(entries))
    assert b"latency over commits" in picture
    assert b"+10.0%" in picture
    assert b"pass" in history_svg(entries[:1], ())


def _with(entry, ratio):
    from dataclasses import replace

    return replace(entry, ratio=float(ratio))


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"schema_version": "2"}', '{"schema_version": true}', "3", "\ud800"]
)
def test_lines_of_odd_values_are_left_out(line, tmp_path, caplog):
    path = tmp_path / "h.jsonl"
    path.write_text(line, errors="surrogatepass")
    with pytest.raises(ArtefactError, match=r"h.jsonl"):
        read(path)
    path = history(tmp_path / "i.jsonl", [1.0, 2.0])
    for ratio in ("NaN", "-1", "0", "1e999"):
        caplog.clear()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        text = "\n".join(json.dumps(line | {"sha256": None}) for line in lines)
        other = tmp_path / "other.jsonl"
        other.write_text(text.replace('"ratio": 2.0', f'"ratio": {ratio}'))
        assert [entry.ratio for entry in read(other)] == [1.0]
        assert "line 2, is not a check" in caplog.text
