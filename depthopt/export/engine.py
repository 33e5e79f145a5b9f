"""An exported network as a TensorRT engine, checked against torch before anyone uses it."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import nn

from depthopt.core.inputs import Inputs, called
from depthopt.errors import CheckFailed, ModelError, RuntimeUnavailable
from depthopt.export.noted import note_again
from depthopt.export.onnx import TOLERANCE, load_onnx, onnx_difference
from depthopt.graph.verify import evaluating, typed_like
from depthopt.runtimes.base import Runtime

HALF_TOLERANCE = 0.1
"""Instead of ``TOLERANCE`` where less than float32 is computed in: it tells a wrong engine from a
coarse one. Whole networks converted to float16 were within 0.02 on ONNX Runtime."""


@runtime_checkable
class EngineBuilder(Runtime, Protocol):
    """A runtime whose compiled networks can be kept as files: TensorRT."""

    dtype: str

    def save_engine(self, onnx_model: bytes | Path, path: Path) -> None:
        """Write the engine of a model of fixed shapes, and beside it what it is built for."""
        ...


def export_engine(
    network: nn.Module,
    onnx_path: str | Path,
    path: str | Path,
    *,
    runtime: Runtime,
    images: Inputs,
) -> float:
    """Build the engine of an exported network, check it, and write it.

    The file is written only if the check passes. It serves this GPU and this TensorRT alone:
    ``runtime.load_engine`` and ``depthopt check`` refuse it elsewhere, and name both.

    Args:
        network: what the ONNX file was exported from.
        onnx_path: that file, of one batch.
        path: the file; ``.json`` beside it says what it is built for, ``.layers.json`` what
            the inspector tells of its layers.
        runtime: ``get_runtime("tensorrt", device="cuda")`` with the dtype and the settings.
        images: (N, C, H, W), or named inputs, with N >= batch: real ones, to compare outputs on.

    Returns:
        The largest difference of outputs over the largest absolute one.

    Raises:
        RuntimeUnavailable: the runtime builds no engines.
        ArtefactError: the ONNX file is missing, cut short or damaged.
        ModelError: TensorRT cannot build the network, or the file's batch is free.
        CheckFailed: its outputs differ from torch's by more than 1e-3, or by more than
            ``HALF_TOLERANCE`` in TF32 and float16.
    """
    onnx_path, path = Path(onnx_path), Path(path)
    if not isinstance(runtime, EngineBuilder):
        raise RuntimeUnavailable(
            f"runtime {runtime.name!r} builds no engines; set latency.runtime=tensorrt"
        )
    batch = load_onnx(onnx_path).graph.input[0].type.tensor_type.shape.dim[0].dim_value
    if not batch:
        raise ModelError(f"{onnx_path} is for any batch, an engine for one; export it with a batch")
    with evaluating(network):
        wanted = called(network, typed_like(network, images))
    difference = onnx_difference(runtime, onnx_path, images, wanted, batch)
    tolerance = TOLERANCE if runtime.dtype == "float32" else HALF_TOLERANCE
    if not difference <= tolerance:
        raise CheckFailed(
            f"the engine's outputs differ from torch's by {difference:.1e} relative, more than "
            f"{tolerance:.0e}; {path.name} was not written"
        )
    runtime.save_engine(onnx_path, path)
    note_again(path)
    return difference
