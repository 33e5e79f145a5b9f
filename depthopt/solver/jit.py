"""A typed wrapper of Numba's compiler with its cache."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def jit(function: F) -> F:
    """Compile ``function`` at its first call. Later processes load it from the cache.

    Other threads go on while it runs: one of them hears of Ctrl-C.
    """
    try:
        return cast("F", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return cast("F", numba.njit(nogil=True)(function))
