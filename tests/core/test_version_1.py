"""Files of schema version 1, written out by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from depthopt.core.artefacts import load_json
from depthopt.core.candidate import Candidate
from depthopt.core.chain import Barrier, Block, Chain, Ending, Layer, Layout, Skip, Unused
from depthopt.core.operators import Activation, AveragePooling, Convolution
from depthopt.core.plan import Frontier, FrontierPoint, Plan
from depthopt.core.version_1 import upgraded
from depthopt.errors import ArtefactError
from depthopt.tables.latency import LatencyKey, LatencySummary, LatencyTable, MeasurementConditions
from depthopt.tables.validation import PlanTiming, Validation

RELU = Activation("relu")


def spec(i: int, o: int, k: int = 1, s: int = 1, p: int = 0, groups: int = 1) -> dict[str, Any]:
    """A convolution as it was written."""
    return {
        "in_channels": i,
        "out_channels": o,
        "kernel_size": [k, k],
        "stride": [s, s],
        "padding": [p, p, p, p],
        "dilation": [1, 1],
        "groups": groups,
    }


def candidate(
    start: int,
    end: int,
    kind: str,
    convolution: dict[str, Any] | None,
    activation: str | None = None,
    kept: tuple[int, ...] = (),
) -> dict[str, Any]:
    """A candidate as it was written."""
    return {
        "start": start,
        "end": end,
        "kind": kind,
        "spec": convolution,
        "activation": activation,
        "kept": list(kept),
    }


OLD = [
    candidate(0, 1, "keep", spec(3, 4, 3, 2, 1), "relu"),
    candidate(1, 3, "drop", None, "leaky_relu:0.2"),
    candidate(1, 3, "drop", spec(4, 8, 1, 2)),
    candidate(0, 2, "fit", spec(4, 4, 3, 1, 1, groups=4), "relu6"),
    candidate(0, 3, "merge", spec(3, 8, 5, 2, 2), "relu", (0, 2)),
    candidate(1, 3, "merge", spec(4, 4, 1, groups=4), None, ()),
]
NEW = [
    Candidate(0, 1, "keep", (Convolution(3, 4, (3, 3), (2, 2), (1, 1, 1, 1)),), RELU),
    Candidate(1, 3, "drop", (), Activation("leaky_relu", 0.2)),
    Candidate(1, 3, "drop", (Convolution(4, 8, (1, 1), (2, 2)),)),
    Candidate(
        0, 2, "fit", (Convolution(4, 4, (3, 3), padding=(1, 1, 1, 1), groups=4),),
        Activation("relu6"),
    ),
    Candidate(0, 3, "merge", (Convolution(3, 8, (5, 5), (2, 2), (2, 2, 2, 2)),), RELU, "0,2"),
    Candidate(1, 3, "merge", (Convolution(4, 4, (1, 1), groups=4),), None, "none"),
]  # fmt: skip

CONDITIONS = {
    "device": "a GPU",
    "runtime": "tensorrt",
    "runtime_version": "10",
    "threads": 0,
    "dtype": "float16",
    "batch": 8,
    "date": "2026-01-02",
    "clock_mhz": 1410.0,
}
NEW_CONDITIONS = MeasurementConditions(
    "a GPU", "tensorrt", "10", None, "float16", 8, "2026-01-02", 1410.0
)


def write(folder: Path, kind: str, body: dict[str, Any]) -> Path:
    path = folder / "file.json"
    path.write_text(json.dumps({"type": kind, "schema_version": 1, **body}))
    return path


@pytest.mark.parametrize(("old", "new"), list(zip(OLD, NEW, strict=True)))
def test_a_candidate_of_each_kind(old: dict[str, Any], new: Candidate) -> None:
    assert Candidate.parse(upgraded(old)) == new
    assert upgraded(old) == new.key or new.detail == "none"


def test_a_plan(tmp_path: Path) -> None:
    body = {
        "model": "net",
        "input_size": [3, 8, 8],
        "choices": [OLD[0], OLD[1]],
        "latency_ms": 1.5,
        "original_ms": 3.0,
        "cost": 0.1,
    }
    assert load_json(Plan, write(tmp_path, "Plan", body)) == Plan(
        "net", (3, 8, 8), (NEW[0], NEW[1]), 1.5, 3.0, 0.1
    )


def test_a_frontier(tmp_path: Path) -> None:
    body = {
        "model": "net",
        "input_size": [3, 8, 8],
        "original_ms": 3.0,
        "candidates": OLD,
        "points": [{"latency_ms": 1.0, "cost": 0.5, "choices": [0, 1]}],
    }
    assert load_json(Frontier, write(tmp_path, "Frontier", body)) == Frontier(
        "net", (3, 8, 8), 3.0, tuple(NEW), (FrontierPoint(1.0, 0.5, (0, 1)),)
    )


def block(i: int, convolution: dict[str, Any], before: int, after: int) -> dict[str, Any]:
    """A block as it was written."""
    return {
        "name": f"b{i}",
        "spec": convolution,
        "input_size": [before, before],
        "output_size": [after, after],
        "activation": "relu" if i else None,
        "input": f"x{i}",
        "linear": f"l{i}",
        "preactivation": f"p{i}",
        "output": f"x{i + 1}",
    }


def skip(source: int, target: int, **fields: Any) -> dict[str, Any]:
    """A skip as it was written."""
    nothing = dict.fromkeys(("projection", "projection_name", "pool", "pool_name", "ending"))
    names = {"add": f"add{target}", "branch": f"n{source}", "gated": False}
    return {"source": source, "target": target, **names, **nothing, **fields}


def test_a_chain_with_skips_of_every_sort(tmp_path: Path) -> None:
    ending = {
        "preactivation": "add3", "activation": "relu", "output": "act", "channels": 8,
        "size": [4, 4],
    }  # fmt: skip
    body = {
        "model": "net",
        "input_size": [3, 8, 8],
        "blocks": [
            block(0, spec(3, 4, 3, 1, 1), 8, 8),
            block(1, spec(4, 4, 3, 1, 1), 8, 8),
            block(2, spec(4, 8, 3, 2, 1), 8, 4),
        ],
        "skips": [
            skip(1, 2),
            skip(1, 3, projection=spec(4, 8, 1, 2), projection_name="p.0"),
            skip(
                0, 3, pool=spec(3, 3, 2, 2, groups=3), pool_name="pool",
                projection=spec(3, 8), projection_name="q.0", ending=ending, gated=True,
            ),
        ],
        "barriers": [{"position": 1, "node": "mul", "reason": "mul (mul)", "region": [0, 2]}],
        "unused": [{"node": "c", "reason": "is called twice"}],
        "conv_macs": 7,
    }  # fmt: skip
    stem, same, halving = (
        Convolution(3, 4, (3, 3), padding=(1, 1, 1, 1)),
        Convolution(4, 4, (3, 3), padding=(1, 1, 1, 1)),
        Convolution(4, 8, (3, 3), (2, 2), (1, 1, 1, 1)),
    )
    projection, wide = Convolution(4, 8, (1, 1), (2, 2)), Convolution(3, 8, (1, 1))
    pool = AveragePooling(3, (2, 2), (2, 2))
    blocks = (
        Block("b0", stem, Layout(3, (8, 8), 4, (8, 8)), None, "x0", "l0", "p0", "x1"),
        Block("b1", same, Layout(4, (8, 8), 4, (8, 8)), RELU, "x1", "l1", "p1", "x2"),
        Block("b2", halving, Layout(4, (8, 8), 8, (4, 4)), RELU, "x2", "l2", "p2", "x3"),
    )
    skips = (
        Skip(1, 2, "add2", "n1"),
        Skip(1, 3, "add3", "n1", (Layer("p.0", projection),)),
        Skip(
            0, 3, "add3", "n0", (Layer("pool", pool), Layer("q.0", wide)),
            Ending("add3", RELU, "act", 8, (4, 4)), gated=True,
        ),
    )  # fmt: skip
    barriers = (Barrier(1, "mul", "mul (mul)", (0, 2)),)
    unused = (Unused("c", "is called twice"),)
    assert load_json(Chain, write(tmp_path, "Chain", body)) == Chain(
        "net", (3, 8, 8), blocks, skips, barriers, unused, 7
    )


def test_a_latency_table_of_an_accelerator(tmp_path: Path) -> None:
    entry = {"median_ms": 1.0, "q1_ms": 0.9, "q3_ms": 1.1, "count": 9, "settled": True}
    body = {
        "conditions": CONDITIONS,
        "entries": {"conv 8-8 k1x1 @7x7 +add relu": entry},
        "networks": {},
    }
    key = LatencyKey(Convolution(8, 8, (1, 1)), (7, 7), RELU, residual=True)
    assert load_json(LatencyTable, write(tmp_path, "LatencyTable", body)) == LatencyTable(
        NEW_CONDITIONS, {key: LatencySummary(1.0, 0.9, 1.1, 9, True)}
    )
    body["conditions"] = CONDITIONS | {"threads": 2}
    found = load_json(LatencyTable, write(tmp_path, "LatencyTable", body))
    assert found.conditions.threads == 2


def test_a_validation(tmp_path: Path) -> None:
    timing = {"predicted_ms": 1.0, "predicted_speedup": 2.0, "measured_speedup": 1.9}
    body = {
        "network": "net @3x8x8",
        "conditions": CONDITIONS,
        "seed": 3,
        "blocks_share": None,
        "timings": [timing | {"replaced": [NEW[4].key, "merge 1:3 4-4 k1x1 g4 of "]}],
    }
    found = load_json(Validation, write(tmp_path, "Validation", body))
    assert str(found.network) == "net @3x8x8"
    assert found.conditions == NEW_CONDITIONS
    assert found.timings == (PlanTiming(1.0, 2.0, 1.9, (NEW[4], NEW[5])),)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (OLD[0] | {"spec": 3}, r"choices\.0\.spec: .*dictionary"),
        (OLD[0] | {"spec": spec(3, 4) | {"stride": 2}}, r"choices\.0\.spec\.stride: .*tuple"),
        (OLD[0] | {"kind": "Keep"}, "'Keep 0:1 .*' is not a candidate"),
        (OLD[0] | {"start": None}, r"choices\.0\.start: .*integer"),
        (OLD[4] | {"kept": 2}, r"choices\.0\.kept: .*tuple"),
    ],
)
def test_what_version_1_did_not_write_is_refused_with_its_place(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    body = {
        "model": "net",
        "input_size": [3, 8, 8],
        "choices": [wrong],
        "latency_ms": 1.5,
        "original_ms": 3.0,
        "cost": 0.1,
    }
    with pytest.raises(ArtefactError, match=rf"file\.json: {message}"):
        load_json(Plan, write(tmp_path, "Plan", body))
