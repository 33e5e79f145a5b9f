"""Keep libraries from reporting a run to their makers.

depthopt reaches the network where a source names it (weights or data to download, a cluster of
workers, a tracker of experiments), and nowhere else. Some libraries do more by default:

- ONNX Runtime sends events as its environment is made, and keeps an identity of the device under
  ``~/.cache``; ``disable_telemetry_events`` comes too late.
  https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
- OpenVINO sends one as it is imported, unless its package for that is missing.
  https://docs.openvino.ai/2025/about-openvino/additional-resources/telemetry.html
- Hugging Face's libraries and Ray send usage with what they are asked for.
  https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
  https://docs.ray.io/en/latest/cluster/usage-stats.html
"""

import contextlib
import os
import sys
from collections.abc import Iterator

_SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",
    "ORT_TELEMETRY_DISABLED": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment variables that libraries and the processes they start ask."""


def keep_silent() -> None:
    """Turn off the reports of libraries, unless the user has set their variables."""
    for name, value in _SILENT.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def openvino_silent() -> Iterator[None]:
    """Hide OpenVINO's package that reports usage while OpenVINO is imported."""
    name = "openvino_telemetry"
    if name in sys.modules:  # the caller's choice
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment] # how Python says that it is not there
    try:
        yield
    finally:
        sys.modules.pop(name, None)
