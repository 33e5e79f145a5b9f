"""Where latency tables lie, and which are refused."""

import dataclasses

import pytest

from depthopt.core.artefacts import save_json
from depthopt.core.tables import LatencySummary, LatencyTable, MeasurementConditions
from depthopt.errors import ArtefactError, TableError
from depthopt.latency.files import load_table, table_path

CONDITIONS = MeasurementConditions(
    "AMD EPYC 7763 64-Core Processor", "onnxruntime", "1.32.0", 1, "float32", 1, "2026-01-02"
)


def test_the_path_names_the_conditions(tmp_path):
    expected = tmp_path / "amd-epyc-7763-64-core-processor" / "onnxruntime-1.32.0-float32-b1.json"
    assert table_path(tmp_path, CONDITIONS) == expected
    two = dataclasses.replace(CONDITIONS, threads=2)
    assert table_path(tmp_path, two).name == "onnxruntime-1.32.0-float32-b1-t2.json"


def test_a_table_that_is_not_there_is_empty(tmp_path):
    assert load_table(tmp_path / "none.json", CONDITIONS) == LatencyTable(CONDITIONS)


def test_a_table_comes_back_and_another_day_makes_no_difference(tmp_path):
    path = table_path(tmp_path, CONDITIONS)
    table = LatencyTable(CONDITIONS, {"conv": LatencySummary(1.0, 0.9, 1.1, 20)})
    save_json(table, path)
    assert load_table(path, dataclasses.replace(CONDITIONS, date="2026-05-06")) == table


def test_another_devices_table_is_refused_and_both_are_named(tmp_path):
    path = tmp_path / "table.json"
    save_json(LatencyTable(CONDITIONS), path)
    other = dataclasses.replace(CONDITIONS, device="Cortex-A76", runtime_version="1.33.0")
    with pytest.raises(TableError, match=r"EPYC.*Cortex-A76.*1\.32\.0.*1\.33\.0"):
        load_table(path, other)


def test_a_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "table.json"
    save_json(LatencyTable(CONDITIONS), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtefactError, match="not whole JSON"):
        load_table(path, CONDITIONS)
