import pytest

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.operators import Activation, Convolution, Identity
from depthopt.errors import TableError
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import candidate_ms, latency_keys, parameters
from depthopt.tables.latency import LatencyKey, LatencySummary, LatencyTable, MeasurementConditions
from tests.networks import Residual

CONDITIONS = MeasurementConditions("cpu", "onnxruntime", "1.0", 1, "float32", 1, "2026-01-01")
CHAIN = extract(Residual(), (2, 8, 8))
RELU = Activation("relu")


def test_a_gap_is_named() -> None:
    keep = candidates(CHAIN, kinds=())[0]
    with pytest.raises(TableError, match=r"no entry for conv 2-4 k3x3 p1,1,1,1 @8x8 relu6"):
        candidate_ms(CHAIN, keep, LatencyTable(CONDITIONS))


def test_a_candidate_takes_what_all_its_keys_take() -> None:
    keep = kept_blocks(CHAIN)[4]
    convolution, projection = latency_keys(CHAIN, keep)
    entries = {convolution: LatencySummary(2.0, 0, 0, 5), projection: LatencySummary(0.5, 0, 0, 5)}
    assert candidate_ms(CHAIN, keep, LatencyTable(CONDITIONS, entries)) == 2.5


def test_an_add_and_its_projection_are_paid_by_what_leaves_them() -> None:
    by_key = {c.key: c for c in candidates(CHAIN, kinds=("drop", "fit"))}
    keep_b2 = next(c for c in by_key.values() if c.kind == "keep" and c.start == 4)
    convolution, projection = latency_keys(CHAIN, keep_b2)
    assert convolution.residual
    assert isinstance(projection.operator, Convolution)
    assert projection.operator.kernel_size == (1, 1)
    covering = next(c for c in by_key.values() if c.kind == "fit" and (c.start, c.end) == (3, 5))
    assert [key.residual for key in latency_keys(CHAIN, covering)] == [False]
    drop = next(c for c in by_key.values() if c.kind == "drop" and c.start == 3)
    assert latency_keys(CHAIN, drop) == (LatencyKey(projection.operator, (8, 8), RELU),)


def test_a_dropped_branch_costs_nothing_where_its_activation_repeats() -> None:
    drop = next(c for c in candidates(CHAIN) if c.kind == "drop" and c.start == 5)
    assert latency_keys(CHAIN, drop) == ()


def test_equal_layers_share_a_key() -> None:
    blocks = kept_blocks(CHAIN)
    moved = LatencyKey(blocks[1].convolution, (8, 8), Activation("relu6"))
    assert latency_keys(CHAIN, blocks[1]) == (moved,)


def test_several_operators_run_one_behind_the_other() -> None:
    """Each reads what the one before it gives; the last has the activation and the add."""
    halving = Convolution(4, 2, (3, 3), (2, 2), (1, 1, 1, 1))
    last = Convolution(2, 4, (1, 1))
    several = Candidate(2, 3, "fit", (halving, Identity(2), last), RELU)
    assert latency_keys(CHAIN, several) == (
        LatencyKey(halving, (8, 8)),
        LatencyKey(Identity(2), (4, 4)),
        LatencyKey(last, (4, 4), RELU, residual=True),
    )
    assert parameters(CHAIN, several) == halving.parameters + last.parameters


def test_parameters_are_those_of_all_that_runs() -> None:
    keep = kept_blocks(CHAIN)[4]  # a projection is added at its end
    assert parameters(CHAIN, keep) == (8 * 8 * 9 + 8) + (4 * 8 + 8)
    drop = next(c for c in candidates(CHAIN) if c.kind == "drop" and c.start == 5)
    assert parameters(CHAIN, drop) == 0
