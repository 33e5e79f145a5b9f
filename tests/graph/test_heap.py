"""Memory that is kept while large tensors come and go."""

import platform
import subprocess
import sys

import pytest

IN_A_PROCESS_OF_ITS_OWN = """
import numpy as np, psutil
from depthopt.graph.heap import kept_heap

block = 200 * 2**20
resident = lambda: psutil.Process().memory_info().rss
before = resident()
with kept_heap():
    np.ones(block, dtype=np.uint8)
    assert resident() - before > block / 2
assert resident() - before < block / 2
np.ones(block, dtype=np.uint8)
assert resident() - before < block / 2
"""
"""What other tests have left on the heap may be used again, and then nothing grows."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's heap alone")
def test_freed_memory_is_kept_until_the_end_and_then_given_back():
    ran = [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN]
    done = subprocess.run(ran, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
