"""Read a checkpoint, of depthopt or of another program, into a network.

Files of safetensors, and of torch, which are read by ``torch.load(weights_only=True)``: no code in
them is run. The weights are searched inside, prefixes that wrappers put before names are taken
away where the network's names then fit better, and one line says all that was done. A last layer of
another size is kept untrained, and has to be trained. Names are never guessed.
"""

import argparse
import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import torch
from torch import Tensor, nn

from depthopt.core import limits
from depthopt.core.clipped import clipped, shortened
from depthopt.errors import ArtefactError
from depthopt.models.nearest import nearest
from depthopt.models.weights import check_numbers, numbers_of, read_safetensors

SUFFIXES = (".pth", ".pt", ".ckpt", ".tar", ".bin")
"""Suffixes of files that torch wrote. Others are taken for safetensors."""

PLACES = ("state_dict_ema", "ema", "state_dict", "model")
"""Keys under which files keep a network's weights. The first that exists is taken."""

PREFIXES = ("module.", "model.", "_orig_mod.")
"""Prefixes that wrappers put before names: DataParallel, Lightning, torch.compile."""

_DEPTH = 3
"""Prefixes behind one another, and places inside one another."""

_SHOWN = 3
"""Names in a message."""

_COUNTERS = "num_batches_tracked"
"""Buffers that checkpoints before torch 0.4.1 lack, and no evaluation reads."""

_SCALAR = cast("Callable[..., Any]", np.float64(0).__reduce__()[0])
"""What NumPy's scalars are pickled by; it makes numbers of bytes."""

_NUMBERS = "?bhilqBHILQefd"
"""NumPy's types of numbers."""

_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(letter)) for letter in _NUMBERS},
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
"""What checkpoints hold beside tensors and plain values: options, and figures such as the best
accuracy."""

_SAVE = "torch.save(model.state_dict(), 'weights.pth')"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result of reading a checkpoint.

    Attributes:
        said: one line: what was taken, and what was done to it.
        head_replaced: why the network's last layer has not the checkpoint's weights, and is to be
            trained; None if it has them.
        head_outputs: numbers that the checkpoint's own last layer gives; None where it fits, or
            there is none.
        figures: numbers that the file holds beside the weights, by name, such as ``best_acc1``.
    """

    said: str
    head_replaced: str | None = None
    head_outputs: int | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Found:
    """Tensors by the network's names, and how they were found.

    Attributes:
        tensors: by name.
        place: keys of the file under which they lay.
        prefix: that was taken away.
        apart: names that lacked it.
        figures: numbers that the file holds beside them, by name.
    """

    tensors: Mapping[str, Tensor]
    place: tuple[str, ...] = ()
    prefix: str = ""
    apart: frozenset[str] = frozenset()
    figures: Mapping[str, float] = field(default_factory=dict)


def load_checkpoint(model: nn.Module, path: Path, *, name: str = "") -> Loaded:
    """Read a checkpoint into a network.

    Args:
        model: its tensors are written over, but for a last layer that does not fit.
        path: a file of safetensors, or of torch: ``.pth``, ``.pt``, ``.ckpt``, ``.tar``, ``.bin``.
        name: of the network, for the message that it is another's.

    Raises:
        ArtefactError: the file is missing, damaged, or holds objects of Python; it is another
            network's; or a weight is not finite.
    """
    found = _best(_read(path, numbers_of(model)), model)
    wanted = model.state_dict()
    others = [key for key in found.tensors if key not in wanted]
    fitting = {k: t for k, t in found.tensors.items() if k in wanted and _fits(t, wanted[k])}
    left = [key for key in wanted if key not in fitting and not key.endswith(_COUNTERS)]
    head = _head(model, found.tensors, left)
    if not found.apart.issuperset(others) or (left and head is None):
        _refuse_other(model, found, fitting, path, name)
    check_numbers(model, fitting, path)
    model.load_state_dict(fitting, strict=False)
    said = f"{path.name}: took {_taken(found)}"
    if others:
        said += f", and left out {len(others)} that are not the network's, such as {others[0]}"
    if head is None:
        return Loaded(said, figures=found.figures)
    layer, its, outputs = head
    why = f"its last layer {layer} is missing"
    if its is not None:
        why = f"its last layer {layer} gives {its} numbers, the network's gives {outputs}"
    why += ": the network's own is kept untrained, and has to be trained"
    return Loaded(f"{said}; {why}", why, its, found.figures)


def _taken(found: _Found) -> str:
    place = " of ".join(reversed(found.place))
    prefix = f", without the prefix {found.prefix}" if found.prefix else ""
    return f"{f'{place} of' if place else 'all'} {len(found.tensors)} tensors{prefix}"


def _read(path: Path, numbers: int) -> _Found:
    """The weights in a file, by the names that they have there."""
    most = limits.WEIGHTS_HEAD_BYTES + 8 * numbers
    if path.suffix not in SUFFIXES:
        return _Found(read_safetensors(path, most)[1])
    content = _of_torch(path, limits.CHECKPOINT_COPIES * most)
    return replace(_weights(content, path), figures=dict(_figures(content)))


def _figures(content: object) -> Iterator[tuple[str, float]]:
    """The numbers that a file holds at its top: plain ones, NumPy's, and tensors of one."""
    for key, value in content.items() if isinstance(content, Mapping) else ():
        one = isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta
        if isinstance(key, str) and (one or isinstance(value, int | float | np.number)):
            number = float(cast("Any", value))
            if math.isfinite(number) and not isinstance(value, bool):
                yield key, number


def _of_torch(path: Path, most: int) -> object:
    """What ``torch.load`` gives for a file, without running anything in it."""
    if not path.is_file():
        raise ArtefactError(f"{path} does not exist")
    zipped = zipfile.is_zipfile(path)
    size = path.stat().st_size
    stored = False
    if zipped:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        size = max(size, sum(entry.file_size for entry in entries))
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if size > most:
        raise ArtefactError(
            f"{path} has more than {most:,} bytes; save the network's weights alone: {_SAVE}"
        )
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # of old formats, which are read all the same
            return torch.load(path, "cpu", weights_only=True, mmap=stored)
    except Exception as error:  # of bytes that anybody may have written
        _refuse_file(path, str(error))


def _refuse_file(path: Path, said: str) -> NoReturn:
    """Say what torch does not read, and how to save what it does."""
    if "TorchScript" in said:
        raise ArtefactError(
            f"{path} is a TorchScript archive, which holds code; save the weights of the module "
            f"that it was made of: {_SAVE}"
        )
    unsafe = re.search(r"(?:GLOBAL|[Cc]lass|type) ([A-Za-z_][\w.]+)", said)
    if "nsupported" in said and unsafe is not None:
        raise ArtefactError(
            f"{path} is a pickle that holds a Python object, {shortened(unsafe[1], 100)}; reading "
            "it would run code; if you trust the file, save the weights alone: "
            f"{_SAVE}, or the part of a checkpoint that holds them"
        )
    told = shortened(" ".join(said.split()), limits.VALUE_CHARACTERS)
    told = f" ({told})" if " " in told else ""  # else a byte's number or the like
    raise ArtefactError(
        f"{path} is not a whole checkpoint that torch.load(weights_only=True) reads{told}; save it "
        f"again: {_SAVE}"
    )


def _weights(content: object, path: Path, place: tuple[str, ...] = ()) -> _Found:
    """The mapping of tensors that a file holds."""
    if not isinstance(content, Mapping):
        raise ArtefactError(
            f"{path} holds a {type(content).__name__}, expected weights by name: {_SAVE}"
        )
    if len(place) < _DEPTH:
        for key in PLACES:
            inner = content.get(key)
            if isinstance(inner, Mapping) and any(_holds_tensors(inner, _DEPTH)):
                return _weights(inner, path, (*place, key))
    tensors = {str(k): t for k, t in content.items() if isinstance(t, Tensor)}
    if not tensors:
        near = [k for k, v in content.items() if isinstance(v, Mapping) and any(_tensors(v))]
        what = f"its keys are {clipped(list(content)[:10])}"
        if near:
            what = (
                f"but under {clipped(near[0])}: save that alone, "
                f"torch.save(torch.load(FILE)[{clipped(near[0])}], 'weights.pth')"
            )
        raise ArtefactError(f"{path} holds no weights under {', '.join(PLACES)}; {what}")
    return _Found(tensors, place)


def _holds_tensors(content: Mapping[Any, object], depth: int) -> Iterator[bool]:
    """Whether a mapping, or one inside it where weights are kept, has tensors."""
    yield any(_tensors(content))
    for key in PLACES if depth else ():
        inner = content.get(key)
        if isinstance(inner, Mapping):
            yield from _holds_tensors(inner, depth - 1)


def _tensors(content: Mapping[Any, object]) -> Iterator[bool]:
    return (isinstance(value, Tensor) for value in content.values())


def _best(read: _Found, model: nn.Module) -> _Found:
    """The tensors under those names that fit the network best, with the least taken away."""
    wanted = model.state_dict()

    def fit(found: _Found) -> int:
        return sum(name in wanted for name in found.tensors)

    tried = list(_stripped(read, _DEPTH))
    return max(tried, key=lambda found: (fit(found), -len(found.prefix)))


def _stripped(found: _Found, depth: int) -> Iterator[_Found]:
    """Tensors as they are, and without all prefixes; names that lack one keep what they are."""
    yield found
    for prefix in PREFIXES if depth else ():
        if not any(name.startswith(prefix) for name in found.tensors):
            continue
        shorter = {name.removeprefix(prefix): t for name, t in found.tensors.items()}
        if len(shorter) == len(found.tensors):
            lacking = {name for name in found.tensors if not name.startswith(prefix)}
            apart = {name.removeprefix(prefix) for name in found.apart} | lacking
            longer = found.prefix + prefix
            inner = replace(found, tensors=shorter, prefix=longer, apart=frozenset(apart))
            yield from _stripped(inner, depth - 1)


def _fits(tensor: Tensor, wanted: Tensor) -> bool:
    plain = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta
    return plain and tensor.shape == wanted.shape


def _head(
    model: nn.Module, tensors: Mapping[str, Tensor], left: list[str]
) -> tuple[str, int | None, int] | None:
    """The last layer, if it alone does not fit: its name, its width there, and here.

    It does if all that does not fit is one linear layer's, or a convolution's, and is missing
    whole, or differs in the number of outputs alone.
    """
    layers = {name.rpartition(".")[0] for name in left}
    owning = [n for n, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))]
    if len(layers) != 1:
        return None
    (layer,) = layers
    module, own = model.get_submodule(layer), sorted(left)
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return None
    names = sorted(f"{layer}.{name}" for name, _ in module.named_parameters())
    there = [tensors[name] for name in names if name in tensors]
    outputs = len(module.weight)
    if not there and own == names and layer == owning[-1]:
        return layer, None, outputs
    alike = own == names and len(there) == len(names)
    tails = alike and all(
        t.dim() and t.shape[1:] == model.get_parameter(name).shape[1:]
        for name, t in zip(names, there, strict=True)
    )
    widths = {len(t) for t in there} if tails else set()
    return (layer, widths.pop(), outputs) if len(widths) == 1 else None


def _refuse_other(
    model: nn.Module, found: _Found, fitting: Mapping[str, Tensor], path: Path, name: str
) -> NoReturn:
    """Say how far a checkpoint is from the network's, and whose it may be."""
    wanted = model.state_dict()
    wrong = []
    for key, tensor in found.tensors.items():
        if key not in wanted:
            wrong.append(f"{shortened(key, 100)} is not the network's")
        elif key not in fitting:
            shapes = "x".join(map(str, tensor.shape)), "x".join(map(str, wanted[key].shape))
            wrong.append(f"{key} is {shapes[0] or 'a number'}, expected {shapes[1] or 'a number'}")
    lacking = [key for key in wanted if key not in found.tensors and not key.endswith(_COUNTERS)]
    wrong += [f"{key} is missing" for key in lacking]
    shown = "; ".join(wrong[:_SHOWN]) + (
        f"; and {len(wrong) - _SHOWN} more" * (len(wrong) > _SHOWN)
    )
    stripped = (each.tensors for each in _stripped(found, _DEPTH))
    other = next(filter(None, (nearest(tensors, name) for tensors in stripped)), None)
    hint = f"; its names are those of {other}" if other and other != name else ""
    raise ArtefactError(
        f"{path} does not fit {name or type(model).__name__}: {len(fitting)} of its "
        f"{len(found.tensors)} tensors fit, of {len(wanted)} that the network has ({shown}){hint}"
    )
