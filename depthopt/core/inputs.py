"""What a network takes: one image, or several named inputs; and batches of them.

A network of one image is told by the image's size, ``(channels, height, width)``, and is called
with a tensor. One of several inputs is told by an ``InputSpec``, and is called with tensors by
name, which are the names of ``forward``'s parameters.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from pydantic import GetCoreSchemaHandler, GetPydanticSchema, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, core_schema

from depthopt.core.text import text_schema

if TYPE_CHECKING:  # torch takes seconds to import, and tables are read without it
    import torch
    from torch import Tensor

ImageSize = tuple[int, int, int]
"""(channels, height, width)."""

Inputs: TypeAlias = Union["Tensor", Mapping[str, "Tensor"]]
"""A batch of images (N, C, H, W), or of each input by name (N, ...)."""

_DTYPES = ("float32", "float16", "float64", "int64", "int32", "uint8", "bool")


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a network.

    Attributes:
        name: of the parameter of ``forward``.
        shape: of one example, without the batch, such as (channels, height, width); none for a
            number.
        dtype: torch's name, such as ``float32`` or ``int64``.
        range: the least and the largest value of made-up examples; None draws normal ones, and of
            whole numbers 0 and 1.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    range: tuple[float, float] | None = None

    def __str__(self) -> str:
        """Its part of an ``InputSpec``'s text, such as ``step=scalar:int64[0..999]``."""
        size = "x".join(map(str, self.shape)) or "scalar"
        dtype = "" if self.dtype == "float32" else f":{self.dtype}"
        limits = "" if self.range is None else "[{:g}..{:g}]".format(*self.range)
        return f"{self.name}={size}{dtype}{limits}"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The named inputs of a network, in order.

    Attributes:
        inputs: one or more, of different names.
    """

    inputs: tuple[Input, ...]

    def __post_init__(self) -> None:
        names = [each.name for each in self.inputs]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"inputs must be one or more of different names, got {names}")

    def __str__(self) -> str:
        """Canonical text, such as ``image=3x32x32,step=scalar:int64[0..999]``."""
        return ",".join(map(str, self.inputs))

    @classmethod
    def parse(cls, text: str) -> "InputSpec":
        """The specification whose ``str`` is ``text``.

        Raises:
            ValueError: it is none's.
        """
        return cls(tuple(_parsed(part.strip(), text) for part in text.split(",")))

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)


def size_schema(sizes: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """How pydantic reads and writes an input size: as a list of three, or as text.

    Args:
        sizes: the type of the list of three.
        handler: pydantic's.
    """

    def read(value: Any, as_image: ValidatorFunctionWrapHandler) -> Any:
        if isinstance(value, str) and "=" in value:
            return InputSpec.parse(value)
        return value if isinstance(value, InputSpec) else as_image(value)

    return core_schema.no_info_wrap_validator_function(
        read,
        handler(sizes),
        serialization=core_schema.plain_serializer_function_ser_schema(
            lambda value: str(value) if isinstance(value, InputSpec) else list(value)
        ),
    )


InputSize = Annotated[
    ImageSize | InputSpec, GetPydanticSchema(lambda _, handler: size_schema(ImageSize, handler))
]
"""What a network takes: one image of this size, or named inputs."""

_INPUT = re.compile(
    r"(?P<name>[A-Za-z_]\w*)=(?P<shape>scalar|\d+(x\d+)*)(:(?P<dtype>\w+))?"
    r"(\[(?P<low>-?[\d.e+-]+?)\.\.(?P<high>-?[\d.e+-]+)\])?"
)


def _parsed(part: str, text: str) -> Input:
    found = _INPUT.fullmatch(part)
    if found is None:
        raise ValueError(
            f"{text!r} does not name inputs, such as 'image=3x32x32,step=scalar:int64[0..999]'"
        )
    shape, dtype = found["shape"], found["dtype"] or "float32"
    if dtype not in _DTYPES:
        raise ValueError(f"{part!r} is of an unknown dtype; known: {', '.join(_DTYPES)}")
    limits = None if found["low"] is None else (float(found["low"]), float(found["high"]))
    sizes = () if shape == "scalar" else tuple(map(int, shape.split("x")))
    return Input(found["name"], sizes, dtype, limits)


def size_text(size: InputSize) -> str:
    """An input size in words and keys: ``3x224x224``, or the inputs by name."""
    return str(size) if isinstance(size, InputSpec) else "x".join(map(str, size))


def parse_size(text: str) -> InputSize:
    """The input size whose ``size_text`` is ``text``.

    Raises:
        ValueError: it is none's.
    """
    if "=" in text:
        return InputSpec.parse(text)
    if not re.fullmatch(r"\d+x\d+x\d+", text):
        raise ValueError(f"{text!r} is no input size, such as '3x224x224'")
    channels, height, width = map(int, text.split("x"))
    return channels, height, width


def image_size(size: InputSize) -> ImageSize:
    """(channels, height, width) of the one image, or of the first input that could be one.

    Raises:
        ValueError: no input has three dimensions.
    """
    if not isinstance(size, InputSpec):
        return size
    for each in size.inputs:
        if len(each.shape) == 3:
            channels, height, width = each.shape
            return channels, height, width
    raise ValueError(f"none of the inputs {size} is an image")


def called(network: Any, inputs: Inputs) -> Any:
    """What a network gives for a batch."""
    return network(**inputs) if isinstance(inputs, Mapping) else network(inputs)


def count(inputs: Inputs) -> int:
    """How many examples a batch holds."""
    return len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)


def tensors_of(inputs: Inputs) -> "tuple[Tensor, ...]":
    """All tensors of a batch."""
    return tuple(inputs.values()) if isinstance(inputs, Mapping) else (inputs,)


def first(inputs: Inputs, examples: int) -> Inputs:
    """The first examples of a batch."""
    if isinstance(inputs, Mapping):
        return {name: tensor[:examples] for name, tensor in inputs.items()}
    return inputs[:examples]


def whole_batches(inputs: Inputs, batch: int) -> list[Inputs]:
    """Examples in whole batches; a last, incomplete one is left out."""
    if isinstance(inputs, Mapping):
        split = {name: whole_batches(tensor, batch) for name, tensor in inputs.items()}
        return [dict(zip(split, parts, strict=True)) for parts in zip(*split.values(), strict=True)]
    return [inputs[i : i + batch] for i in range(0, len(inputs) - batch + 1, batch)]


def chunks(inputs: Inputs, parts: int) -> "tuple[Inputs, ...]":
    """A batch in parts of like size, as ``Tensor.chunk`` has it."""
    if isinstance(inputs, Mapping):
        split = {name: tensor.chunk(parts) for name, tensor in inputs.items()}
        rows = zip(*split.values(), strict=True)
        return tuple(dict(zip(split, row, strict=True)) for row in rows)
    return inputs.chunk(parts)


def moved(
    inputs: Inputs, like: "Tensor", memory_format: "torch.memory_format | None" = None
) -> Inputs:
    """A batch for a network to run on.

    Args:
        inputs: of any type, on any device.
        like: one of the network's weights: on its device, and those of real numbers in its type.
        memory_format: layout of images.
    """
    if isinstance(inputs, Mapping):
        return {name: _moved(tensor, like, memory_format) for name, tensor in inputs.items()}
    return _moved(inputs, like, memory_format)


def _moved(
    tensor: "Tensor", like: "Tensor", memory_format: "torch.memory_format | None"
) -> "Tensor":
    dtype = like.dtype if tensor.is_floating_point() else tensor.dtype
    if memory_format is None or tensor.dim() != 4:
        return tensor.to(like.device, dtype)
    return tensor.to(like.device, dtype, memory_format=memory_format)
