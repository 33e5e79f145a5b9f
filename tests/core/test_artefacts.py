import json
from pathlib import Path

import pytest

from depthopt.core.artefacts import load_json, save_json
from depthopt.core.candidate import Candidate
from depthopt.core.operators import Activation, Convolution, Identity
from depthopt.core.plan import Plan
from depthopt.errors import ArtefactError
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
    with pytest.raises(ArtefactError, match=r"'a' is not an entry"):
        load_json(LatencyTable, path)
    with pytest.raises(ArtefactError, match="does not exist"):
        load_json(LatencyTable, tmp_path / "none.json")


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
