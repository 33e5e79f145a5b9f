"""Check for an NVIDIA driver, because some libraries end the process without one."""

import ctypes
import sys

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def missing_driver() -> str | None:
    """Why engines cannot be loaded here. None if a driver is there and sees a GPU."""
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        return f"there is no NVIDIA driver ({_LIBRARY}); load it on a machine with a GPU"
    status = int(driver.cuInit(0))
    return None if status == 0 else f"the NVIDIA driver sees no GPU (cuInit gave {status})"
