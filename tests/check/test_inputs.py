"""Which networks can be fed alike."""

import pytest

from depthopt.check.inputs import require_equal_inputs, require_one_size
from depthopt.errors import UsageError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": (1, 3, 8, 8)}, {"x": (1, 3, 8, 8)}),
        ({"x": (1, 3, 8, 8)}, {"image": (None, 3, 8, 8)}),
        ({"x": (1, 8), "y": (1, 4)}, {"y": (None, 4), "x": (1, 8)}),
    ],
)
def test_a_free_batch_and_the_name_of_a_lone_input_do_not_matter(one, other):
    require_equal_inputs(("old", "new"), one, other)
    require_equal_inputs(("new", "old"), other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": (1, 3, 8, 8)}, {"x": (1, 3, 8, 9)}),
        ({"x": (1, 3, 8, 8)}, {"x": (4, 3, 8, 8)}),
        ({"x": (1, 3, 8, 8)}, {"x": (1, 3, 8)}),
        ({"x": (1, 8), "y": (1, 4)}, {"x": (1, 8), "z": (1, 4)}),
        ({"x": (1, 8)}, {"x": (1, 8), "y": (1, 8)}),
    ],
)
def test_other_shapes_and_other_names_of_several_inputs_do(one, other):
    with pytest.raises(
        UsageError, match=r"old takes x 1x.*; only networks with equal inputs can be compared"
    ):
        require_equal_inputs(("old", "new"), one, other)


def test_a_size_that_nobody_chose_is_not_measured():
    require_one_size("a.onnx", {"x": (None, 3, 8, 8)})
    with pytest.raises(UsageError, match=r"a\.onnx takes x \?x3x8x\?; only the batch may be free"):
        require_one_size("a.onnx", {"x": (None, 3, 8, None)})
