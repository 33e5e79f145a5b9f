"""TensorRT, and TensorRT for RTX, in float32, TF32 or float16."""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from depthopt.core.clipped import one_line
from depthopt.errors import ArtefactError, ModelError, RuntimeUnavailable
from depthopt.runtimes.base import Array, LayerTime, named, processor_conditions
from depthopt.runtimes.tensorrt import engine, files
from depthopt.runtimes.tensorrt.layers import layer_times
from depthopt.runtimes.tensorrt.library import TENSORRT, Library
from depthopt.runtimes.tensorrt.network import Network, key, read
from depthopt.runtimes.tensorrt.options import DTYPES, BuildOptions, labelled
from depthopt.runtimes.tensorrt.origin import Origin
from depthopt.runtimes.tensorrt.plans import Plans
from depthopt.runtimes.tensorrt.runtime_cache import RuntimeCache
from depthopt.runtimes.tensorrt.session import Execution, Scratch, TensorRtSession
from depthopt.runtimes.tensorrt.targets import capability_of
from depthopt.tables.latency import MeasurementConditions


class TensorRt:
    """A TensorRT library on this machine's GPU, with one engine per network and shape.

    Engines are built from ONNX in memory, once each; what the library keeps from process to process
    is one file per device and version, which all tables share.

    Attributes:
        name: the library's.
        library: TensorRT 10.12 and newer, 11 included, or TensorRT for RTX.
        dtype: one of ``DTYPES``.
        build: how engines are built.
        here: this device and version.
        merges_siblings: the library's.
    """

    devices = ("cuda",)
    dtypes = DTYPES
    is_accelerated = True

    def __init__(
        self,
        *,
        threads: int = 1,  # noqa: ARG002 - a GPU has none to choose
        device: str = "cuda",  # noqa: ARG002 - there is no other
        dtype: str = "float32",
        build: BuildOptions | None = None,
        library: Library = TENSORRT,
    ) -> None:
        """Pin the conditions.

        Raises:
            RuntimeUnavailable: there is no GPU, or no such library, or too old a one.
            UsageError: a setting of builds that the library does not have.
        """
        self.name, self.merges_siblings = library.name, library.merges_siblings
        self.dtype, self.build, self.library = dtype, build or BuildOptions(), library
        library.require(self.build)
        self.here = _here(library)
        self._plans, self._scratch = Plans(), Scratch()

    @property
    def version(self) -> str:
        """TensorRT's version, such as 10.14.1.48, with settings that are not the default ones."""
        return labelled(self.here.tensorrt, self.build)

    @property
    def timing_cache(self) -> Path:
        """The file that all builds share."""
        return self.build.timing_cache or cache_folder() / f"{self.here.slug}.timing"

    @cached_property
    def _runtime_cache(self) -> RuntimeCache | None:
        """Of a library that compiles kernels where an engine is loaded."""
        if self.library.cache != "runtime":
            return None
        return RuntimeCache(cache_folder() / f"{self.here.slug}.runtime", self.here)

    def conditions(self, batch: int) -> MeasurementConditions:
        """The conditions of measurements made here at ``batch`` images per inference."""
        found = processor_conditions(self, threads=None, dtype=self.dtype, batch=batch)
        return replace(found, device=self.here.device or "", clock_mhz=None)

    def compile(self, onnx_model: bytes | Path) -> TensorRtSession:
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
        """The inspector's JSON on the engine of a model with fixed shapes.

        Version 11 names some fields otherwise than 10.
        https://docs.nvidia.com/deeplearning/tensorrt/11.3.0/api/migration/tensorrt-10x-to-11x-IEngineInspector.html

        Raises:
            ModelError: as ``compile``.
        """
        return self._information(self._read(onnx_model).content)

    def save_engine(
        self, onnx_model: bytes | Path, path: Path, *, checked: bool | None = None
    ) -> None:
        """Write the engine of a model with fixed shapes, and two files beside it.

        They hold what it is built for (``.json``) and what the inspector tells of it
        (``.layers.json``). Where one cannot be written, none is.

        Args:
            onnx_model: the model.
            path: the engine's file.
            checked: whether its outputs were compared with the network's.

        Raises:
            ModelError: as ``compile``.
            WriteFailed: the system refuses.
        """
        content = self._read(onnx_model).content
        plan, layers = self._plan(content), self._information(content)
        compatible = self.build.version_compatible
        made = replace(self.here, version_compatible=compatible, checked=checked)
        files.save(path, plan, layers, made)

    def load_engine(self, path: Path) -> TensorRtSession:
        """Load an engine from a file that was built on or for this kind of GPU.

        Raises:
            ArtefactError: the file is missing or damaged, or for another GPU or version.
        """
        files.check(path, self.here)
        try:
            execution = self._loaded(path.read_bytes())
        except ArtefactError as error:
            raise ArtefactError(f"the engine {path} cannot be loaded: {error}") from None
        shapes = {name: tuple(tensor.shape) for name, tensor in execution.inputs.items()}
        dtypes = {n: str(t.dtype).removeprefix("torch.") for n, t in execution.inputs.items()}
        return TensorRtSession(shapes, dtypes, lambda _: execution)

    def _read(self, onnx_model: bytes | Path) -> Network:
        try:
            return read(onnx_model, self.dtype)
        except Exception as error:  # onnx's exceptions share no base but this one
            raise ModelError(self._cannot_run(onnx_model, error)) from error

    def _session(self, onnx_model: bytes | Path, network: Network) -> TensorRtSession:
        try:
            return TensorRtSession(
                network.input_shapes,
                network.input_dtypes,
                lambda s: self._execution(network.fixed(s)),
            )
        except ModelError as error:
            raise ModelError(self._cannot_run(onnx_model, error)) from error

    def _cannot_run(self, onnx_model: bytes | Path, error: Exception) -> str:
        return f"{self.name} {self.version} cannot run {named(onnx_model)}: {one_line(error)}"

    def _execution(self, content: bytes) -> Execution:
        plan = self._plan(content)
        try:
            return self._loaded(plan)
        except (ArtefactError, torch.cuda.OutOfMemoryError) as error:
            reason = f"the engine does not load ({one_line(error)})"
            raise ModelError(f"{reason}; lower latency.batch if the GPU is full") from error

    def _loaded(self, plan: bytes) -> Execution:
        found = engine.load_plan(self.library, plan, here=self.here)
        return Execution(self.library.load(), found, self._scratch, self._runtime_cache)

    def _information(self, content: bytes) -> dict[str, Any]:
        found = engine.load_plan(self.library, self._plan(content), here=self.here)
        return engine.information(self.library.load(), found)

    def _plan(self, content: bytes) -> bytes:
        wanted = key(content, self.dtype, self.build)
        plan = self._plans.get(wanted)
        if plan is None:
            cache = self.timing_cache if self.library.cache == "timing" else None
            plan = engine.build_engine(
                self.library, content, self.dtype, self.build, cache=cache, here=self.here
            ).plan
            self._plans.put(wanted, plan)
        return plan


def cache_folder() -> Path:
    """The default folder of timing caches: ``$XDG_CACHE_HOME/depthopt/tensorrt``."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "depthopt" / "tensorrt"


def _here(library: Library) -> Origin:
    """This device and version.

    Raises:
        RuntimeUnavailable: there is no GPU, or no such library, or too old a one.
    """
    if not torch.cuda.is_available():
        raise RuntimeUnavailable(
            f"runtime {library.name!r} needs an NVIDIA GPU and torch sees none here; run it on a "
            "machine that has one, or choose another runtime"
        )
    version = library.load().__version__
    major, minor = torch.cuda.get_device_capability()
    capability, device = f"{major}.{minor}", torch.cuda.get_device_name()
    if library.targets and capability not in map(capability_of, library.targets):
        raise RuntimeUnavailable(
            f"{library.title} does not know compute capability {capability} of this {device}; "
            "use the runtime tensorrt"
        )
    return Origin(device, capability, version, library=library.name)
