"""An exported network in 8-bit integers, by ONNX Runtime's static quantisation."""

import contextlib
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import onnx
from onnxruntime import quantization as ort_quantization

from depthopt.core.clipped import one_line
from depthopt.core.inputs import Inputs
from depthopt.core.writing import write_bytes
from depthopt.errors import DataError, ModelError
from depthopt.export.noted import note_again
from depthopt.export.onnx import load_onnx
from depthopt.runtimes.base import Array
from depthopt.runtimes.registry import get_runtime


def quantise(
    onnx_path: str | Path, path: str | Path, *, images: Iterable[Inputs], per_channel: bool = True
) -> None:
    """Write an exported network with 8-bit weights and activations.

    Quantise-dequantise pairs (QDQ) are put around every operator, symmetric ones for
    weights; the ranges of activations are the smallest and largest values that ``images``
    gives. How much accuracy that costs depends on the network: measure it on labelled
    images, as ``tests/benchmarks/int8.py`` does.
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html

    Args:
        onnx_path: the ONNX file in float32, norms folded, of one batch or of any.
        path: the file to write.
        images: batches of real images (N, C, H, W), or of named inputs, N being the file's batch
            if it has one.
        per_channel: one scale per output channel of a weight, and not one for all.

    Raises:
        ArtefactError: the file is missing, cut short or damaged.
        DataError: there are no images.
        ModelError: ONNX Runtime cannot quantise the network.
    """
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
                activation_type=ort_quantization.QuantType.QUInt8,
                weight_type=ort_quantization.QuantType.QInt8,
                calibrate_method=ort_quantization.CalibrationMethod.MinMax,
            )
        except Exception as error:  # its exceptions share no base but this one
            raise ModelError(
                f"onnxruntime cannot quantise {onnx_path}: {one_line(error)}"
            ) from error
        quantised = onnx.load(written)
    told = {entry.key: entry.value for entry in source.metadata_props}
    onnx.helper.set_model_props(quantised, {**told, "depthopt.dtype": "int8"})
    content = quantised.SerializeToString()
    get_runtime("onnxruntime").compile(content)
    write_bytes(Path(path), content)
    note_again(Path(path))


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
