from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from depthopt.core.operators import Activation, AveragePooling, Convolution, Identity, Operator
from depthopt.errors import TableError
from depthopt.tables.latency import (
    Footprint,
    LatencyKey,
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
    NetworkKey,
    NetworkLatency,
)
from tests.chains import chain_of
from tests.random_operators import activations, operators, sizes

CONDITIONS = MeasurementConditions("cpu", "onnxruntime", "1.0", 1, "float32", 1, "2026-01-01")


def test_unlike_conditions_never_mix() -> None:
    table = LatencyTable(CONDITIONS)
    with pytest.raises(TableError, match=r"threads 1 against 2, dtype 'float32' against 'int8'"):
        table.combined(LatencyTable(replace(CONDITIONS, threads=2, dtype="int8")))
    later = LatencyTable(
        replace(CONDITIONS, date="2027-01-01"),
        {LatencyKey(Identity(4), (8, 8)): LatencySummary(1, 1, 1, 1)},
    )
    assert table.combined(later).entries == later.entries


def test_an_accelerators_conditions_are_alike_with_no_threads_and_with_0() -> None:
    without, zero = (replace(CONDITIONS, threads=threads) for threads in (None, 0))
    assert without.unlike(zero) is None
    assert without.unlike(CONDITIONS) == "threads 0 against 1"


def test_a_network_that_was_not_measured_is_named() -> None:
    with pytest.raises(TableError, match="holds no network net @3x8x8; run `depthopt profile`"):
        LatencyTable(CONDITIONS).network(chain_of(["relu"]))


@given(operators, sizes, st.none() | activations, st.booleans())
def test_an_entry_is_read_back_from_its_name(
    operator: Operator, size: tuple[int, int], activation: Activation | None, residual: bool
) -> None:
    key = LatencyKey(operator, size, activation, residual)
    assert LatencyKey.parse(str(key)) == key
    adapter = TypeAdapter(dict[LatencyKey, int])
    assert adapter.dump_python({key: 1}, mode="json") == {str(key): 1}
    assert adapter.validate_python({str(key): 1}) == {key: 1}


def test_names_are_those_that_files_hold() -> None:
    relu = Activation("relu")
    for key, name in [
        (LatencyKey(Convolution(8, 8, (1, 1)), (7, 9), relu, True), "conv 8-8 k1x1 @7x9 +add relu"),
        (LatencyKey(AveragePooling(4, (2, 2), (2, 2)), (8, 8)), "avgpool 4-4 k2x2 s2x2 g4 @8x8"),
        (LatencyKey(Identity(4), (8, 8), None, True), "identity 4 @8x8 +add"),
    ]:
        assert str(key) == name
        assert LatencyKey.parse(name) == key


@pytest.mark.parametrize(
    "text",
    ["conv 8-8 k1x1", "", "8-8 k1x1 @7x7", "conv identity 8 @7x7", "conv 8-8 k1x1 @7x7 Relu",
     "conv 8-8 k1x1 @7", "conv avgpool 4-4 k2x2 g4 @8x8", "avgpool 4-4 k2x2 g4 @8x8 relu +add",
     "avgpool 4-8 k2x2 @8x8"],
)  # fmt: skip
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an? (entry|convolution|pooling)"):
        LatencyKey.parse(text)


@given(st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1),
       st.tuples(*[st.integers(1, 400)] * 3))  # fmt: skip
def test_a_network_is_read_back_from_its_name(model: str, size: tuple[int, int, int]) -> None:
    key = NetworkKey(model, size)
    assert NetworkKey.parse(str(key)) == key


@pytest.mark.parametrize("text", ["resnet18", "resnet18 @224x224", " @3x224x224x", "@3x224x224"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a network"):
        NetworkKey.parse(text)


def test_a_chains_network_goes_by_its_model_and_input_size() -> None:
    assert NetworkKey.of(chain_of(["relu"])) == NetworkKey("net", (3, 8, 8))


def test_entries_of_unlike_ballast_never_mix() -> None:
    beside, apart = LatencyTable(CONDITIONS), LatencyTable(replace(CONDITIONS, ballast_mib=4.0))
    for mixed in (beside.combined, beside.extended):
        with pytest.raises(TableError, match=r"never mix: ballast_mib None against 4\.0"):
            mixed(apart)
    assert CONDITIONS.with_ballast(apart.conditions.ballast_mib) == apart.conditions


def test_an_entry_that_only_meets_padding_is_not_read() -> None:
    key = LatencyKey.parse("conv 8-8 k3x3 p1,1,1,1 @1x1 relu")
    assert key.parameters_read == 8 * (8 + 1)
    assert LatencyKey.parse("avgpool 4-4 k2x2 s2x2 g4 @8x8").parameters_read == 0


TOTAL = LatencySummary(2.0, 2.0, 2.0, 9)
STEPS = (Footprint(10, 0.5), Footprint(20, 0.75))


def test_a_networks_factor_is_that_of_the_first_footprint_that_holds_it() -> None:
    network = NetworkLatency(TOTAL, 0.5, footprints=STEPS)
    assert [network.factor(n) for n in (0, 10, 11, 20, 21)] == [0.5, 0.5, 0.75, 0.75, 0.75]
    assert NetworkLatency(TOTAL, 0.5).factor(11) == 1.0


@pytest.mark.parametrize(
    "steps", [STEPS[::-1], (STEPS[0], STEPS[0]), (STEPS[0], Footprint(20, 0.25))]
)
def test_footprints_that_do_not_rise_are_refused(steps: tuple[Footprint, ...]) -> None:
    with pytest.raises(ValueError, match="footprints must have rising"):
        NetworkLatency(TOTAL, 0.5, footprints=steps)


def test_of_two_tables_the_one_that_knows_a_networks_footprints_is_taken() -> None:
    key, entry = LatencyKey(Identity(4), (8, 8)), LatencySummary(1, 1, 1, 1)
    net = NetworkKey("net", (3, 8, 8))
    plain = NetworkLatency(TOTAL, 0.5, covers=("one",))
    whole = NetworkLatency(TOTAL.scaled(4), 4.0, covers=("two",), footprints=STEPS)
    mine = LatencyTable(CONDITIONS, {key: entry}, {net: plain})
    theirs = LatencyTable(CONDITIONS, {key: entry.scaled(2)}, {net: whole})
    joined = mine.extended(theirs).networks[net]
    assert joined == NetworkLatency(TOTAL.scaled(2), 2.0, None, ("one", "two"), STEPS)
    again = theirs.extended(mine).networks[net]
    assert again == replace(whole, covers=("two", "one"))
