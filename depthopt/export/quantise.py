"""Quantise an exported network to 8-bit integers, with ONNX Runtime's static quantisation.

What reads a file decides its form. ONNX Runtime computes in 8 bits what stands between 8-bit
tensors, and takes an activation into a convolution only where the zero point cuts it off.
TensorRT reads zero points of 0 and no 32-bit biases, and wants what has weights quantised at its
inputs, and not what stands between it and an activation or addition behind it.
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/quantized-types-explicit-quantization.html
"""

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import onnx
from onnxruntime import quantization as ort_quantization

from depthopt.core.clipped import clipped, one_line
from depthopt.core.inputs import Inputs
from depthopt.core.writing import write_bytes
from depthopt.errors import DataError, ModelError, UsageError
from depthopt.export.noted import note_again
from depthopt.export.onnx import load_onnx
from depthopt.runtimes.base import Array
from depthopt.runtimes.registry import get_runtime

QuantisedFor = Literal["onnxruntime", "tensorrt"]
"""Runtimes that read 8-bit files. Each needs its own form."""


def quantise(
    onnx_path: str | Path,
    path: str | Path,
    *,
    images: Iterable[Inputs],
    per_channel: bool = True,
    runtime: QuantisedFor = "onnxruntime",
) -> None:
    """Write an exported network with 8-bit weights and activations.

    Quantise-dequantise pairs (QDQ) are symmetric for weights; the ranges of activations are the
    smallest and largest values that ``images`` gives. For ONNX Runtime pairs are put around every
    operator. For TensorRT they are symmetric for activations too, and stand at the inputs of
    convolutions and matrix products alone, whose biases stay in float32. ONNX Runtime computes
    most of such a file in float32; TensorRT refuses the other. The file says which it is:
    ``depthopt.int8_for`` in its metadata.

    How much accuracy that costs depends on the network, and with ONNX Runtime on the processor:
    without VNNI its 8-bit kernels saturate. Measure it on labelled images, as
    ``tests/benchmarks/int8.py`` does.
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html

    Args:
        onnx_path: the ONNX file in float32, norms folded, of one batch or of any.
        path: the file to write.
        images: batches of real images (N, C, H, W), or of named inputs, N being the file's batch
            if it has one.
        per_channel: one scale per output channel of a weight, and not one for all.
        runtime: what the file is for: ``onnxruntime`` or ``tensorrt``.

    Raises:
        UsageError: there is no form for ``runtime``.
        ArtefactError: the file is missing, cut short or damaged.
        DataError: there are no images.
        ModelError: ONNX Runtime cannot quantise the network.
    """
    if runtime not in _FORMS:
        known = ", ".join(get_args(QuantisedFor))
        raise UsageError(f"cannot quantise for {clipped(runtime)}; runtime may be: {known}")
    onnx_path = Path(onnx_path)
    source, batches = load_onnx(onnx_path), iter(images)
    first = next(batches, None)
    if first is None:
        raise DataError("no images to quantise with; give a batch or more")
    reader = _Reader(source.graph.input[0].name, chain([first], batches))
    with tempfile.TemporaryDirectory() as folder, _quiet():
        written = Path(folder) / "int8.onnx"
        try:
            ort_quantization.quantize_static(
                onnx_path,
                written,
                reader,
                quant_format=ort_quantization.QuantFormat.QDQ,
                per_channel=per_channel,
                weight_type=ort_quantization.QuantType.QInt8,
                calibrate_method=ort_quantization.CalibrationMethod.MinMax,
                **_FORMS[runtime](),
            )
        except Exception as error:  # its exceptions share no base but this one
            raise ModelError(
                f"onnxruntime cannot quantise {onnx_path}: {one_line(error)}"
            ) from error
        quantised = onnx.load(written)
    told = {entry.key: entry.value for entry in source.metadata_props}
    told |= {"depthopt.dtype": "int8", "depthopt.int8_for": runtime}
    onnx.helper.set_model_props(quantised, told)
    content = quantised.SerializeToString()
    get_runtime("onnxruntime").compile(content)
    write_bytes(Path(path), content)
    note_again(Path(path))


def _for_onnxruntime() -> dict[str, Any]:
    """Activations that use all levels, and every operator between 8-bit tensors."""
    return {"activation_type": ort_quantization.QuantType.QUInt8}


def _for_tensorrt() -> dict[str, Any]:
    """Zero points of 0, float biases, and pairs before what has weights.

    A pair between a convolution and the activation or addition behind it would round once more
    than is needed.
    """
    weighted = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
    return {
        "activation_type": ort_quantization.QuantType.QInt8,
        "op_types_to_quantize": weighted,
        "extra_options": {
            "ActivationSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": weighted,
        },
    }


_FORMS: dict[QuantisedFor, Callable[[], dict[str, Any]]] = {
    "onnxruntime": _for_onnxruntime,
    "tensorrt": _for_tensorrt,
}
"""What ONNX Runtime's quantiser is told."""


class _Reader(ort_quantization.CalibrationDataReader):  # type: ignore[misc] # it has no types
    """Images as ONNX Runtime's calibration asks for them: one batch a call, then None."""

    def __init__(self, name: str, batches: Iterable[Inputs]) -> None:
        self._name, self._batches = name, iter(batches)

    def get_next(self) -> dict[str, Array] | None:
        """The next batch."""
        batch = next(self._batches, None)
        if isinstance(batch, Mapping):
            return {name: tensor.numpy() for name, tensor in batch.items()}
        return None if batch is None else {self._name: batch.numpy()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice to its own callers off the user's terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
