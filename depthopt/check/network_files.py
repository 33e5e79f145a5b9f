"""The two sides of a check: files that a runtime compiles or loads."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol, runtime_checkable

import onnx

from depthopt.check.inputs import require_one_size
from depthopt.check.onnx_files import read_onnx, stored_tensors
from depthopt.check.parameters import parameters
from depthopt.core.counted import counted
from depthopt.errors import CheckFailed, ModelError, UsageError
from depthopt.export.noted import check_noted
from depthopt.runtimes.base import Runtime, Session, random_inputs

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
        parameters: of the model, as ``depthopt.check.parameters`` counts them; None for an engine.
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
        ArtefactError: a saved network is damaged, or a file another than was exported there.
        ModelError: the runtime cannot run it, or a file of its weights is missing, or is said
            to lie outside of its folder.
    """
    if not given.exists():
        raise UsageError(f"{given} does not exist; give an ONNX file, a saved network or an engine")
    if given.is_dir():
        path = _exported(given, batch, scratch)
    elif given.suffix in {".onnx", *_ENGINES}:
        path = given
    else:
        raise UsageError(f"{given} is not an .onnx file, saved network, .engine or .plan file")
    check_noted(path)
    model = None if path.suffix in _ENGINES else read_onnx(path)
    parts = [path] if model is None else [path, *_weights_beside(path, model)]
    session = opened(runtime, path)
    _require_runs(given, session, batch)
    return Side(
        name=str(given),
        path=path,
        sha256=_sha256(parts),
        size_bytes=sum(part.stat().st_size for part in parts),
        parameters=None if model is None else _counted(given, model),
        input_shapes=dict(session.input_shapes),
    )


def _counted(given: Path, model: onnx.ModelProto) -> int:
    try:
        return parameters(model)
    except ModelError as error:
        raise ModelError(f"{given}: {error}") from error


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
            f"{path} is an engine, which {runtime.name} cannot load; use --runtime tensorrt "
            "--device cuda"
        )
    return runtime.load_engine(path)


def batch_of(batch: int, *sides: Side) -> int:
    """Images per inference. A network that fixes its batch decides.

    Args:
        batch: for networks that leave it free.
        sides: of equal inputs.

    Raises:
        UsageError: a network is fixed to another batch than the one that was asked for.
    """
    for side in sides:
        fixed = next((shape[0] for shape in side.input_shapes.values() if shape), None)
        if fixed is None:
            continue
        if batch not in {1, fixed}:
            raise UsageError(
                f"{side.name} takes {counted(fixed, 'image')} per inference, but --batch is {batch}"
            )
        return fixed
    return batch


def _require_runs(given: Path, session: Session, batch: int) -> None:
    """Refuse what would fail later, or be measured at a size that nobody chose."""
    require_one_size(str(given), session.input_shapes)
    try:
        session.run(random_inputs(session, batch))
    except ModelError as error:
        raise ModelError(f"{given} does not run on random inputs: {error}") from error


def _exported(folder: Path, batch: int, scratch: Path) -> Path:
    """A saved network as an ONNX file in ``scratch``."""
    from depthopt.core.artefacts import load_json  # noqa: PLC0415 - torch takes seconds
    from depthopt.export.onnx import export_onnx  # noqa: PLC0415 - as above
    from depthopt.export.saved import SavedModel, load  # noqa: PLC0415 - as above
    from depthopt.graph.examples import made_up  # noqa: PLC0415 - as above

    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    path = scratch / f"{name}.onnx"
    try:
        network = load(folder)
        input_size = load_json(SavedModel, folder / "model.json").input_size
        export_onnx(network, path, images=made_up(input_size, batch), batch=batch)
    except CheckFailed as error:
        raise ModelError(f"{folder} cannot be checked as ONNX: {error}") from error
    return path


def _weights_beside(path: Path, model: onnx.ModelProto) -> list[Path]:
    """The files of weights that an ONNX model names.

    https://onnx.ai/onnx/repo-docs/ExternalData.html

    Raises:
        ModelError: one is missing, or lies outside of the model's folder.
    """
    locations = {
        entry.value
        for tensor in stored_tensors(model)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    files = []
    for location in sorted(locations):
        if _leaves_its_folder(location):
            raise ModelError(
                f"{path} keeps weights in {location!r}, outside its folder, which are not read; "
                "save it with its weights beside it"
            )
        file = path.parent / location
        if "\0" in location or not file.is_file():
            raise ModelError(
                f"{path} keeps weights in {file}, which does not exist; put it there, or export "
                "the model again"
            )
        files.append(file)
    return files


def _leaves_its_folder(location: str) -> bool:
    """Whether a path is absolute or goes up, by the rules of this system or another."""
    return any(
        not location or known.is_absolute() or known.drive or known.root or ".." in known.parts
        for known in (PurePosixPath(location), PureWindowsPath(location))
    )


def _sha256(parts: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
