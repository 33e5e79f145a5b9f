"""A network as an ONNX file, checked against torch before anyone uses it."""

import contextlib
import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import version_converter
from torch import Tensor, nn

from depthopt.core.artefacts import write_bytes
from depthopt.errors import ArtefactError, CheckFailed, DataError, ModelError
from depthopt.export.simplify import simplify
from depthopt.runtimes.base import Runtime
from depthopt.runtimes.registry import get_runtime

TOLERANCE = 1e-3
"""Largest difference of logits, relative to the largest logit, that the check accepts."""

OPSET = 20
"""The newest that the exporter itself writes; others are converted to."""

_LARGE_BATCH = 8
"""At which, and at 1, a file for any batch is checked."""


def export_onnx(
    network: nn.Module,
    path: str | Path,
    *,
    images: Tensor,
    batch: int | None = 1,
    opset: int = OPSET,
    names: tuple[str, str] = ("image", "logits"),
    metadata: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    """Write ``network`` as a simplified ONNX file, and check it on ONNX Runtime.

    The file is written only if the check passes.

    Args:
        network: maps (batch, C, H, W) to logits; evaluation mode is used.
        path: the file; its folder is made.
        images: (N, C, H, W) with N >= batch, real images to compare logits on.
        batch: images per inference; None leaves it free, and checks the file at 1 and at 8 (or
            at all of the images, 2 or more, if these are fewer).
        opset: version of ONNX's operators.
        names: of the input and of the output.
        metadata: what else the file says of itself, beside depthopt's version; see
            ``SavedModel.metadata``.
        tolerance: largest accepted relative difference of logits.

    Returns:
        The largest difference of logits over the largest absolute logit.

    Raises:
        DataError: fewer images than one batch.
        ModelError: ONNX has no such operator or no such opset, or the network fixes its batch.
        CheckFailed: ONNX Runtime's logits differ from torch's by more than ``tolerance``.
    """
    path = Path(path)
    most = batch if batch is not None else max(2, min(_LARGE_BATCH, len(images)))
    if len(images) < most:
        raise DataError(f"{len(images)} images cannot check an export of batch {most}; give more")
    with evaluating(network):
        wanted = network(images)
    model = _translated(network, images[:most], names, dynamic=batch is None)
    model = _converted(model, opset)
    model.producer_name, model.producer_version = "depthopt", version("depthopt")
    onnx.helper.set_model_props(
        model, {"depthopt.version": version("depthopt"), **(metadata or {})}
    )
    content = model.SerializeToString()
    runtime = get_runtime("onnxruntime")
    difference = max(
        onnx_difference(runtime, content, images, wanted, size)
        for size in ({most} if batch is not None else {1, most})
    )
    if not difference <= tolerance:
        raise CheckFailed(
            f"the ONNX file's logits differ from torch's by {difference:.1e} relative, more than "
            f"{tolerance:.0e}; {path.name} was not written"
        )
    write_bytes(path, content)
    return difference


def onnx_difference(
    runtime: Runtime, onnx_model: bytes | Path, images: Tensor, wanted: Tensor, batch: int
) -> float:
    """Largest relative difference of a model's logits, in whole batches, from ``wanted``.

    Args:
        runtime: what runs the model.
        onnx_model: a file or its bytes, with one input.
        images: (N, C, H, W), N >= batch.
        wanted: (N, classes) logits.
        batch: images per inference.

    Raises:
        ModelError: the runtime cannot run the model, or not at this batch.
    """
    session = runtime.compile(onnx_model)
    (name,) = session.input_shapes
    parts = batches_of(images, batch)
    got = [np.array(session.run({name: part.numpy()})[0]) for part in parts]
    compared = wanted[: batch * len(parts)]
    return relative_difference(compared, torch.from_numpy(np.concatenate(got)))


def load_onnx(path: Path) -> onnx.ModelProto:
    """A whole and valid ONNX file.

    Raises:
        ArtefactError: it is missing, cut short or damaged.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except Exception as error:  # protobuf's exceptions share no base but this one
        reason = " ".join(str(error).split())
        raise ArtefactError(f"{path} is no whole ONNX file ({reason}); export it anew") from None
    return model


def batches_of(images: Tensor, batch: int) -> list[Tensor]:
    """(N, C, H, W) in whole batches; a last, incomplete one is left out."""
    return [images[i : i + batch] for i in range(0, len(images) - batch + 1, batch)]


def relative_difference(reference: Tensor, other: Tensor) -> float:
    """Largest absolute difference over the largest absolute value of ``reference``."""
    return float((reference - other).abs().max() / reference.abs().max().clamp_min(1e-30))


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients; the network's own mode is restored."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)


def _translated(
    network: nn.Module, images: Tensor, names: tuple[str, str], *, dynamic: bool
) -> onnx.ModelProto:
    """The network by torch's exporter, simplified.

    Pooling of tensors in torch's channels-last layout would be exported as gathers by stride. An
    activation in place is the same operator in the file, but is taken apart on the way, which
    for a MobileNetV2 of any batch takes as long as all else.
    """
    copied = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)
    module: Any
    for module in copied.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    shapes: Any = ({0: torch.export.Dim("batch")},) if dynamic else None
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                copied, (images.contiguous(),), dynamo=True, verbose=False, opset_version=OPSET,
                input_names=names[:1], output_names=names[1:], dynamic_shapes=shapes,
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        raise ModelError(_why_not(error)) from error
    assert program is not None  # noqa: S101 - narrows ONNXProgram | None: dynamo returns one
    simplify(program.model)
    model: onnx.ModelProto = ir.to_proto(program.model)
    if dynamic and not all(
        value.type.tensor_type.shape.dim[0].dim_param
        for value in (*model.graph.input, *model.graph.output)
    ):
        raise ModelError(
            "the network works at one batch only, so that its ONNX file's cannot be left free; "
            "give the batch"
        )
    return model


def _why_not(error: BaseException) -> str:
    """The innermost reason, in one line, and the operator if it is one."""
    while error.__cause__ is not None:
        error = error.__cause__
    found = re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", str(error))
    if found:
        return f"ONNX has no operator for torch's {found[1]}; the network cannot be exported"
    return f"torch cannot export the network to ONNX: {str(error).strip().splitlines()[0]}"


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model in another opset."""
    if opset == OPSET:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except RuntimeError as error:
        reason = " ".join(str(error).split("failed:")[-1].split())
        raise ModelError(
            f"the network cannot be written in ONNX's opset {opset} ({reason}); "
            f"try one of 14 to {onnx.defs.onnx_opset_version()}"
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes for developers of torch off the user's terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
