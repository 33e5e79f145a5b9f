"""A network as an ONNX file, checked against torch before anyone uses it."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from depthopt.core.artefacts import write_bytes
from depthopt.errors import CheckFailed, DataError
from depthopt.runtimes import get_runtime

TOLERANCE = 1e-3
"""Largest difference of logits, relative to the largest logit, that the check accepts."""


def export_onnx(
    network: nn.Module,
    path: str | Path,
    *,
    images: Tensor,
    batch: int = 1,
    tolerance: float = TOLERANCE,
) -> float:
    """Write ``network`` as ONNX with a fixed batch, and check it on ONNX Runtime.

    The file is written only if the check passes.

    Args:
        network: maps (batch, C, H, W) to logits; evaluation mode is used.
        path: the file; its folder is made.
        images: (N, C, H, W) with N >= batch, real images to compare logits on.
        batch: images per inference.
        tolerance: largest accepted relative difference of logits.

    Returns:
        The largest difference of logits over the largest absolute logit.

    Raises:
        DataError: fewer images than one batch.
        CheckFailed: ONNX Runtime's logits differ from torch's by more than ``tolerance``.
    """
    path = Path(path)
    if len(images) < batch:
        raise DataError(f"{len(images)} images cannot check an export of batch {batch}; give more")
    training = network.training
    network.eval()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network, (images[:batch],), dynamo=True, verbose=False,
                input_names=["image"], output_names=["logits"],
            )  # fmt: skip
            assert program is not None  # noqa: S101 - dynamo always returns a program
            parts = batches_of(images, batch)
            wanted = [network(part) for part in parts]
    finally:
        network.train(training)
    model = program.model_proto
    _pad_inside_convolutions(model)
    content = model.SerializeToString()
    session = get_runtime("onnxruntime").compile(content)
    got = [session.run({"image": part.numpy()})[0] for part in parts]
    difference = relative_difference(torch.cat(wanted), torch.from_numpy(np.concatenate(got)))
    if not difference <= tolerance:
        raise CheckFailed(
            f"the ONNX file's logits differ from torch's by {difference:.1e} relative, more than "
            f"{tolerance:.0e}; {path.name} was not written"
        )
    write_bytes(path, content)
    return difference


def batches_of(images: Tensor, batch: int) -> list[Tensor]:
    """(N, C, H, W) in whole batches; a last, incomplete one is left out."""
    return [images[i : i + batch] for i in range(0, len(images) - batch + 1, batch)]


def relative_difference(reference: Tensor, other: Tensor) -> float:
    """Largest absolute difference over the largest absolute value of ``reference``."""
    return float((reference - other).abs().max() / reference.abs().max().clamp_min(1e-30))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes for developers of torch off the user's terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _pad_inside_convolutions(model: onnx.ModelProto) -> None:
    """Move zero padding in front of a convolution into the convolution's own ``pads``."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in list(graph.node):
        if node.op_type != "Pad" or node.input[1] not in constants:
            continue
        users = readers.get(node.output[0], [])
        amounts = numpy_helper.to_array(constants[node.input[1]]).tolist()
        spatial = amounts[2:4] + amounts[6:8]
        if len(users) != 1 or users[0].op_type != "Conv" or len(amounts) != 8 or min(spatial) < 0:
            continue
        conv = users[0]
        own = next((a for a in conv.attribute if a.name == "pads"), None)
        pads = list(own.ints) if own is not None else [0, 0, 0, 0]
        if own is not None:
            conv.attribute.remove(own)
        total = [a + b for a, b in zip(pads, spatial, strict=True)]
        conv.attribute.append(onnx.helper.make_attribute("pads", total))
        conv.input[0] = node.input[0]
        graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for tensor in [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)
