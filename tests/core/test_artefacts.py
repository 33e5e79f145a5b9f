import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from depthopt.core.artefacts import load_json, save_json, write_bytes
from depthopt.core.candidate import Candidate
from depthopt.core.operators import Activation, Convolution, Identity
from depthopt.core.plan import Plan
from depthopt.errors import ArtefactError, UsageError, WriteFailed
from depthopt.tables.latency import (
    LatencyKey,
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
)

TABLE = LatencyTable(
    MeasurementConditions("cpu", "onnxruntime", "1.0", 1, "float32", 1),
    {
        LatencyKey(Convolution(1, 2, (3, 3)), (8, 8)): LatencySummary(0.1, 0.09, 0.12, 7),
        LatencyKey(Identity(2), (8, 8), residual=True): LatencySummary(1, 1, 1, 1),
    },
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_json(TABLE, tmp_path / "table.json")
    assert load_json(LatencyTable, tmp_path / "table.json") == TABLE
    merged = Convolution(1, 2, (3, 3), (2, 2), (1, 0, 1, 0))
    merge = Candidate(0, 2, "merge", (merged,), Activation("relu"), "0,1")
    plan = Plan("net", (1, 8, 8), (merge,), 1.5, 3.0, 0.1)
    save_json(plan, tmp_path / "deep" / "plan.json")
    assert load_json(Plan, tmp_path / "deep" / "plan.json") == plan


def test_a_table_has_one_line_per_entry(tmp_path: Path) -> None:
    save_json(TABLE, tmp_path / "table.json")
    lines = (tmp_path / "table.json").read_text().splitlines()
    assert sum("median_ms" in line for line in lines) == 2


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    save_json(TABLE, path)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ArtefactError, match=r"table.json is not whole JSON"):
        load_json(LatencyTable, path)


def test_other_types_newer_schemas_and_wrong_fields_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    save_json(TABLE, path)
    with pytest.raises(ArtefactError, match="holds LatencyTable, expected Plan"):
        load_json(Plan, path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"schema_version": 99}))
    with pytest.raises(ArtefactError, match="schema version 99"):
        load_json(LatencyTable, path)
    wrong = {"conv 8-8 k1x1 @7x7": {"median_ms": "fast"}}
    path.write_text(json.dumps(content | {"entries": wrong}))
    with pytest.raises(ArtefactError, match=r"entries.conv 8-8 k1x1 @7x7.median_ms: .* number"):
        load_json(LatencyTable, path)
    path.write_text(json.dumps(content | {"entries": {"a": {"median_ms": "fast"}}}))
    with pytest.raises(ArtefactError, match=r"'a' is no entry"):
        load_json(LatencyTable, path)
    with pytest.raises(ArtefactError, match="does not exist"):
        load_json(LatencyTable, tmp_path / "none.json")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_may_be_read_by_whom_any_other_may(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    write_bytes(tmp_path / "file", b"content")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link", tmp_path / "there" / "target"
    target.write_text("old")
    link.symlink_to(target)
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_and_a_device_are_written_to_and_stay(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_bytes)
        write_bytes(pipe, b"through")
        assert read.result() == b"through"
    write_bytes(Path("/dev/null"), b"gone")
    assert Path("/dev/null").is_char_device()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with pytest.raises(WriteFailed, match="No space left"):
        write_bytes(Path("/dev/full"), b"x")
    assert list(tmp_path.iterdir()) == [pipe]


def test_what_is_sent_to_standard_output_follows_what_is_there(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from depthopt.core.artefacts import write_bytes;"
        "print('before', flush=True); write_bytes(Path('/dev/stdout'), b'sent'); print(' after')"
    )
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\nsent after\n"


@pytest.mark.parametrize("version", ["2", True, 0, -1, 1.5, None, [2]])
def test_a_schema_version_that_is_none_is_told(version: object, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    save_json(TABLE, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version}))
    with pytest.raises(ArtefactError, match=r"has schema version .*, expected 1 to 2;"):
        load_json(LatencyTable, path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("median_ms", -1), ("median_ms", float("nan")), ("q1_ms", 1e300), ("count", True)],
)
def test_numbers_that_no_measurement_gives_are_refused(
    field: str, value: object, tmp_path: Path
) -> None:
    path = tmp_path / "table.json"
    save_json(TABLE, path)
    content = json.loads(path.read_text())
    next(iter(content["entries"].values()))[field] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match=rf"table.json: entries\..*{field}: Input should be"):
        load_json(LatencyTable, path)


def test_a_value_of_megabytes_is_not_written_out(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"type": "x" * 10**6, "schema_version": 2}))
    with pytest.raises(ArtefactError) as caught:
        load_json(LatencyTable, path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", [".", "there", "/"])
def test_a_folder_is_no_file_to_write(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    with pytest.raises(UsageError, match="is a folder; name a file in it"):
        write_bytes(Path(name), b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
