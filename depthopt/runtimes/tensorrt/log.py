"""TensorRT's log: into Python's at debug level, with the last complaints kept for messages."""

import logging
from collections import deque

import tensorrt as trt

logger = logging.getLogger(__name__)


class Log(trt.ILogger):  # type: ignore[misc] # untyped where TensorRT is not installed
    """Errors and warnings since the last ``clear``, each in one line."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._complaints: deque[tuple[bool, str]] = deque(maxlen=100)

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT."""
        line = " ".join(msg.split())
        logger.debug("%s", line)
        if severity in (
            trt.ILogger.Severity.INTERNAL_ERROR,
            trt.ILogger.Severity.ERROR,
            trt.ILogger.Severity.WARNING,
        ):
            self._complaints.append((severity == trt.ILogger.Severity.WARNING, line))

    def clear(self) -> None:
        """Forget what was said."""
        self._complaints.clear()

    def complaints(self) -> list[str]:
        """Warnings, and then errors: the last one weighs most."""
        return [line for _, line in sorted(self._complaints, key=lambda told: not told[0])]
