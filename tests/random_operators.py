"""Any operator and any activation, as hypothesis draws them."""

from hypothesis import strategies as st

from depthopt.core.operators import Activation, AveragePooling, Convolution, Identity, Operator
from depthopt.core.operators.activation import PLAIN

channels = st.integers(1, 4096)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
sides = st.tuples(*[st.integers(-3, 9)] * 4)

convolutions = st.builds(Convolution, channels, channels, sizes, sizes, sides, sizes, channels)
poolings = st.builds(AveragePooling, channels, sizes, sizes, sides)
identities = st.builds(Identity, channels)
operators: st.SearchStrategy[Operator] = st.one_of(convolutions, poolings, identities)

slopes = st.floats(allow_nan=False, width=64)
activations = st.one_of(
    st.builds(Activation, st.sampled_from(sorted(PLAIN))),
    st.builds(Activation, st.just("leaky_relu"), slopes),
)
