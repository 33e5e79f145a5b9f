"""What a runtime is to the rest of depthopt: it compiles ONNX models and runs them."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from depthopt.core.tables import MeasurementConditions

Array = NDArray[Any]


class Session(Protocol):
    """One compiled model, ready to run."""

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of every input by name; None where a dimension is free."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Run once, without copies on the way in, and give all outputs in order.

        Raises:
            ModelError: inputs of wrong names or shapes, or a failing operator.
        """
        ...


class Runtime(Protocol):
    """A way to run networks on one device, pinned to one set of conditions."""

    @property
    def name(self) -> str:
        """The name it goes by in recipes and tables."""
        ...

    @property
    def version(self) -> str:
        """The version of the library behind it."""
        ...

    def conditions(self, batch: int) -> MeasurementConditions:
        """What measurements made here at ``batch`` images per inference stand for."""
        ...

    def compile(self, model: bytes | Path) -> Session:
        """Prepare an ONNX model, given as serialised bytes or as a file.

        Raises:
            ModelError: the runtime cannot run the model; the message says why.
        """
        ...


def processor_name() -> str:
    """The processor's model name, or the machine's architecture where none is told."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            field, _, value = line.partition(":")
            if field.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def random_inputs(session: Session, batch: int, seed: int = 0) -> dict[str, Array]:
    """Standard normal float32 inputs for ``session``; a free first dimension is ``batch``."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.standard_normal(
            [batch if i == 0 and n is None else n or 1 for i, n in enumerate(shape)],
            dtype=np.float32,
        )
        for name, shape in session.input_shapes.items()
    }
