"""What a call computes, counted by torch."""

import math
from collections import Counter
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

_IN_PLACE = {
    torch.ops.aten.baddbmm_: lambda _, left, right, **__: 2 * math.prod(left) * right[-1],
}
"""What torch leaves out, by the operands' shapes."""


def macs(call: Callable[[], object]) -> Counter[str]:
    """Multiply-accumulates of a call on this thread, by operator of ``aten``."""
    with FlopCounterMode(display=False, custom_mapping=_IN_PLACE) as counter:
        call()
    counts = counter.get_flop_counts()["Global"]
    return Counter({str(name).removeprefix("aten."): n // 2 for name, n in counts.items()})
