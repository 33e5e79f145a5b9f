"""Memory that is kept while large tensors come and go."""

import ctypes
import platform

import numpy as np
import psutil
import pytest

from depthopt.graph.heap import kept_heap

BLOCK_BYTES = 200 * 2**20


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's heap alone")
def test_freed_memory_is_kept_until_the_end_and_then_given_back():
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what earlier tests have freed
    before = _resident_bytes()
    with kept_heap():
        np.ones(BLOCK_BYTES, dtype=np.uint8)
        assert _resident_bytes() - before > BLOCK_BYTES / 2
    assert _resident_bytes() - before < BLOCK_BYTES / 2
    np.ones(BLOCK_BYTES, dtype=np.uint8)
    assert _resident_bytes() - before < BLOCK_BYTES / 2
