"""Where latency tables lie."""

import dataclasses

from depthopt.core.table_store import table_path
from depthopt.core.tables import MeasurementConditions

CONDITIONS = MeasurementConditions(
    "AMD EPYC 7763 64-Core Processor", "onnxruntime", "1.32.0", 1, "float32", 1, "2026-01-02"
)


def test_the_path_names_the_conditions(tmp_path):
    expected = tmp_path / "amd-epyc-7763-64-core-processor" / "onnxruntime-1.32.0-float32-b1.json"
    assert table_path(tmp_path, CONDITIONS) == expected
    two = dataclasses.replace(CONDITIONS, threads=2)
    assert table_path(tmp_path, two).name == "onnxruntime-1.32.0-float32-b1-t2.json"
