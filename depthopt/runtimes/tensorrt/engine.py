"""Build an engine of an ONNX network, and inspect it.

All networks are strongly typed: version 11 knows no others. Precision is in the network, but for
TF32, which is a flag.
https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration/tensorrt-10x-to-11x-python-api-patterns.html
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from depthopt.errors import ArtefactError, ModelError, RuntimeUnavailable
from depthopt.runtimes.tensorrt import caches
from depthopt.runtimes.tensorrt.bindings import Bindings, RtxBindings
from depthopt.runtimes.tensorrt.built import Built, built
from depthopt.runtimes.tensorrt.driver import missing_driver
from depthopt.runtimes.tensorrt.library import Library
from depthopt.runtimes.tensorrt.log import listened
from depthopt.runtimes.tensorrt.messages import failed_build, failed_load
from depthopt.runtimes.tensorrt.options import BuildOptions
from depthopt.runtimes.tensorrt.origin import Origin
from depthopt.runtimes.tensorrt.targets import PORTABLE

if TYPE_CHECKING:
    import tensorrt
    import tensorrt_rtx

HERE = "current"
"""Stands for the GPU of this machine in place of targets."""


def build_engine(
    library: Library,
    content: bytes,
    dtype: str,
    build: BuildOptions,
    *,
    targets: Sequence[str] = (HERE,),
    cache: Path | None = None,
    here: Origin | None = None,
) -> Built:
    """Build an engine and serialise it.

    Layers run one after another, on one stream: in the graphs that entries are measured in,
    copies lie side by side, and would run at once.

    Args:
        library: what builds it.
        content: a serialised ONNX network with fixed shapes.
        dtype: one of ``DTYPES``.
        build: how.
        targets: what for: ``(HERE,)``, or what ``targets.parsed`` gives, of a library that has
            targets.
        cache: file of the timing cache, which is read and brought up to date; None of a library
            that has none.
        here: this device and version, for the cache.

    Raises:
        RuntimeUnavailable: the library is not installed, or too old for a target.
        ModelError: it cannot parse or build the network; the message says why.
        ArtefactError: the timing cache is of another device or version, or damaged.
    """
    trt = library.load()
    told, log = listened(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(content):
        complaints = told.complaints()
        raise ModelError(_parse_errors(parser) or failed_build(complaints, build, of=library))
    config = _config(trt, builder, dtype, build)
    if library.targets:
        _aim(
            library, cast("RtxBindings", trt), cast("tensorrt_rtx.IBuilderConfig", config), targets
        )
    if cache is not None and here is not None:
        attach_timing_cache(config, cache, here)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelError(failed_build(told.complaints(), build, of=library))
    if cache is not None and here is not None:
        caches.keep(cache, bytes(config.get_timing_cache().serialize()), here)
    return built(bytes(plan), told.layers)


def load_plan(library: Library, plan: bytes, *, here: Origin) -> "tensorrt.ICudaEngine":
    """Load a serialised engine, ready for contexts.

    Raises:
        RuntimeUnavailable: the library is not installed, or there is no driver, without which it
            would end the process.
        ArtefactError: it is none, or of another device or version.
    """
    if not library.loads_without_driver and (reason := missing_driver()):
        raise RuntimeUnavailable(f"{library.title} cannot load engines here: {reason}")
    trt = library.load()
    told, log = listened(trt)
    runtime = trt.Runtime(log)
    if not library.targets:
        runtime.engine_host_code_allowed = True  # which version-compatible engines hold
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ArtefactError(failed_load(told.complaints(), here))
    return engine


def information(trt: Bindings, engine: "tensorrt.ICudaEngine") -> dict[str, Any]:
    """An engine's layers, as its inspector describes them."""
    inspector = engine.create_engine_inspector()
    told = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    found: dict[str, Any] = json.loads(told)
    return found


def attach_timing_cache(config: "tensorrt.IBuilderConfig", path: Path, here: Origin) -> None:
    """Give a build the measurements of all earlier ones.

    Raises:
        ArtefactError: they were made on another device or by another version, or are damaged.
    """
    instead = "name another latency.build.timing_cache, or remove this one"
    content = caches.read(path, here, what="the timing cache", instead=instead)
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        raise ArtefactError(
            f"the timing cache {path} is not one of this device and version ({here}); {instead}"
        )


def _config(
    trt: Bindings, builder: "tensorrt.Builder", dtype: str, build: BuildOptions
) -> "tensorrt.IBuilderConfig":
    config = builder.create_builder_config()
    if dtype == "tf32":
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if build.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if build.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, build.workspace_mib << 20)
    config.builder_optimization_level = build.optimization_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.max_aux_streams = 0
    return config


def _aim(
    library: Library,
    trt: "RtxBindings",
    config: "tensorrt_rtx.IBuilderConfig",
    targets: Sequence[str],
) -> None:
    """Say what GPUs to build for, and that memory is the caller's, as CUDA graphs need it.

    https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/getting-started/release-notes-1/1.2.html
    """
    config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if tuple(targets) == (PORTABLE,):  # for all of them, where nothing is said
        return
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        capability = getattr(trt.ComputeCapability, target.upper(), None)
        if capability is None:
            raise RuntimeUnavailable(
                f"{library.title} {library.load().__version__} cannot build for {target}; run: "
                f"pip install --upgrade '{library.package}'"
            )
        config.set_compute_capability(capability, index)


def _parse_errors(parser: "tensorrt.OnnxParser") -> str:
    """What the parser refused: the kind of error, the node and the reason."""
    errors = (parser.get_error(i) for i in range(parser.num_errors))
    told = [
        f"{e.code().name}: {e.node_operator()} {e.node_name()}".strip(" :") + _reason(e)
        for e in errors
    ]
    return " ".join("; ".join(told).split())


def _reason(error: "tensorrt.ParserError") -> str:
    """The parser's reason in brackets; some errors have none but ``false``."""
    return "" if error.desc() in {"", "false"} else f" ({error.desc()})"
