"""What TensorRT's log says of a failure, in one line that says what to do."""

import re
from collections.abc import Sequence

from depthopt.runtimes.tensorrt.options import BuildOptions
from depthopt.runtimes.tensorrt.origin import Origin

_MEMORY = (
    "out of memory",
    "outofmemory",
    "insufficient memory",
    "insuficient memory",  # as some versions spell it
    "memory is insufficient",
    "could not find any implementation",
)
"""Of a build that ran out of memory. The last one TensorRT also says where every kernel of a
layer wants more scratch memory than it may take."""

_COMPUTE = re.compile(r"expecting compute (\S+?) got compute (\d+\.\d+)")
_LIBRARY = re.compile(r"expecting library version (\S+?) got ([\w.]+\w)")
_SERIAL = re.compile(r"Current Version: (\d+), Serialized Engine Version: (\d+)")


def failed_build(log: Sequence[str], build: BuildOptions) -> str:
    """Why no engine was built.

    Args:
        log: TensorRT's errors and warnings, oldest first.
        build: the settings it was built with.
    """
    told = next((line for line in log if any(m in line.lower() for m in _MEMORY)), None)
    if told is None:
        return log[-1] if log else "TensorRT gave no reason"
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
    """Why an engine was not loaded."""
    text = " ".join(log)
    if found := _COMPUTE.search(text):
        made = f"for compute capability {found[2]}"
    elif found := _LIBRARY.search(text):
        made = f"by TensorRT {found[2]}"
    elif found := _SERIAL.search(text):
        made = f"by a TensorRT that writes format {found[2]}, not {found[1]}"
    else:
        return f"{log[-1] if log else 'TensorRT gave no reason'}; build it anew on this machine"
    return f"it was built {made}, and this is {here}; build it anew on this machine"
