"""Write a network as an ONNX file, and check it against torch."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import version_converter
from torch import Tensor, nn

from depthopt.core.clipped import one_line
from depthopt.core.inputs import Inputs, called, count, first, whole_batches
from depthopt.core.numbers import Batch, Count, require
from depthopt.core.writing import write_bytes
from depthopt.errors import ArtefactError, CheckFailed, DataError, ModelError, UsageError
from depthopt.export.noted import check_noted, note_again
from depthopt.export.older import TooOld, older
from depthopt.export.read_once import read_once
from depthopt.export.simplify import simplify
from depthopt.export.undecomposed import undecomposed
from depthopt.graph.original import deepcopied
from depthopt.graph.outputs import leaves, one_tensor
from depthopt.graph.verify import evaluating, typed_like
from depthopt.runtimes.base import Array, Runtime, Session
from depthopt.runtimes.registry import get_runtime
from depthopt.tasks.registry import DEFAULT, task_of
from depthopt.tasks.task import Task

TOLERANCE = 1e-3
"""Largest difference of outputs, relative to the largest, that the check accepts."""

OPSET = 20
"""The newest opset that torch's exporter writes. Others are converted from it."""

_LARGE_BATCH = 8
"""Batch at which a file for any batch is checked, besides 1."""


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
        network: maps (batch, C, H, W), or named inputs, to a tensor, or to tuples, lists and
            dicts of tensors; evaluation mode is used.
        path: the file; its folder is made.
        images: (N, C, H, W), or named inputs, with N >= batch: real ones, to compare outputs on.
        batch: examples per inference; None leaves it free, and checks the file at 1 and at 8 (or
            at all of the examples, 2 or more, if these are fewer).
        opset: version of ONNX's operators. Operators that are younger than it are written out by
            older ones, as far as that goes.
        task: what the network is for.
        names: of the one input and of the output; by default ``image``, and what the task calls
            it. Named inputs keep their names. Of several outputs each has its own name or place
            behind it, such as ``output_aux``.
        metadata: what else the file says of itself, beside depthopt's version; see
            ``SavedModel.metadata``.
        tolerance: largest accepted relative difference of outputs.

    Returns:
        The largest difference of outputs over the largest absolute one.

    Raises:
        DataError: fewer examples than one batch.
        UsageError: an input and an output would have the same name.
        ModelError: ONNX has no such operator, the network fixes its batch, or it cannot be
            written in that opset; then the message names the least newer one that works.
        CheckFailed: ONNX Runtime's outputs differ from torch's by more than ``tolerance``.
    """
    path = Path(path)
    if batch is not None:
        require(Batch, "batch", batch)
    require(Count, "opset", opset)
    given = count(images)
    most = batch if batch is not None else max(2, min(_LARGE_BATCH, given))
    if given < most:
        raise DataError(f"{given} images cannot check an export of batch {most}; give more")
    images = typed_like(network, images)
    with evaluating(network):
        try:
            output = called(network, images)
        except (RuntimeError, TypeError, ValueError) as error:
            message = str(error).partition("\n")[0]
            raise ModelError(f"the network refuses the images: {message}") from error
    wanted = one_tensor(network, output)
    input_name, output_name = names or ("image", task_of(task).output)
    outputs = [output_name + (f"_{name}" if name else "") for name in leaves(network, output)]
    inputs = set(images) if isinstance(images, Mapping) else {input_name}
    if both := sorted(inputs & set(outputs)):
        raise UsageError(f"an input and an output are both called {both[0]}; give other names")
    names_ = (input_name, *outputs)
    model = _translated(network, first(images, most), names_, dynamic=batch is None)
    runtime = get_runtime("onnxruntime")

    def attempt(opset: int) -> tuple[bytes, float]:
        written = _converted(model, opset)
        written.producer_name, written.producer_version = "depthopt", version("depthopt")
        onnx.helper.set_model_props(
            written, {"depthopt.version": version("depthopt"), **(metadata or {})}
        )
        content = written.SerializeToString()
        return content, max(
            onnx_difference(runtime, content, images, wanted, size)
            for size in ({most} if batch is not None else {1, most})
        )

    content, difference = (
        attempt(opset) if opset == OPSET else _in_another_opset(attempt, opset, tolerance)
    )
    if not difference <= tolerance:
        raise CheckFailed(
            f"the ONNX file's outputs differ from torch's by {difference:.1e} relative, more than "
            f"{tolerance:.0e}; {path.name} was not written"
        )
    write_bytes(path, content)
    note_again(path)
    return difference


def onnx_difference(
    runtime: Runtime, onnx_model: bytes | Path, images: Inputs, wanted: Tensor, batch: int
) -> float:
    """Largest relative difference of a model's outputs, in whole batches, from ``wanted``.

    Args:
        runtime: what runs the model.
        onnx_model: a file or its bytes.
        images: (N, C, H, W), or named inputs, N >= batch.
        wanted: (N, ...) outputs, of several as one tensor (``depthopt.graph.outputs``).
        batch: examples per inference.

    Raises:
        ModelError: the runtime cannot run the model, or not at this batch.
    """
    return session_difference(runtime.compile(onnx_model), images, wanted, batch)


def session_difference(session: Session, images: Inputs, wanted: Tensor, batch: int) -> float:
    """``onnx_difference`` for a model that is already compiled.

    Raises:
        ModelError: it does not run, or not at this batch.
    """
    parts = whole_batches(images, batch)
    got = [_rows(session.run(arrays_of(session, part))) for part in parts]
    compared = wanted[: batch * len(parts)].flatten(1)
    return relative_difference(compared, torch.from_numpy(np.concatenate(got)))


def _rows(outputs: Sequence[Array]) -> Array:
    """A session's outputs, the numbers of all in a row for each example."""
    return np.concatenate([output.reshape(len(output), -1) for output in outputs], 1)


def load_onnx(path: Path) -> onnx.ModelProto:
    """Load an ONNX file, and check that it is whole and valid.

    Raises:
        ArtefactError: it is missing, cut short, damaged, or another than was exported there.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except Exception as error:  # protobuf's exceptions share no base but this one
        raise ArtefactError(
            f"{path} is not a whole ONNX file ({one_line(error)}); export it again"
        ) from None
    check_noted(path)
    return model


def arrays_of(session: Session, inputs: Inputs) -> dict[str, Array]:
    """A batch as the arrays that a session takes."""
    if isinstance(inputs, Mapping):
        return {name: tensor.numpy() for name, tensor in inputs.items()}
    (name,) = session.input_shapes
    return {name: inputs.numpy()}


def relative_difference(reference: Tensor, other: Tensor) -> float:
    """Largest absolute difference over the largest absolute value of ``reference``."""
    return float((reference - other).abs().max() / reference.abs().max().clamp_min(1e-30))


def _translated(
    network: nn.Module, inputs: Inputs, names: Sequence[str], *, dynamic: bool
) -> onnx.ModelProto:
    """The network by torch's exporter, simplified.

    Pooling of tensors in torch's channels-last layout would be exported as gathers by stride. An
    activation in place is the same operator in the file, but is taken apart on the way, which
    for a MobileNetV2 of any batch takes as long as all else.
    """
    copied = deepcopied(network).eval().to(memory_format=torch.contiguous_format)
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
        with _quiet(), read_once(), undecomposed(), torch.no_grad():
            program = torch.onnx.export(
                copied, args, kwargs=kwargs, dynamo=True, verbose=False, opset_version=OPSET,
                input_names=own, output_names=list(names[1:]),
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
            "the network works at one batch only, so its ONNX file needs a fixed batch; give the "
            "batch"
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


def _in_another_opset(
    attempt: Callable[[int], tuple[bytes, float]], opset: int, tolerance: float
) -> tuple[bytes, float]:
    """What the attempt gives.

    Args:
        attempt: (opset): the file, and how far it is from torch; a ``ModelError`` if ONNX or the
            runtime refuses it.
        opset: that was asked for.
        tolerance: largest accepted difference.

    Raises:
        ModelError: it fails there, and not in another opset, which the message names.
    """
    found = None
    try:
        found = attempt(opset)
        if found[1] <= tolerance:
            return found
        failure = ModelError(f"outputs differ from torch's by {found[1]:.1e} there")
    except ModelError as error:
        failure = error
    works = _first_that_works(attempt, opset, tolerance)
    if works is not None:
        raise ModelError(
            f"the network cannot be written in ONNX's opset {opset} ({failure}); "
            f"opset {works} was tried and works"
        )
    if found is None:
        raise failure
    return found


def _first_that_works(
    attempt: Callable[[int], tuple[bytes, float]], opset: int, tolerance: float
) -> int | None:
    """The least opset above another, or the exporter's own."""
    for other in (*range(opset + 1, onnx.defs.onnx_opset_version() + 1), OPSET):
        try:
            _, difference = attempt(other)
        except ModelError:
            continue
        if difference <= tolerance:
            return int(other)
    return None


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model in an opset; in its own, itself.

    Raises:
        ModelError: it cannot be written there.
    """
    if opset == OPSET:
        return model
    try:
        if opset < OPSET:
            return older(model, opset)
        return version_converter.convert_version(model, opset)
    except TooOld as error:
        raise ModelError(str(error)) from None
    except RuntimeError as error:
        raise ModelError(" ".join(str(error).split("failed:")[-1].split())) from None


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
