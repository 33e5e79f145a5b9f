"""Write and read a network's weights as a safetensors file."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from depthopt.core import digests, limits
from depthopt.core.clipped import one_line, shortened
from depthopt.core.reading import read_bytes
from depthopt.core.writing import write_bytes
from depthopt.errors import ArtefactError

_TYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""Safetensors' names for types of real numbers."""

_INSTEAD = "make it again, or fetch it again from where it came"


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's parameters and buffers as safetensors, atomically. Tied ones twice.

    The file's metadata says a digest of all else in it.
    """
    tensors: dict[str, Tensor] = {}
    stored = set[int]()
    for name, tensor in model.state_dict().items():
        memory = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if memory in stored else tensor
        tensors[name] = tensors[name].contiguous()
        stored.add(memory)
    write_bytes(path, digests.sealed(save_tensors(tensors)))


def dtype_of_weights(path: Path) -> torch.dtype:
    """The type of a file's first real numbers. float32 if there are none."""
    try:
        with safe_open(path, "pt") as file:
            stored = [file.get_slice(name).get_dtype() for name in file.keys()]  # noqa: SIM118
    except (OSError, SafetensorError):
        stored = []  # reading the weights says what is wrong
    return next((_TYPES[each] for each in stored if each in _TYPES), torch.float32)


def load_weights(
    model: nn.Module, path: Path, *, own: bool = False, sha256: str = "", instead: str = ""
) -> None:
    """Read what ``save_weights`` wrote into a model of the same structure.

    Args:
        model: its tensors are written over.
        path: a safetensors file, of depthopt or of another program.
        own: whether depthopt wrote it: then a line of the log says so where it has no digest.
        sha256: of the file's bytes, if it is known which file it must be.
        instead: what to do about a file that is refused.

    Raises:
        ArtefactError: the file is missing, damaged, changed after it was written, or of another
            model; or a weight is not finite.
    """
    instead = instead or _INSTEAD
    most = limits.WEIGHTS_HEAD_BYTES + 8 * numbers_of(model)
    content, tensors = read_safetensors(path, most, own=own and not sha256, instead=instead)
    check_numbers(model, tensors, path, instead)
    try:
        # In the order of their names, which is also that of a message.
        model.load_state_dict({name: tensors[name] for name in sorted(tensors)})
    except RuntimeError as error:
        detail = shortened(str(error).splitlines()[-1].strip())
        raise ArtefactError(f"{path} does not fit {type(model).__name__}: {detail}") from None
    if sha256 and digests.of_bytes(content) != sha256:
        raise ArtefactError(f"{path} is not the file that was written here; {instead}")


def numbers_of(model: nn.Module) -> int:
    """How many numbers a network's state holds."""
    return sum(tensor.numel() for tensor in model.state_dict().values())


def read_safetensors(
    path: Path, most: int, *, own: bool = False, instead: str = _INSTEAD
) -> tuple[bytes, dict[str, Tensor]]:
    """A safetensors file: its bytes, and the tensors in it by name.

    Args:
        path: the file.
        most: bytes that it may have.
        own: whether depthopt wrote it: then a line of the log says so where it has no digest.
        instead: what to do about a file that is refused.

    Raises:
        ArtefactError: it is missing, damaged, or was changed after it was written.
    """
    try:
        content = read_bytes(path, most)
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} is not whole safetensors ({one_line(error)})") from None
    try:
        tensors: dict[str, Tensor] = load_tensors(content)
    except SafetensorError as error:
        what = f"; {instead}" if instead != _INSTEAD else ""
        raise ArtefactError(f"{path} is not whole safetensors ({one_line(error)}){what}") from None
    digests.check_tensors(content, path, own=own, instead=instead)
    return content, tensors


def check_numbers(
    model: nn.Module, tensors: Mapping[str, Tensor], path: Path, instead: str = _INSTEAD
) -> None:
    """Refuse what torch would accept: NaN and infinite values, and integers for real numbers.

    Raises:
        ArtefactError: a tensor with the name of one of the model's does not hold weights.
    """
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, wanted in model.state_dict().items():
        tensor = tensors.get(name)
        if tensor is None:
            continue  # which torch says
        if tensor.is_floating_point() != wanted.is_floating_point():
            raise ArtefactError(
                f"{path}: {name} is of type {tensor.dtype}, expected {wanted.dtype}; {instead}"
            )
        # A buffer may hold infinities on purpose, as a mask does.
        sound = tensor.isfinite() if name in parameters else ~tensor.isnan()
        if not sound.all():
            raise ArtefactError(f"{path}: {name} holds NaN or infinite values; {instead}")
