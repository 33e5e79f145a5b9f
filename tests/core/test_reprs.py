"""What a notebook shows of the values that people hold: one line of words."""

import pytest
import torch

from depthopt.check.check import CheckReport, Network
from depthopt.check.figures import Tolerances
from depthopt.check.verdict import Verdict
from depthopt.core.artefacts import load_json
from depthopt.core.candidate import Candidate
from depthopt.core.counted import counted
from depthopt.core.metric import Metric
from depthopt.core.operators import Activation
from depthopt.core.plan import Frontier, FrontierPoint
from depthopt.core.training import EpochRecord, TrainResult
from depthopt.core.trials import Trial, Trials
from depthopt.data.dataset import Dataset
from depthopt.data.tensors import TensorSplit
from depthopt.latency.pick import MeasuredPick
from depthopt.pipeline.result import Result
from depthopt.tables.importance import Importance
from depthopt.tables.latency import (
    LatencyKey,
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
    NetworkKey,
)
from depthopt.tables.validation import PlanTiming, Validation
from tests.report.run_folder import CONDITIONS, small_candidates, small_chain, tables, write_run

CHAIN = small_chain()
CANDIDATES = small_candidates(CHAIN)
LATENCY, IMPORTANCE = tables(CHAIN, CANDIDATES)
DROP = Candidate(1, 3, "drop", (), Activation("relu"))
FRONTIER = Frontier(
    "net", (4, 16, 16), 2.0, (*CANDIDATES[:6], DROP),
    (FrontierPoint(1.0, 0.5, (0, 6, 3, 4, 5)), FrontierPoint(2.0, 0.0, (0, 1, 2, 3, 4, 5))),
)  # fmt: skip
PLAN = FRONTIER.plan(0)
ACCURACY = Metric("accuracy", "%", scale=100)
EPOCH = EpochRecord(1.0, 1e-3, 2.0, 100.0, 94.0)

SHOWN = {
    "Chain of net @4x16x16: 6 blocks, 1 skip, 1 barrier": CHAIN,
    "Block net.3: 4-8 k3x3 s2x2 p1,1,1,1 relu @16x16": CHAIN.blocks[3],
    "Candidate 'drop 1:3 identity relu'": DROP,
    "Plan of net: 2.00x predicted, 2 of 6 blocks replaced": PLAN,
    "Frontier of net: 2 plans, 1.00x to 2.00x predicted, cost 0 to 0.5": FRONTIER,
    "FrontierPoint: 1 ms, cost 0.5, 5 choices": FRONTIER.points[0],
    "LatencyTable of net @4x16x16: 9 entries, on a device, onnxruntime 1.2.3, float32, batch 1, "
    "1 thread": LATENCY,
    "LatencyTable of no network: 0 entries, on a card, tensorrt 10, float16, batch 8": LatencyTable(
        MeasurementConditions("a card", "tensorrt", "10", None, "float16", 8)
    ),
    "LatencyKey 'conv 8-8 k1x1 @7x7 relu'": LatencyKey.parse("conv 8-8 k1x1 @7x7 relu"),
    "NetworkKey 'net @4x16x16'": NetworkKey.of(CHAIN),
    "LatencySummary: 0.5 ms (0.4 to 0.6, 1 measurement)": LatencySummary(0.5, 0.4, 0.6, 1),
    "ImportanceTable of net: 7 candidates by regression on 64 images": IMPORTANCE,
    "Importance: cost 0.5, loss increase -0.1": Importance(0.5, loss_increase=-0.1),
    "CheckReport of new.onnx against old.onnx: pass": CheckReport(
        "pass", Network("old.onnx", "0"), Network("new.onnx", "1"), CONDITIONS, Tolerances(),
        Verdict("pass", "not slower"),
    ),
    "TrainResult: 1 epoch, 12 steps, accuracy 94.00 %": TrainResult((EPOCH,), 12, ACCURACY),
    "Trials: 2 plans, 1 tried": Trials(
        (Trial(PLAN, 2.1), Trial(PLAN, 2.1, loss=0.3)), ACCURACY
    ),
    "Trial: 2.10x measured, loss 0.3; Plan of net: 2.00x predicted, 2 of 6 blocks replaced": Trial(
        PLAN, 2.1, loss=0.3
    ),
    "MeasuredPick of net: 2.10x measured, 2.00x predicted, 2 of 6 blocks replaced, 3 plans timed":
    MeasuredPick(PLAN, 2.1, 3),
    "Validation of net @4x16x16: 1 random plan, median absolute error 10.0%": Validation(
        NetworkKey.of(CHAIN), CONDITIONS, 0, None, (PlanTiming(1.0, 2.2, 2.0, (DROP,)),)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("line", "value"), [*SHOWN.items()], ids=[*SHOWN])
def test_a_value_is_shown_as_one_line(line, value):
    assert repr(value) == line


def test_a_result_and_a_data_set_are_shown_as_one_line(tmp_path):
    write_run(tmp_path)
    found = load_json(Result, tmp_path / "result.json")
    assert repr(found) == (
        f"Result of net on digits: {found.speedup:.2f}x measured, accuracy 98.12 % to 97.38 %"
    )
    assert repr(found.compressed).startswith("NetworkFigures: metric 97.38, ")
    split = TensorSplit(torch.zeros(3, 1, 8, 8), torch.zeros(3, dtype=torch.long))
    data = Dataset("digits", ("0", "1"), (1, 8, 8), split, split, split)
    assert repr(data) == "Dataset digits @1x8x8: 3 train, 3 calibration, 3 test"


def test_what_files_and_messages_hold_is_unchanged():
    assert str(DROP) == DROP.key == "drop 1:3 identity relu"
    assert str(NetworkKey.of(CHAIN)) == "net @4x16x16"


def test_one_is_no_plural():
    assert [counted(n, "thread") for n in (0, 1, 2000)] == [
        "0 threads",
        "1 thread",
        "2,000 threads",
    ]
    assert counted(2, "entry", "entries") == "2 entries"
