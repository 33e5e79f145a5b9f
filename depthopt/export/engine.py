"""Build a TensorRT engine of an exported network, and check it against torch."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from depthopt.core.inputs import Inputs
from depthopt.errors import CheckFailed, ModelError, RuntimeUnavailable, UsageError
from depthopt.export.noted import note_again
from depthopt.export.onnx import TOLERANCE, load_onnx, onnx_difference, session_difference
from depthopt.graph.outputs import output_of
from depthopt.graph.verify import evaluating, typed_like
from depthopt.runtimes.base import Runtime
from depthopt.runtimes.registry import get_runtime
from depthopt.runtimes.tensorrt.ahead import build_ahead, made_ahead
from depthopt.runtimes.tensorrt.files import save
from depthopt.runtimes.tensorrt.library import TENSORRT_RTX, builds_no_engines
from depthopt.runtimes.tensorrt.options import DTYPES, BuildOptions
from depthopt.runtimes.tensorrt.runtime import TensorRt

HALF_TOLERANCE = 0.1
"""Tolerance in place of ``TOLERANCE`` below float32: it tells a wrong engine from a
coarse one. Whole networks converted to float16 were within 0.02 on ONNX Runtime."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The outputs that an engine is compared with.

    Attributes:
        name: of the engine's file.
        images: (N, C, H, W), or named inputs.
        outputs: the network's, (N, ...).
        batch: images per inference.
    """

    name: str
    images: Inputs
    outputs: Tensor
    batch: int

    def accept(self, difference: float, dtype: str) -> float:
        """Refuse an engine whose outputs differ by more than its numbers explain.

        Raises:
            CheckFailed: they do.
        """
        tolerance = TOLERANCE if dtype == "float32" else HALF_TOLERANCE
        if not difference <= tolerance:
            raise CheckFailed(
                f"the engine's outputs differ from torch's by {difference:.1e} relative, more than "
                f"{tolerance:.0e}; {self.name} was not written"
            )
        return difference


@runtime_checkable
class EngineBuilder(Runtime, Protocol):
    """A runtime whose compiled networks can be saved as files, such as TensorRT."""

    dtype: str

    def save_engine(
        self, onnx_model: bytes | Path, path: Path, *, checked: bool | None = None
    ) -> None:
        """Write the engine of a model with fixed shapes, with a note of what it is built for."""
        ...


def export_engine(
    network: nn.Module,
    onnx_path: str | Path,
    path: str | Path,
    *,
    images: Inputs,
    runtime: Runtime | None = None,
    targets: Sequence[str] = (),
    dtype: str = "float32",
    build: BuildOptions | None = None,
) -> float | None:
    """Build the engine of an exported network, check it, and write it.

    With ``runtime`` the engine is for this GPU and this TensorRT alone. With ``targets`` it is
    built ahead of time by TensorRT for RTX, on any machine, for the GPUs that are named; it is
    checked where this one is among them, and its note says whether it was. Elsewhere
    ``runtime.load_engine`` and ``depthopt check`` refuse an engine, and name what it is for.

    An engine whose outputs are wrong is not written.

    Args:
        network: what the ONNX file was exported from.
        onnx_path: that file, of one batch.
        path: the file; ``.json`` beside it says what it is built for, ``.layers.json`` what the
            library tells of its layers.
        images: (N, C, H, W), or named inputs, with N >= batch: real ones, to compare outputs on.
        runtime: ``get_runtime("tensorrt", device="cuda")`` with the dtype and the settings.
        targets: in its place, compute capabilities such as ``["sm89", "sm120"]``, or
            ``["portable"]``.
        dtype: of an engine for targets: ``float32``, ``tf32`` or ``float16``.
        build: how an engine for targets is built.

    Returns:
        The largest difference of outputs over the largest absolute one; None where the engine
        could not be run here.

    Raises:
        UsageError: neither a runtime nor targets, or both; a target, a dtype or a setting that
            there is not.
        RuntimeUnavailable: the runtime builds no engines, or TensorRT for RTX is not installed.
        ArtefactError: the ONNX file is missing, cut short or damaged.
        ModelError: TensorRT cannot build the network, or the file's batch is free.
        CheckFailed: its outputs differ from torch's by more than 1e-3, or by more than
            ``HALF_TOLERANCE`` in TF32 and float16.
        WriteFailed: the system refuses; no file is left.
    """
    onnx_path, path = Path(onnx_path), Path(path)
    if (runtime is None) != bool(targets):
        raise UsageError("an engine is built by a runtime or for targets; give one of the two")
    if runtime is not None and not isinstance(runtime, EngineBuilder):
        raise RuntimeUnavailable(builds_no_engines(runtime.name))
    batch = load_onnx(onnx_path).graph.input[0].type.tensor_type.shape.dim[0].dim_value
    if not batch:
        raise ModelError(
            f"{onnx_path} is for any batch, but an engine needs one; export it with a batch"
        )
    with evaluating(network):
        wanted = _Wanted(path.name, images, output_of(network, typed_like(network, images)), batch)
    difference: float | None
    if runtime is not None:
        difference = onnx_difference(runtime, onnx_path, images, wanted.outputs, batch)
        wanted.accept(difference, runtime.dtype)
        runtime.save_engine(onnx_path, path, checked=True)
    else:
        difference = _ahead(onnx_path, path, wanted, targets, dtype, build or BuildOptions())
    note_again(path)
    return difference


def _ahead(
    onnx_path: Path,
    path: Path,
    wanted: _Wanted,
    targets: Sequence[str],
    dtype: str,
    build: BuildOptions,
) -> float | None:
    """Build an engine for GPUs that need not be here; check it if one of them is."""
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r} is unknown to TensorRT; known: {', '.join(DTYPES)}")
    found = build_ahead(onnx_path, targets=targets, dtype=dtype, build=build)
    made, difference = made_ahead(targets), None
    runtime = _here(dtype, build)
    if runtime is not None and made.serves(runtime.here):
        with tempfile.TemporaryDirectory() as folder:
            begun = Path(folder, path.name)
            save(begun, found.plan, found.information, made)
            session = runtime.load_engine(begun)
            difference = session_difference(session, wanted.images, wanted.outputs, wanted.batch)
        wanted.accept(difference, dtype)
    save(path, found.plan, found.information, replace(made, checked=difference is not None))
    return difference


def _here(dtype: str, build: BuildOptions) -> TensorRt | None:
    """What runs the engine, if there is a GPU that it knows."""
    try:
        runtime = get_runtime(TENSORRT_RTX.name, device="cuda", dtype=dtype, build=build)
    except RuntimeUnavailable:
        return None
    return runtime if isinstance(runtime, TensorRt) else None
