"""Pass TensorRT's log on to Python's at debug level, and keep what messages need."""

import logging
from collections import deque
from typing import TYPE_CHECKING

from depthopt.runtimes.tensorrt.bindings import Bindings

if TYPE_CHECKING:
    import tensorrt

logger = logging.getLogger(__name__)

_LAYERS = "Layers:"
"""First words of the message that names an engine's layers, once it is built."""

_MOST = 100
"""Complaints that are kept; the first one is the cause."""


class Told:
    """A library's messages since the last ``clear``.

    Attributes:
        layers: the message that names the layers of the engine built last; empty if none came.
    """

    def __init__(self) -> None:
        self._errors: list[str] = []
        self._warnings: deque[str] = deque(maxlen=_MOST)
        self.layers = ""

    def clear(self) -> None:
        """Forget all messages."""
        self._errors.clear()
        self._warnings.clear()
        self.layers = ""

    def complaints(self) -> list[str]:
        """Errors, oldest first, and then warnings, newest first; each in one line."""
        return [*self._errors, *reversed(self._warnings)]

    def note(self, message: str, *, error: bool, warning: bool) -> None:
        """Keep a message if it may be of use."""
        line = " ".join(message.split())
        if error and len(self._errors) < _MOST:
            self._errors.append(line)
        elif warning:
            self._warnings.append(line)
        elif message.startswith(_LAYERS):
            self.layers = message
        logger.debug("%s", line)


_LISTENERS: "dict[type[tensorrt.ILogger], tuple[Told, tensorrt.ILogger]]" = {}
"""By the library's own class."""


def listened(trt: Bindings) -> "tuple[Told, tensorrt.ILogger]":
    """The library's messages from now on, and its logger, of which a process has one.

    A logger must outlive all that was made with it, engines among them.
    https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/c-api/classnvinfer1_1_1_i_logger.html
    """
    if trt.ILogger not in _LISTENERS:
        told = Told()
        _LISTENERS[trt.ILogger] = told, listener(trt, told)
    told, log = _LISTENERS[trt.ILogger]
    told.clear()
    return told, log


def listener(trt: Bindings, told: Told) -> "tensorrt.ILogger":
    """A logger of the library that passes all messages on to ``told``."""
    if TYPE_CHECKING:
        from tensorrt import ILogger  # noqa: PLC0415 - of the library that is given
    else:
        ILogger = trt.ILogger  # noqa: N806 - it is a class
    severity = trt.ILogger.Severity
    errors = (severity.INTERNAL_ERROR, severity.ERROR)

    class Listener(ILogger):  # type: ignore[misc] # untyped where it is not installed
        def __init__(self) -> None:
            ILogger.__init__(self)

        def log(self, severity: "tensorrt.ILogger.Severity", msg: str) -> None:
            """Called by TensorRT."""
            is_warning = severity == trt.ILogger.Severity.WARNING
            told.note(msg, error=severity in errors, warning=is_warning)

    return Listener()
