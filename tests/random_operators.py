"""Any operator and any activation, as hypothesis draws them."""

from dataclasses import replace

from hypothesis import strategies as st

from depthopt.core.operators import (
    Activation,
    Attention,
    AveragePooling,
    Convolution,
    Identity,
    Linear,
    Mlp,
    Operator,
)
from depthopt.core.operators.activation import PLAIN

channels = st.integers(1, 4096)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
sides = st.tuples(*[st.integers(-3, 9)] * 4)


@st.composite
def convolutions_of_groups(draw: st.DrawFn) -> Convolution:
    groups = draw(channels)
    inputs, outputs = groups * draw(st.integers(1, 9)), groups * draw(st.integers(1, 9))
    return Convolution(inputs, outputs, *map(draw, (sizes, sizes, sides, sizes)), groups)


convolutions = convolutions_of_groups()
poolings = st.builds(AveragePooling, channels, sizes, sizes, sides)
identities = st.builds(Identity, channels)

slopes = st.floats(allow_nan=False, width=64)
activations = st.one_of(
    st.builds(Activation, st.sampled_from(sorted(PLAIN))),
    st.builds(Activation, st.just("leaky_relu"), slopes),
)

plain_attentions = st.builds(
    Attention, channels, channels, channels, st.sampled_from([1, 3]), *[st.booleans()] * 3
)
attentions = st.one_of(
    plain_attentions,
    st.builds(replace, plain_attentions, rotary=st.integers(0, 9), interleaved=st.booleans()),
)
mlps = st.builds(
    Mlp, channels, channels, activations.map(str), st.booleans(), st.integers(0, 2), st.booleans()
)
linears = st.builds(Linear, channels, channels)
operators: st.SearchStrategy[Operator] = st.one_of(
    convolutions, poolings, identities, attentions, mlps, linears
)
