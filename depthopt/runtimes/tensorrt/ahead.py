"""Build engines for named GPUs, on a machine that may have none.

TensorRT for RTX compiles for a GPU without one: kernels are made where the engine is loaded.
https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html
"""

from collections.abc import Sequence
from pathlib import Path

from depthopt.core.clipped import one_line
from depthopt.errors import ModelError
from depthopt.runtimes.base import named
from depthopt.runtimes.tensorrt import engine
from depthopt.runtimes.tensorrt import targets as known
from depthopt.runtimes.tensorrt.built import Built
from depthopt.runtimes.tensorrt.library import TENSORRT_RTX, Library
from depthopt.runtimes.tensorrt.network import read
from depthopt.runtimes.tensorrt.options import BuildOptions
from depthopt.runtimes.tensorrt.origin import Origin


def build_ahead(
    onnx_model: bytes | Path,
    *,
    targets: Sequence[str],
    dtype: str = "float32",
    build: BuildOptions | None = None,
    library: Library = TENSORRT_RTX,
) -> Built:
    """Build an engine for GPUs that need not be here.

    The same model, targets and settings give the same bytes.

    Args:
        onnx_model: of fixed shapes, serialised or as a file.
        targets: such as ``["sm89", "sm120"]``, or ``["portable"]``.
        dtype: one of ``DTYPES``.
        build: how.
        library: one that has targets.

    Raises:
        RuntimeUnavailable: the library is not installed, or too old.
        UsageError: a target or a setting that it does not have.
        ModelError: it cannot parse or build the network, or a dimension of an input is free; the
            message says why.
    """
    build = build or BuildOptions()
    library.require(build)
    wanted, version = known.parsed(targets, library), library.load().__version__
    try:
        content = _fixed(onnx_model, dtype)
        return engine.build_engine(library, content, dtype, build, targets=wanted)
    except ModelError as error:
        raise ModelError(
            f"{library.name} {version} cannot build {named(onnx_model)} for "
            f"{', '.join(wanted)}: {one_line(error)}"
        ) from error


def made_ahead(
    targets: Sequence[str], *, checked: bool | None = None, library: Library = TENSORRT_RTX
) -> Origin:
    """The note beside an engine that was built ahead of time.

    Args:
        targets: what it was built for.
        checked: whether its outputs were compared with the network's; None says nothing of it.
        library: what built it.

    Raises:
        RuntimeUnavailable: the library is not installed.
        UsageError: as ``build_ahead``.
    """
    version, wanted = library.load().__version__, known.parsed(targets, library)
    return Origin(None, None, version, library=library.name, targets=wanted, checked=checked)


def _fixed(onnx_model: bytes | Path, dtype: str) -> bytes:
    """The network to build, of one shape.

    Raises:
        ModelError: it is none, or a dimension is free.
    """
    try:
        network = read(onnx_model, dtype)
    except Exception as error:  # onnx's exceptions share no base but this one
        raise ModelError(one_line(error)) from error
    free = [name for name, shape in network.input_shapes.items() if None in shape]
    if free:
        raise ModelError(
            f"input {free[0]} has a free dimension, and an engine needs one shape; export the "
            "model with a batch"
        )
    return network.content
