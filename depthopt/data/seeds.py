"""Seeds that depend only on their purpose."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def seed_of(*parts: object) -> int:
    """A seed that differs for every combination of ``parts``, the same on every machine."""
    return random.Random(repr(parts)).getrandbits(63)  # noqa: S311 - no secret


@contextlib.contextmanager
def all_seeded(seed: str) -> Iterator[None]:
    """Seed the global generators that timm uses, and restore them afterwards."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - timm's own
    random.seed(seed)
    np.random.seed(random.getrandbits(32))  # noqa: NPY002 - as above
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random.getrandbits(63))
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - as above
