"""Whether there is an NVIDIA driver: some libraries end the process where there is none."""

import ctypes
import sys

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def missing_driver() -> str | None:
    """Why no engine can be loaded here; None if a driver is there and sees a GPU."""
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        return f"there is no NVIDIA driver ({_LIBRARY}); load it on a machine with a GPU"
    status = int(driver.cuInit(0))
    return None if status == 0 else f"the NVIDIA driver sees no GPU (cuInit gave {status})"
