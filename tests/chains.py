"""Small chains without a network."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from depthopt.core.chain import Block, Chain, Layout, Skip
from depthopt.core.operators import Activation, Convolution

SIZE = (8, 8)
LAYOUT = Layout(4, SIZE, 4, SIZE)


def chain_of(activations: Sequence[str | None], skips: Sequence[tuple[int, int]] = ()) -> Chain:
    """Blocks ``b0``, ``b1``, ... of 3x3 convolutions with distinct widths per skip's span."""
    blocks = []
    for i, activation in enumerate(activations):
        names = {
            field.name: f"{field.name}{i}" for field in fields(Block) if field.type in {"str", str}
        }
        values = {
            "name": f"b{i}",
            "operator": Convolution(4, 4, (3, 3), padding=(1, 1, 1, 1)),
            "layout": LAYOUT,
            "activation": None if activation is None else Activation(activation),
        }
        blocks.append(Block(**(names | values)))
    edges = tuple(Skip(source, target, f"add{target}", f"n{source}") for source, target in skips)
    return Chain("net", (3, 8, 8), tuple(blocks), edges, (), ())


def random_chain(random: np.random.Generator, blocks: int) -> Chain:
    """Skips that nest or lie side by side; some blocks without an activation."""
    activations = [str(a) if a else None for a in random.choice(["relu", ""], blocks)]
    skips: list[tuple[int, int]] = []
    for _ in range(blocks // 2):
        source = int(random.integers(0, blocks - 1))
        target = int(random.integers(source + 1, min(blocks, source + 3) + 1))
        crosses = any(s < source < t < target or source < s < target < t for s, t in skips)
        if not crosses and (source, target) not in skips:
            skips.append((source, target))
    return chain_of(activations, skips)
