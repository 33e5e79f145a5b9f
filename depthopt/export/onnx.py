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
from depthopt.core.inputs import Inputs, called, count, first, whole_batches
from depthopt.errors import ArtefactError, CheckFailed, DataError, ModelError
from depthopt.export.read_once import read_once
from depthopt.export.simplify import simplify
from depthopt.runtimes.base import Array, Runtime, Session
from depthopt.runtimes.registry import get_runtime
from depthopt.tasks.registry import DEFAULT, task_of
from depthopt.tasks.task import Task

TOLERANCE = 1e-3
"""Largest difference of outputs, relative to the largest, that the check accepts."""

OPSET = 20
"""The newest that the exporter itself writes; others are converted to."""

_LARGE_BATCH = 8
"""At which, and at 1, a file for any batch is checked."""


def export_onnx(
    network: nn.Module,
    path: str | Path,
    *,
    images: Inputs,
    batch: int | None = 1,
    opset: int = OPSET,
    task: Task | str = DEFAULT,
    names: tuple[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    """Write ``network`` as a simplified ONNX file, and check it on ONNX Runtime.

    The file is written only if the check passes.

    Args:
        network: maps (batch, C, H, W), or named inputs, to one tensor; evaluation mode is used.
        path: the file; its folder is made.
        images: (N, C, H, W), or named inputs, with N >= batch: real ones, to compare outputs on.
        batch: examples per inference; None leaves it free, and checks the file at 1 and at 8 (or
            at all of the examples, 2 or more, if these are fewer).
        opset: version of ONNX's operators.
        task: what the network is for.
        names: of the one input and of the output; by default ``image``, and what the task calls
            it. Named inputs keep their names.
        metadata: what else the file says of itself, beside depthopt's version; see
            ``SavedModel.metadata``.
        tolerance: largest accepted relative difference of outputs.

    Returns:
        The largest difference of outputs over the largest absolute one.

    Raises:
        DataError: fewer examples than one batch.
        ModelError: ONNX has no such operator or no such opset, or the network fixes its batch.
        CheckFailed: ONNX Runtime's outputs differ from torch's by more than ``tolerance``.
    """
    path = Path(path)
    given = count(images)
    most = batch if batch is not None else max(2, min(_LARGE_BATCH, given))
    if given < most:
        raise DataError(f"{given} images cannot check an export of batch {most}; give more")
    with evaluating(network):
        wanted = called(network, images)
    names = names or ("image", task_of(task).output)
    model = _translated(network, first(images, most), names, dynamic=batch is None)
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
            f"the ONNX file's outputs differ from torch's by {difference:.1e} relative, more than "
            f"{tolerance:.0e}; {path.name} was not written"
        )
    write_bytes(path, content)
    return difference


def onnx_difference(
    runtime: Runtime, onnx_model: bytes | Path, images: Inputs, wanted: Tensor, batch: int
) -> float:
    """Largest relative difference of a model's outputs, in whole batches, from ``wanted``.

    Args:
        runtime: what runs the model.
        onnx_model: a file or its bytes.
        images: (N, C, H, W), or named inputs, N >= batch.
        wanted: (N, ...) outputs.
        batch: examples per inference.

    Raises:
        ModelError: the runtime cannot run the model, or not at this batch.
    """
    session = runtime.compile(onnx_model)
    parts = whole_batches(images, batch)
    got = [np.array(session.run(arrays_of(session, part))[0]) for part in parts]
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


def arrays_of(session: Session, inputs: Inputs) -> dict[str, Array]:
    """A batch as a session takes it."""
    if isinstance(inputs, Mapping):
        return {name: tensor.numpy() for name, tensor in inputs.items()}
    (name,) = session.input_shapes
    return {name: inputs.numpy()}


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
    network: nn.Module, inputs: Inputs, names: tuple[str, str], *, dynamic: bool
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
    batch: Any = {0: torch.export.Dim("batch")}
    if isinstance(inputs, Mapping):
        own, args = list(inputs), tuple[Tensor, ...]()
        kwargs = {name: tensor.contiguous() for name, tensor in inputs.items()}
        shapes: Any = dict.fromkeys(own, batch)
    else:
        own, args, kwargs, shapes = [names[0]], (inputs.contiguous(),), {}, (batch,)
    try:
        with _quiet(), read_once(), torch.no_grad():
            program = torch.onnx.export(
                copied, args, kwargs=kwargs, dynamo=True, verbose=False, opset_version=OPSET,
                input_names=own, output_names=names[1:],
                dynamic_shapes=shapes if dynamic else None,
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
