"""From an ONNX network to a TensorRT engine, and from the engine to what it consists of.

All networks are strongly typed: version 11 knows no others. Precision is in the network, but for
TF32, which is a flag.
https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration/tensorrt-10x-to-11x-python-api-patterns.html
"""

import json
from pathlib import Path
from typing import Any

import tensorrt as trt

from depthopt.core.writing import write_bytes
from depthopt.errors import ArtefactError, ModelError
from depthopt.runtimes.tensorrt import origin
from depthopt.runtimes.tensorrt.log import Log
from depthopt.runtimes.tensorrt.messages import failed_build, failed_load
from depthopt.runtimes.tensorrt.options import BuildOptions
from depthopt.runtimes.tensorrt.origin import Origin


def build_plan(
    content: bytes, dtype: str, build: BuildOptions, *, cache: Path, here: Origin, log: Log
) -> bytes:
    """Build an engine and serialise it.

    Layers run one after another, on one stream: in the graphs that entries are measured in,
    copies lie side by side, and would run at once.

    Args:
        content: a serialised ONNX network with fixed shapes.
        dtype: one of ``DTYPES``.
        build: how.
        cache: file of the timing cache, which is read and brought up to date.
        here: this device and version.
        log: what TensorRT says.

    Raises:
        ModelError: TensorRT cannot parse or build the network; the message says why.
        ArtefactError: the timing cache is of another device or version.
    """
    log.clear()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(content):
        raise ModelError(_parse_errors(parser) or failed_build(log.complaints(), build))
    config = _config(builder, dtype, build)
    attach_timing_cache(config, cache, here)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelError(failed_build(log.complaints(), build))
    _keep_timing_cache(config, cache, here)
    return bytes(plan)


def load_plan(plan: bytes, *, here: Origin, log: Log) -> trt.ICudaEngine:
    """A serialised engine, ready to make contexts of.

    Raises:
        ArtefactError: it is none, or of another device or version.
    """
    log.clear()
    runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = True  # which version-compatible engines hold
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ArtefactError(failed_load(log.complaints(), here))
    return engine


def information(engine: trt.ICudaEngine) -> dict[str, Any]:
    """What the engine's inspector tells of its layers."""
    inspector = engine.create_engine_inspector()
    told = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    found: dict[str, Any] = json.loads(told)
    return found


def attach_timing_cache(config: trt.IBuilderConfig, path: Path, here: Origin) -> None:
    """Give a build the measurements of all earlier ones.

    Raises:
        ArtefactError: they were made on another device or by another version.
    """
    instead = "name another latency.build.timing_cache, or remove this one"
    origin.check(path, here, what="the timing cache", instead=instead)
    content = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        raise ArtefactError(
            f"the timing cache {path} is not one of this device and version ({here}); {instead}"
        )


def _keep_timing_cache(config: trt.IBuilderConfig, path: Path, here: Origin) -> None:
    content = bytes(config.get_timing_cache().serialize())
    if not path.exists() or path.read_bytes() != content:
        write_bytes(path, content)
        origin.note(path, here)


def _config(builder: trt.Builder, dtype: str, build: BuildOptions) -> trt.IBuilderConfig:
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


def _parse_errors(parser: trt.OnnxParser) -> str:
    errors = (parser.get_error(i) for i in range(parser.num_errors))
    told = [f"{e.node_operator()} {e.node_name()}: {e.desc()}".strip(" :") for e in errors]
    return " ".join("; ".join(told).split())
