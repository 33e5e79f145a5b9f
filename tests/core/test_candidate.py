import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from depthopt.core.candidate import Candidate
from depthopt.core.operators import Activation, AveragePooling, Convolution, Identity
from tests.random_operators import activations, convolutions, operators

CONVOLUTION = Convolution(3, 4, (3, 3), padding=(1, 1, 1, 1))


@given(
    st.sampled_from(["keep", "drop", "fit", "merge"]),
    st.none() | convolutions,
    st.none() | activations,
    st.lists(st.integers(0, 99), max_size=3),
)
def test_a_candidate_is_read_back_from_its_key(
    kind: str, convolution: Convolution | None, activation: Activation | None, blocks: list[int]
) -> None:
    operators = () if convolution is None else (convolution,)
    detail = (",".join(map(str, blocks)) or "none") if kind == "merge" else ""
    candidate = Candidate(3, 7, kind, operators, activation, detail)
    assert Candidate.parse(candidate.key) == candidate


@given(
    st.sampled_from(["fit", "low-rank", "x2", "a_kind_of_someone_else"]),
    st.lists(operators, max_size=4).map(tuple),
    st.none() | activations,
    st.sampled_from(["", "rank 4", "of", "3,4; relu + identity 8", "none"]),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_any_kind_with_several_operators_and_states_is_read_back(
    kind: str,
    operators: tuple[Convolution | AveragePooling | Identity, ...],
    activation: Activation | None,
    detail: str,
    entry: int,
    exit_: int,
) -> None:
    candidate = Candidate(3, 7, kind, operators, activation, detail, entry, exit_)
    assert str(candidate) == candidate.key
    assert Candidate.parse(candidate.key) == candidate
    adapter = TypeAdapter(Candidate)
    assert adapter.dump_python(candidate, mode="json") == candidate.key
    assert adapter.validate_python(candidate.key) == candidate


def test_keys_are_those_that_files_hold() -> None:
    relu = Activation("relu")
    for candidate, key in [
        (Candidate(3, 5, "drop", (), relu), "drop 3:5 identity relu"),
        (Candidate(3, 5, "drop", ()), "drop 3:5 identity"),
        (Candidate(0, 1, "keep", (CONVOLUTION,)), "keep 0:1 3-4 k3x3 p1,1,1,1"),
        (
            Candidate(0, 2, "merge", (CONVOLUTION,), relu, "0,1"),
            "merge 0:2 3-4 k3x3 p1,1,1,1 relu of 0,1",
        ),
        (Candidate(0, 2, "merge", (CONVOLUTION,), None, "none"),
         "merge 0:2 3-4 k3x3 p1,1,1,1 of none"),
        (
            Candidate(0, 2, "low-rank", (CONVOLUTION, Identity(4)), relu, "rank 2", 1, 0),
            "low-rank 0.1:2.0 3-4 k3x3 p1,1,1,1 + identity 4 relu of rank 2",
        ),
    ]:  # fmt: skip
        assert candidate.key == key
        assert Candidate.parse(key) == candidate


def test_a_merge_of_no_block_is_read_from_its_key_of_schema_version_1() -> None:
    assert Candidate.parse("merge 0:2 4-4 k1x1 of ") == Candidate(
        0, 2, "merge", (Convolution(4, 4, (1, 1)),), None, "none"
    )


def test_its_convolution_is_its_only_operator() -> None:
    assert Candidate(0, 2, "fit", (CONVOLUTION,)).convolution is CONVOLUTION
    for several in ((), (Identity(4),), (CONVOLUTION, CONVOLUTION)):
        with pytest.raises(ValueError, match=r"fit 0:2 .* is not one convolution"):
            _ = Candidate(0, 2, "fit", several).convolution


@pytest.mark.parametrize(
    "text",
    [
        "", "fit 1:2", "Melt 1:2 identity", "fit a:2 3-4 k1x1",
        "fit 1:2 identity + identity", "fit 1:2 3-4 k1x1 +", "fit 1.0:2: identity",
        "fit 1:2 identity relu relu", "fit 1:2 3-4 k1x1 of 1\n", "merge 0:2 1-8 k7x7 of",
        "fit 1:2 ²-4 k1x1", f"fit {'9' * 5000}:1 identity",
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a candidate"):
        Candidate.parse(text)
    with pytest.raises(ValueError, match="is not a convolution"):
        Convolution.parse(text)


@pytest.mark.parametrize("text", ["fit 1:2 avgpool 3", "fit 1:2 3-4 k1x1 p1,1", "fit 1:2 3-4"])
def test_a_key_with_an_operator_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        Candidate.parse(text)


@pytest.mark.parametrize(
    "text", ["drop 2:2 identity", "drop 5:4 identity", "drop 0:999999 2-2 k1x1"]
)
def test_a_key_of_no_segment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not cover a segment"):
        Candidate.parse(text)
