from dataclasses import replace

import pytest

from depthopt.core.candidate import kept_blocks
from depthopt.errors import TableError
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import latency_keys
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyKey, LatencySummary, LatencyTable, MeasurementConditions
from tests.networks import Residual

CONDITIONS = MeasurementConditions("cpu", "onnxruntime", "1.0", 1, "float32", 1, "2026-01-01")
CHAIN = extract(Residual(), (2, 8, 8))


def test_unlike_conditions_never_mix() -> None:
    table = LatencyTable(CONDITIONS)
    with pytest.raises(TableError, match=r"threads 1 against 2, dtype 'float32' against 'int8'"):
        table.merged(LatencyTable(replace(CONDITIONS, threads=2, dtype="int8")))
    later = LatencyTable(replace(CONDITIONS, date="2027-01-01"), {"a": LatencySummary(1, 1, 1, 1)})
    assert table.merged(later).entries == later.entries


def test_a_gap_is_named() -> None:
    keep = candidates(CHAIN, kinds=())[0]
    with pytest.raises(TableError, match=r"no entry for conv 2-4 k3x3 p1,1,1,1 @8x8 relu6"):
        LatencyTable(CONDITIONS).candidate_ms(CHAIN, keep)
    fit = next(c for c in candidates(CHAIN) if c.kind == "fit")
    with pytest.raises(TableError, match="importance table has no entry for fit"):
        ImportanceTable("Residual", "fit").cost(fit)
    assert ImportanceTable("Residual", "fit").cost(keep) == 0


def test_an_add_and_its_projection_are_paid_by_what_leaves_them() -> None:
    by_key = {c.key: c for c in candidates(CHAIN, kinds=("drop", "fit"))}
    keep_b2 = next(c for c in by_key.values() if c.kind == "keep" and c.start == 4)
    convolution, projection = latency_keys(CHAIN, keep_b2)
    assert convolution.residual
    assert projection.spec is not None
    assert projection.spec.kernel_size == (1, 1)
    covering = next(c for c in by_key.values() if c.kind == "fit" and (c.start, c.end) == (3, 5))
    assert [key.residual for key in latency_keys(CHAIN, covering)] == [False]
    drop = next(c for c in by_key.values() if c.kind == "drop" and c.start == 3)
    assert latency_keys(CHAIN, drop) == (LatencyKey(projection.spec, (8, 8), "relu"),)


def test_a_dropped_branch_costs_nothing_where_its_activation_repeats() -> None:
    drop = next(c for c in candidates(CHAIN) if c.kind == "drop" and c.start == 5)
    assert latency_keys(CHAIN, drop) == ()


def test_equal_layers_share_a_key() -> None:
    blocks = kept_blocks(CHAIN)
    moved = LatencyKey(blocks[1].spec, (8, 8), "relu6")
    assert latency_keys(CHAIN, blocks[1]) == (moved,)
