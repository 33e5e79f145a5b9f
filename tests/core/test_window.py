from hypothesis import given
from hypothesis import strategies as st

from depthopt.core.operators import Convolution
from depthopt.core.window import Window

sides = st.integers(1, 5)


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    kernel, stride = (draw(sides), draw(sides)), (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, 3)) for _ in range(4))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    return Convolution(4, 4, kernel, stride, padding, dilation, draw(st.sampled_from([1, 2, 4])))


@given(convolutions(), convolutions(), convolutions())
def test_composition_is_associative(a: Convolution, b: Convolution, c: Convolution) -> None:
    x, y, z = Window.of(a), Window.of(b), Window.of(c)
    assert x.then(y).then(z) == x.then(y.then(z))
    assert Window.identity(4).then(x) == x == x.then(Window.identity(4))


@given(convolutions(), st.integers(20, 40))
def test_a_window_gives_back_the_output_size(convolution: Convolution, side: int) -> None:
    size = (side, side + 3)
    wanted = convolution.output_size(size)
    again = Window.of(convolution).convolution(4, 4, size, wanted)
    assert again.output_size(size) == wanted
    assert again.padding[0] == convolution.padding[0]
    assert again.padding[2] == convolution.padding[2]


@given(convolutions(), st.sampled_from([1, 3, 5]))
def test_centring_keeps_the_centre(convolution: Convolution, size: int) -> None:
    window = Window.of(convolution)
    other = window.centred((size, size))
    for axis in (0, 1):
        centre = 2 * window.offset[axis] + window.size[axis]
        assert 0 <= centre - (2 * other.offset[axis] + size) <= 1


@given(convolutions(), st.sampled_from([1, 3, 5]), st.integers(20, 40))
def test_a_centred_window_gives_the_output_size(
    convolution: Convolution, kernel: int, side: int
) -> None:
    """With a kernel smaller than the window a side may have to be cropped: padding below 0."""
    size = (side, side + 3)
    wanted = convolution.output_size(size)
    other = Window.of(convolution).centred((kernel, kernel)).convolution(4, 4, size, wanted)
    assert other.output_size(size) == wanted


@given(convolutions(), convolutions())
def test_a_sum_holds_both(a: Convolution, b: Convolution) -> None:
    x, y = Window.of(a), Window(a.stride, Window.of(b).offset, Window.of(b).size, b.groups)
    both = x.plus(y)
    for part in (x, y):
        for axis in (0, 1):
            assert both.offset[axis] <= part.offset[axis]
            assert both.offset[axis] + both.size[axis] >= part.offset[axis] + part.size[axis]
