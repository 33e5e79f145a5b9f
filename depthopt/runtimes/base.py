"""The interface of a runtime: it compiles ONNX models and runs them."""

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from depthopt.core import limits
from depthopt.core.clipped import clipped
from depthopt.errors import ModelError
from depthopt.tables.latency import MeasurementConditions

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One layer of a compiled model, after the runtime's own fusions.

    Attributes:
        name: of the model's node whose output it gives, where that is known; else the
            runtime's name for it.
        operator: its kind, in the runtime's words.
        median_ms: milliseconds per run, over several runs.
    """

    name: str
    operator: str
    median_ms: float


class Session(Protocol):
    """One compiled model, ready to run."""

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of every input by name. A free dimension is None."""
        ...

    @property
    def input_dtypes(self) -> Mapping[str, str]:
        """NumPy's name of every input's type, such as ``float32``."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Run once, without copies on the way in, and give all outputs in order.

        Outputs are valid until the next run.

        Raises:
            ModelError: inputs of wrong names or shapes, or a failing operator.
        """
        ...


class Runtime(Protocol):
    """A way to run networks on one device, pinned to one set of conditions."""

    @property
    def name(self) -> str:
        """The runtime's name in recipes and tables."""
        ...

    @property
    def version(self) -> str:
        """The version of the library behind it."""
        ...

    @property
    def is_accelerated(self) -> bool:
        """Whether networks run on an accelerator, and not on the processor's threads."""
        ...

    @property
    def merges_siblings(self) -> bool:
        """Whether convolutions that read one tensor are merged into a wider one."""
        ...

    def conditions(self, batch: int) -> MeasurementConditions:
        """The conditions of measurements made here at ``batch`` images per inference."""
        ...

    def compile(self, onnx_model: bytes | Path) -> Session:
        """Prepare an ONNX model, given as serialised bytes or as a file.

        Raises:
            ModelError: the runtime cannot run the model; the message says why.
        """
        ...

    def layer_times(
        self, onnx_model: bytes | Path, inputs: Mapping[str, Array], *, runs: int = 20
    ) -> tuple[LayerTime, ...]:
        """The layers that run, in order, timed by the runtime's own profiler.

        Empty where the runtime has no such profiler. Profiling itself costs time, so
        layers add up to a few per cent more or less than an unprofiled run.

        Raises:
            ModelError: as ``compile`` and ``run``.
        """
        ...


def processor_name() -> str:
    """The processor's model name, or the machine's architecture if that is unknown."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            field, _, value = line.partition(":")
            if field.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def processor_conditions(
    runtime: Runtime, *, threads: int | None, dtype: str, batch: int
) -> MeasurementConditions:
    """The conditions of a measurement on this machine's processor, today."""
    clock = psutil.cpu_freq()
    return MeasurementConditions(
        device=processor_name(),
        runtime=runtime.name,
        runtime_version=runtime.version,
        threads=threads,
        dtype=dtype,
        batch=batch,
        date=date.today().isoformat(),
        clock_mhz=round(clock.current) if clock and clock.current else None,
    )


def random_inputs(session: Session, batch: int, seed: int = 0) -> dict[str, Array]:
    """Standard normal inputs for ``session``, of whole numbers 0 and 1.

    A free first dimension is ``batch``.

    Raises:
        ModelError: an input is too large to be made up, or of a type that no numbers have.
    """
    generator, inputs = np.random.default_rng(seed), dict[str, Array]()
    for name, shape in session.input_shapes.items():
        size = [batch if i == 0 and n is None else n or 1 for i, n in enumerate(shape)]
        if min(size, default=1) < 1 or math.prod(size) > limits.BATCH_ELEMENTS:
            raise ModelError(
                f"input {clipped(name)} is {'x'.join(map(str, size))}; expected sizes above 0, "
                f"and at most {limits.BATCH_ELEMENTS:,} numbers"
            )
        try:
            dtype = np.dtype(session.input_dtypes[name])
        except TypeError:
            kind = clipped(session.input_dtypes[name])
            raise ModelError(f"input {clipped(name)} holds {kind}, not numbers") from None
        if dtype.kind == "f":
            inputs[name] = generator.standard_normal(size, dtype=np.float32).astype(dtype)
        else:
            inputs[name] = generator.integers(0, 2, size).astype(dtype)
    return inputs


def named(onnx_model: bytes | Path) -> str:
    """A model's name in messages: its file, if it has one."""
    return "the model" if isinstance(onnx_model, bytes) else str(onnx_model)


def check_inputs(session: Session, inputs: Mapping[str, Array]) -> str | None:
    """What is wrong with the inputs' names or shapes, as a message. None if nothing is."""
    wanted = session.input_shapes
    if set(wanted) != set(inputs):
        return f"inputs {sorted(inputs)}, expected {sorted(wanted)}"
    for name, shape in wanted.items():
        got = inputs[name].shape
        if len(got) != len(shape) or any(
            n is not None and n != m for n, m in zip(shape, got, strict=True)
        ):
            return f"input {name} has shape {list(got)}, expected {list(shape)}"
    return None
