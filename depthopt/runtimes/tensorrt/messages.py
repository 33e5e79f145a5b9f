"""Explain a failure from a library's log, in one line that says what to do."""

import re
from collections.abc import Sequence

from depthopt.runtimes.tensorrt.library import Library
from depthopt.runtimes.tensorrt.options import BuildOptions
from depthopt.runtimes.tensorrt.origin import Origin

_MEMORY = (
    "out of memory",
    "outofmemory",
    "insufficient memory",
    "insuficient memory",  # as some versions spell it
    "memory is insufficient",
    "could not find any implementation",
    "within workspace limit",
)
"""Of a build that ran out of memory. The last two are also said where every kernel of a layer wants
more scratch memory than it may take."""

_TURING = "for turing (sm75)"
"""Of what TensorRT for RTX has no kernels for at compute capability 7.5."""

_COMPUTE = re.compile(r"expecting compute \S+? got compute (\d+\.\d+)")
_OTHER_GPUS = re.compile(r"cannot run on this GPU, which has compute capability")
_LIBRARY = re.compile(r"expecting library version \S+? got ([\w.]+\w)")
_RTX = re.compile(r"created with TensorRT-RTX version ([\w.]+\w)")
_SERIAL = re.compile(r"Current Version: (\d+), Serialized Engine Version: (\d+)")

_NO_ENGINE = re.compile(r"magic ?tag", re.IGNORECASE)
_CUT_SHORT = re.compile(r"header\.size == blobSize|bufferSize >= minBufferSize")
_NO_DRIVER = re.compile(r"CUDA driver version is insufficient|cudaError 35|CUDA_ERROR_NO_DEVICE")


def failed_build(log: Sequence[str], build: BuildOptions, *, of: Library) -> str:
    """Why building an engine failed.

    Args:
        log: what the library complained of, the cause first.
        build: the settings it was built with.
        of: the library.
    """
    told = next((line for line in log if any(m in line.lower() for m in _MEMORY)), None)
    if told is None:
        reason = log[0] if log else f"{of.title} gave no reason"
        if _TURING in reason.lower():
            return f"{reason}; build for sm75 in float16, or leave sm75 out"
        return reason
    if build.workspace_mib is None:
        return (
            f"memory ran out while building ({told}); no workspace limit is set: set "
            "latency.build.workspace_mib, lower latency.batch or free the GPU"
        )
    return (
        f"memory ran out while building ({told}); latency.build.workspace_mib is "
        f"{build.workspace_mib}: raise it, or lower it and latency.batch if the GPU is full"
    )


def failed_load(log: Sequence[str], here: Origin) -> str:
    """Why loading an engine failed.

    Args:
        log: what the library complained of, the cause first.
        here: where it was to be loaded.
    """
    cause, text = log[0] if log else f"{here.made_by} gave no reason", " ".join(log)
    again = "build it again on this machine"
    if _CUT_SHORT.search(text):
        return f"it is cut short or damaged ({cause}); {again}"
    if _NO_DRIVER.search(cause):
        return f"there is no NVIDIA driver here ({cause}); load it on a machine with a GPU"
    if found := _COMPUTE.search(text):
        made = f"for compute capability {found[1]}"
    elif _OTHER_GPUS.search(text):
        made = f"for other GPUs ({cause})"
    elif found := _LIBRARY.search(text):
        made = f"by TensorRT {found[1]}"
    elif found := _RTX.search(text):
        made = f"by TensorRT for RTX {found[1]}"
    elif found := _SERIAL.search(text):
        made = f"by a TensorRT that writes format {found[2]}, not {found[1]}"
    elif _NO_ENGINE.search(text):
        return f"it is not an engine of {here.made_by} ({cause}); {again}"
    else:
        return f"{cause}; {again}"
    return f"it was built {made}, and this is {here}; {again}"
