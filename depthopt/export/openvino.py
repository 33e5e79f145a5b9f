"""Write an exported network as OpenVINO's files, and check them against torch."""

import tempfile
from pathlib import Path

from torch import nn

from depthopt.core.clipped import one_line
from depthopt.core.inputs import Inputs, count
from depthopt.core.writing import write_bytes
from depthopt.errors import CheckFailed, ModelError
from depthopt.export.noted import note_again
from depthopt.export.onnx import TOLERANCE, load_onnx, onnx_difference
from depthopt.graph.outputs import output_of
from depthopt.graph.verify import evaluating, typed_like
from depthopt.runtimes.registry import get_runtime


def export_openvino(
    network: nn.Module,
    onnx_path: str | Path,
    path: str | Path,
    *,
    images: Inputs,
    tolerance: float = TOLERANCE,
) -> float:
    """Write an exported network as OpenVINO's IR, and check it in float32.

    Both files are written only if the check passes.

    Args:
        network: what the ONNX file was exported from.
        onnx_path: that file, of one batch or of any.
        path: the ``.xml`` file; a ``.bin`` of the same name with the weights lies beside it.
        images: (N, C, H, W), or named inputs, with N >= batch: real ones, to compare outputs on.
        tolerance: largest accepted relative difference of outputs.

    Returns:
        The largest difference of outputs over the largest absolute one.

    Raises:
        RuntimeUnavailable: OpenVINO is not installed.
        ArtefactError: the ONNX file is missing, cut short or damaged.
        ModelError: OpenVINO cannot read the network.
        CheckFailed: OpenVINO's outputs differ from torch's by more than ``tolerance``.
    """
    runtime, onnx_path, path = get_runtime("openvino"), Path(onnx_path), Path(path)
    batch = load_onnx(onnx_path).graph.input[0].type.tensor_type.shape.dim[0].dim_value or count(
        images
    )
    with evaluating(network):
        wanted = output_of(network, typed_like(network, images))
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.xml"
        _write_ir(onnx_path, written)
        difference = onnx_difference(runtime, written, images, wanted, batch)
        if not difference <= tolerance:
            raise CheckFailed(
                f"OpenVINO's outputs differ from torch's by {difference:.1e} relative, more than "
                f"{tolerance:.0e}; {path.name} was not written"
            )
        write_bytes(path.with_suffix(".bin"), written.with_suffix(".bin").read_bytes())
        write_bytes(path, written.read_bytes())
        note_again(path, path.with_suffix(".bin"))
    return difference


def _write_ir(model: Path, path: Path) -> None:
    """Convert, with the weights left in float32."""
    import openvino as ov  # noqa: PLC0415 - an extra, asked for above

    try:
        ov.save_model(ov.Core().read_model(model), path, compress_to_fp16=False)
    except Exception as error:  # its exceptions share no base but this one
        raise ModelError(f"openvino cannot read {model}: {one_line(error)}") from error
