"""Sizes of images, and of what sliding windows make of them."""

Pair = tuple[int, int]
"""(height, width)."""

Sides = tuple[int, int, int, int]
"""(left, right, top, bottom), the order of ``torch.nn.functional.pad``."""


def output_size(input_size: Pair, window: Pair, stride: Pair, padding: Sides) -> Pair:
    """(height, width) of the output of a window that slides over ``input_size``.

    Args:
        input_size: (height, width) of the input.
        window: (height, width), dilation written out.
        stride: (height, width).
        padding: around the input; negative sides crop.
    """
    left, right, top, bottom = padding
    return (
        (input_size[0] + top + bottom - window[0]) // stride[0] + 1,
        (input_size[1] + left + right - window[1]) // stride[1] + 1,
    )
