"""Reuse the memory of large tensors instead of mapping it again.

glibc maps every large block by itself and unmaps it when it is freed; the kernel then clears the
pages of each tensor of each training step once more. Kept on the heap, they are cleared once.
https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

import contextlib
import ctypes
import platform
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEEPING = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}
_USUAL = {_TRIM_THRESHOLD: 2**26, _MMAP_THRESHOLD: 2**25, _MMAP_MAX: 2**16}
"""The thresholds that glibc reaches by itself in a process that frees large blocks."""


@contextlib.contextmanager
def kept_heap() -> Iterator[None]:
    """Keep freed memory until the end, then give it back. Without glibc it does nothing."""
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if libc is None:
        yield
        return
    for option, value in _KEEPING.items():
        libc.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in _USUAL.items():
            libc.mallopt(option, value)
        libc.malloc_trim(0)
