"""The two sides of a check, as files that a runtime compiles."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from depthopt.errors import ModelError, UsageError
from depthopt.runtimes import Runtime, Session

_ENGINES = (".engine", ".plan")


@runtime_checkable
class EngineLoader(Protocol):
    """A runtime that also runs networks which were compiled earlier, such as TensorRT."""

    def load_engine(self, path: Path) -> Session:
        """The engine in a file, ready to run."""
        ...


@dataclass(frozen=True, slots=True)
class Side:
    """One network of a check.

    Attributes:
        name: as the user gave it.
        path: the file that the runtime compiles: an ONNX model or an engine.
        sha256: of that file, and of the weights beside it.
        size_bytes: of the same.
        parameters: numbers that the model holds; None for an engine.
        input_shapes: by name; None where a dimension is free.
    """

    name: str
    path: Path
    sha256: str
    size_bytes: int
    parameters: int | None
    input_shapes: dict[str, tuple[int | None, ...]]

    @property
    def is_engine(self) -> bool:
        """Whether it is compiled already, by one runtime for one device."""
        return self.path.suffix in _ENGINES


def side_of(given: Path, *, runtime: Runtime, batch: int, scratch: Path) -> Side:
    """What a path stands for: an ONNX file, an engine, or a folder from ``depthopt.save``.

    Args:
        given: the path.
        runtime: what will run it.
        batch: images per inference, of a saved network.
        scratch: an existing folder, where a saved network is written as ONNX.

    Raises:
        UsageError: there is no such file, or it is of a kind that is not known.
        ArtefactError: a saved network is damaged.
        ModelError: the runtime cannot run it.
    """
    if not given.exists():
        raise UsageError(f"{given} does not exist; give an ONNX file, a saved network or an engine")
    if given.is_dir():
        path = _exported(given, batch, scratch)
    elif given.suffix in {".onnx", *_ENGINES}:
        path = given
    else:
        raise UsageError(f"{given} is no .onnx file, saved network, .engine or .plan file")
    input_shapes = dict(opened(runtime, path).input_shapes)
    parts = _parts(path)
    return Side(
        name=str(given),
        path=path,
        sha256=_sha256(parts),
        size_bytes=sum(part.stat().st_size for part in parts),
        parameters=None if path.suffix in _ENGINES else _parameters(path),
        input_shapes=input_shapes,
    )


def opened(runtime: Runtime, path: Path) -> Session:
    """A fresh session of an ONNX model or of an engine.

    Raises:
        UsageError: it is an engine, and the runtime loads none.
        ModelError: the runtime cannot run it.
    """
    if path.suffix not in _ENGINES:
        return runtime.compile(path)
    if not isinstance(runtime, EngineLoader):
        raise UsageError(
            f"{path} is an engine, {runtime.name} loads none; use --runtime tensorrt --device cuda"
        )
    return runtime.load_engine(path)


def require_equal_inputs(baseline: Side, current: Side) -> None:
    """Refuse sides that cannot be fed with the same inputs.

    Raises:
        UsageError: names or shapes of their inputs differ.
    """
    if baseline.input_shapes != current.input_shapes:
        raise UsageError(
            f"{baseline.name} takes {_shapes(baseline)}, {current.name} takes "
            f"{_shapes(current)}; only networks of equal inputs compare"
        )


def _shapes(side: Side) -> str:
    return ", ".join(
        f"{name} {'x'.join('?' if n is None else str(n) for n in shape)}"
        for name, shape in side.input_shapes.items()
    )


def _exported(folder: Path, batch: int, scratch: Path) -> Path:
    """A saved network as an ONNX file in ``scratch``."""
    import torch  # noqa: PLC0415 - takes seconds; ONNX files do without

    from depthopt.core.artefacts import load_json  # noqa: PLC0415 - as above
    from depthopt.export import export_onnx, load  # noqa: PLC0415 - as above
    from depthopt.export.saved import SavedModel  # noqa: PLC0415 - as above

    network = load(folder)
    input_size = load_json(SavedModel, folder / "model.json").plan.input_size
    images = torch.randn(batch, *input_size, generator=torch.Generator().manual_seed(0))
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    path = scratch / f"{name}.onnx"
    export_onnx(network, path, images=images, batch=batch)
    return path


def _parts(path: Path) -> list[Path]:
    """The file, and the file of weights that an ONNX model may have beside it."""
    weights = path.with_name(path.name + ".data")
    return [path, weights] if weights.exists() else [path]


def _sha256(parts: list[Path]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _parameters(path: Path) -> int:
    """Floating-point numbers that an ONNX model holds."""
    import onnx  # noqa: PLC0415 - only where it is needed

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's exceptions share no base but this one
        reason = " ".join(str(error).split())
        raise ModelError(f"{path} is no ONNX model: {reason}") from error
    types = onnx.TensorProto
    floating = {types.FLOAT, types.FLOAT16, types.BFLOAT16, types.DOUBLE, types.INT8}
    return sum(math.prod(t.dims) for t in model.graph.initializer if t.data_type in floating)
