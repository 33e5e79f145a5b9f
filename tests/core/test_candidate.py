import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthopt.core.candidate import Candidate
from depthopt.core.operators import Convolution
from depthopt.tables.latency import LatencyKey

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
specs = st.builds(
    Convolution,
    st.integers(1, 4096),
    st.integers(1, 4096),
    sizes,
    sizes,
    st.tuples(*[st.integers(-3, 9)] * 4),
    sizes,
    st.integers(1, 4096),
)
activations = st.sampled_from([None, "relu", "relu6", "leaky_relu:0.2", "gelu_tanh"])


@given(specs)
def test_a_spec_is_read_back_from_its_name(spec: Convolution) -> None:
    assert Convolution.parse(str(spec)) == spec


@given(
    st.sampled_from(["keep", "drop", "fit", "merge"]),
    st.none() | specs,
    activations,
    st.lists(st.integers(0, 99), max_size=3),
)
def test_a_candidate_is_read_back_from_its_key(
    kind: str, spec: Convolution | None, activation: str | None, kept: list[int]
) -> None:
    candidate = Candidate(3, 7, kind, spec, activation, tuple(kept) if kind == "merge" else ())
    assert Candidate.parse(candidate.key) == candidate


@pytest.mark.parametrize(
    "text", ["", "fit 1:2", "fit 1:2 3-4", "melt 1:2 identity", "fit a:2 3-4 k1x1"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no candidate"):
        Candidate.parse(text)
    with pytest.raises(ValueError, match="is no convolution"):
        Convolution.parse(text)


@given(specs | st.none(), sizes, activations, st.booleans(), st.booleans())
def test_an_entry_is_read_back_from_its_name(spec, size, activation, residual, pool) -> None:
    channels = 0 if spec else 64
    key = LatencyKey(spec, size, activation, residual, channels, pool and spec is not None)
    assert LatencyKey.parse(str(key)) == key


def test_what_is_no_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="is no entry"):
        LatencyKey.parse("conv 8-8 k1x1")
