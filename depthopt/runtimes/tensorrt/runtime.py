"""TensorRT in float32, TF32 or float16."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from depthopt.core.clipped import one_line
from depthopt.core.writing import write_bytes
from depthopt.errors import ArtefactError, ModelError, RuntimeUnavailable
from depthopt.runtimes.base import Array, LayerTime, named, processor_conditions
from depthopt.runtimes.tensorrt import origin
from depthopt.runtimes.tensorrt.layers import layer_times
from depthopt.runtimes.tensorrt.network import Network, key, read
from depthopt.runtimes.tensorrt.options import DTYPES, MINIMUM, BuildOptions, labelled, numbers
from depthopt.runtimes.tensorrt.origin import Origin
from depthopt.runtimes.tensorrt.plans import Plans
from depthopt.tables.latency import MeasurementConditions

if TYPE_CHECKING:  # these import TensorRT
    from depthopt.runtimes.tensorrt.log import Log
    from depthopt.runtimes.tensorrt.session import Execution, Scratch, TensorRtSession


class TensorRt:
    """TensorRT 10.12 and newer, 11 included: one engine per network and shape.

    Engines are built from ONNX in memory, once each; what is timed on the way is kept in one
    timing cache per device and version, which all tables share.

    Attributes:
        dtype: one of ``DTYPES``.
        build: how engines are built.
        here: this device and version.
    """

    name = "tensorrt"
    devices = ("cuda",)
    dtypes = DTYPES
    is_accelerated = True
    merges_siblings = True
    """TensorRT calls it ``a || b``: https://github.com/NVIDIA/TensorRT/issues/2525."""

    def __init__(
        self,
        *,
        threads: int = 1,  # noqa: ARG002 - a GPU has none to choose
        device: str = "cuda",  # noqa: ARG002 - there is no other
        dtype: str = "float32",
        build: BuildOptions | None = None,
    ) -> None:
        """Pin the conditions.

        Raises:
            RuntimeUnavailable: there is no GPU, or no TensorRT, or too old a one.
        """
        self.dtype, self.build = dtype, build or BuildOptions()
        self.here = _here()
        self._plans = Plans()

    @property
    def version(self) -> str:
        """TensorRT's version, such as 10.14.1.48, with settings that are not the default ones."""
        return labelled(self.here.tensorrt, self.build)

    @property
    def timing_cache(self) -> Path:
        """The file that all builds share."""
        return self.build.timing_cache or cache_folder() / f"{self.here.slug}.timing"

    def conditions(self, batch: int) -> MeasurementConditions:
        """What measurements made here at ``batch`` images per inference stand for."""
        found = processor_conditions(self, threads=None, dtype=self.dtype, batch=batch)
        return replace(found, device=self.here.device, clock_mhz=None)

    def compile(self, onnx_model: bytes | Path) -> "TensorRtSession":
        """Build the engine of an ONNX model, given as serialised bytes or as a file.

        Where a dimension is free, the first run with a shape builds the engine for it.

        Raises:
            ModelError: TensorRT cannot run the model; the message says why.
            ArtefactError: the timing cache is of another device or version.
        """
        return self._session(onnx_model, self._read(onnx_model))

    def layer_times(
        self, onnx_model: bytes | Path, inputs: Mapping[str, Array], *, runs: int = 20
    ) -> tuple[LayerTime, ...]:
        """The layers that run, in order, timed by TensorRT's profiler, without a CUDA graph.

        Raises:
            ModelError: as ``compile`` and ``run``.
        """
        network = self._read(onnx_model)
        session = self._session(onnx_model, network)
        shapes = {name: array.shape for name, array in inputs.items()}
        reports = session.profiled(inputs, runs=runs)
        return layer_times(reports, self._information(network.fixed(shapes)), network.operators)

    def information(self, onnx_model: bytes | Path) -> dict[str, Any]:
        """What TensorRT's inspector tells of the engine of a model of fixed shapes, from its JSON.

        Version 11 names some fields otherwise than 10.
        https://docs.nvidia.com/deeplearning/tensorrt/11.3.0/api/migration/tensorrt-10x-to-11x-IEngineInspector.html

        Raises:
            ModelError: as ``compile``.
        """
        return self._information(self._read(onnx_model).content)

    def save_engine(self, onnx_model: bytes | Path, path: Path) -> None:
        """Write the engine of a model of fixed shapes.

        Beside it lie what it is built for (``.json``) and what the inspector tells of it
        (``.layers.json``).

        Raises:
            ModelError: as ``compile``.
        """
        content = self._read(onnx_model).content
        write_bytes(path, self._plan(content))
        layers = json.dumps(self._information(content), indent=1)
        write_bytes(path.with_name(f"{path.name}.layers.json"), layers.encode())
        made = replace(self.here, version_compatible=self.build.version_compatible)
        origin.note(path, made)

    def load_engine(self, path: Path) -> "TensorRtSession":
        """An engine from a file, built here or elsewhere on the same kind of GPU.

        Raises:
            ArtefactError: the file is missing or damaged, or for another GPU or version.
        """
        from depthopt.runtimes.tensorrt.engine import load_plan  # noqa: PLC0415 - needs TensorRT
        from depthopt.runtimes.tensorrt.session import (  # noqa: PLC0415
            Execution,
            TensorRtSession,
        )

        if not path.exists():
            raise ArtefactError(f"{path} does not exist")
        origin.check(path, self.here, what="the engine", instead="build it anew on this machine")
        try:
            engine = load_plan(path.read_bytes(), here=self.here, log=self._log)
        except ArtefactError as error:
            raise ArtefactError(f"the engine {path} cannot be loaded: {error}") from None
        execution = Execution(engine, self._scratch)
        shapes = {name: tuple(tensor.shape) for name, tensor in execution.inputs.items()}
        dtypes = {n: str(t.dtype).removeprefix("torch.") for n, t in execution.inputs.items()}
        return TensorRtSession(shapes, dtypes, lambda _: execution)

    @cached_property
    def _log(self) -> "Log":
        from depthopt.runtimes.tensorrt.log import Log  # noqa: PLC0415 - needs TensorRT

        return Log()

    @cached_property
    def _scratch(self) -> "Scratch":
        from depthopt.runtimes.tensorrt.session import Scratch  # noqa: PLC0415 - needs TensorRT

        return Scratch()

    def _read(self, onnx_model: bytes | Path) -> Network:
        try:
            return read(onnx_model, self.dtype)
        except Exception as error:  # onnx's exceptions share no base but this one
            raise ModelError(self._cannot_run(onnx_model, error)) from error

    def _session(self, onnx_model: bytes | Path, network: Network) -> "TensorRtSession":
        from depthopt.runtimes.tensorrt.session import TensorRtSession  # noqa: PLC0415

        try:
            return TensorRtSession(
                network.input_shapes,
                network.input_dtypes,
                lambda s: self._execution(network.fixed(s)),
            )
        except ModelError as error:
            raise ModelError(self._cannot_run(onnx_model, error)) from error

    def _cannot_run(self, onnx_model: bytes | Path, error: Exception) -> str:
        return f"tensorrt {self.version} cannot run {named(onnx_model)}: {one_line(error)}"

    def _execution(self, content: bytes) -> "Execution":
        from depthopt.runtimes.tensorrt.engine import load_plan  # noqa: PLC0415 - needs TensorRT
        from depthopt.runtimes.tensorrt.session import Execution  # noqa: PLC0415

        plan = self._plan(content)
        try:
            return Execution(load_plan(plan, here=self.here, log=self._log), self._scratch)
        except (ArtefactError, torch.cuda.OutOfMemoryError) as error:
            reason = f"the engine does not load ({one_line(error)})"
            raise ModelError(f"{reason}; lower latency.batch if the GPU is full") from error

    def _information(self, content: bytes) -> dict[str, Any]:
        from depthopt.runtimes.tensorrt.engine import information, load_plan  # noqa: PLC0415

        return information(load_plan(self._plan(content), here=self.here, log=self._log))

    def _plan(self, content: bytes) -> bytes:
        from depthopt.runtimes.tensorrt.engine import build_plan  # noqa: PLC0415 - needs TensorRT

        wanted = key(content, self.dtype, self.build)
        plan = self._plans.get(wanted)
        if plan is None:
            plan = build_plan(
                content,
                self.dtype,
                self.build,
                cache=self.timing_cache,
                here=self.here,
                log=self._log,
            )
            self._plans.put(wanted, plan)
        return plan


def cache_folder() -> Path:
    """Where timing caches lie that no recipe names: ``$XDG_CACHE_HOME/depthopt/tensorrt``."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "depthopt" / "tensorrt"


def _here() -> Origin:
    """This device and version.

    Raises:
        RuntimeUnavailable: there is no GPU, or no TensorRT, or too old a one.
    """
    if not torch.cuda.is_available():
        raise RuntimeUnavailable(
            "runtime 'tensorrt' needs an NVIDIA GPU and torch sees none here; run it on a machine "
            "that has one, or choose another runtime"
        )
    try:
        import tensorrt as trt  # noqa: PLC0415 - an extra, and of no use without a GPU
    except ImportError as error:
        raise RuntimeUnavailable(
            f"runtime 'tensorrt' is not installed ({one_line(error)}); run: "
            "pip install 'tensorrt>=10.12'"
        ) from None
    if numbers(trt.__version__) < MINIMUM:
        raise RuntimeUnavailable(
            f"TensorRT {trt.__version__} is too old; run: pip install 'tensorrt>=10.12'"
        )
    major, minor = torch.cuda.get_device_capability()
    return Origin(torch.cuda.get_device_name(), f"{major}.{minor}", trt.__version__)
