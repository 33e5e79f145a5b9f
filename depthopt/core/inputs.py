"""Inputs of networks: one image or several named inputs, and batches of them.

A network of one image is told by the image's size, ``(channels, height, width)``, and is called
with a tensor. One of several inputs is told by an ``InputSpec``, and is called with tensors by
name, which are the names of ``forward``'s parameters.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from pydantic import (
    AfterValidator,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    ValidatorFunctionWrapHandler,
)
from pydantic_core import CoreSchema, core_schema

from depthopt.core import limits, numbers
from depthopt.core.clipped import clipped
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

    def __post_init__(self) -> None:
        if (wrong := _why_unfit(self.shape)) is not None:
            raise ValueError(f"input {self.name} {wrong}")
        if self.range is not None and not -math.inf < self.range[0] <= self.range[1] < math.inf:
            raise ValueError(
                f"input {self.name} is said to range from {self.range[0]} to "
                f"{self.range[1]}; expected two finite numbers, the least first"
            )

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
        """The specification that ``text`` describes.

        Raises:
            ValueError: there is none.
        """
        return cls(tuple(_parsed(part.strip(), text) for part in text.split(",")))

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)


def size_schema(sizes: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """The pydantic schema of an input size: a list of three, or text.

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


def _why_unfit(shape: tuple[int, ...]) -> str | None:
    """What is wrong with a shape; None if nothing is."""
    text = "x".join(map(str, shape))
    if any(not 0 < side <= limits.SIZE for side in shape):
        return f"of {text} has a side that is not 1 to {limits.SIZE}"
    if math.prod(shape) > limits.INPUT_ELEMENTS:
        return f"of {text} has more than {limits.INPUT_ELEMENTS:,} numbers"
    return None


def fitting(size: "ImageSize | InputSpec") -> "ImageSize | InputSpec":
    """Check an input size, and return it.

    Raises:
        ValueError: a side of an image, or the whole of it, is too large, or below 1.
    """
    wrong = None if isinstance(size, InputSpec) else _why_unfit(size)
    if wrong is not None:
        raise ValueError(f"an input {wrong}")
    return size


_SIZES = tuple[numbers.Size, numbers.Size, numbers.Size]

InputSize = Annotated[
    ImageSize | InputSpec,
    GetPydanticSchema(lambda _, handler: size_schema(_SIZES, handler)),
    AfterValidator(fitting),
]
"""A network's input: one image of this size, or named inputs."""

_INPUT = re.compile(
    rf"(?P<name>[A-Za-z_]\w*)=(?P<shape>scalar|{numbers.NATURAL}(x{numbers.NATURAL})*)"
    rf"(:(?P<dtype>\w+))?(\[(?P<low>-?{numbers.DECIMAL})\.\.(?P<high>-?{numbers.DECIMAL})\])?",
    re.ASCII,
)


def _parsed(part: str, text: str) -> Input:
    found = _INPUT.fullmatch(part)
    if found is None:
        raise ValueError(
            f"{clipped(text)} does not name inputs, such as "
            "'image=3x32x32,step=scalar:int64[0..999]'"
        )
    shape, dtype = found["shape"], found["dtype"] or "float32"
    if dtype not in _DTYPES:
        raise ValueError(f"{part!r} is of an unknown dtype; known: {', '.join(_DTYPES)}")
    values = None if found["low"] is None else (float(found["low"]), float(found["high"]))
    sizes = () if shape == "scalar" else tuple(map(int, shape.split("x")))
    return Input(found["name"], sizes, dtype, values)


def size_text(size: InputSize) -> str:
    """An input size in words and keys: ``3x224x224``, or the inputs by name."""
    return str(size) if isinstance(size, InputSpec) else "x".join(map(str, size))


def parse_size(text: str) -> InputSize:
    """The input size that ``text`` describes, as ``size_text`` writes it.

    Raises:
        ValueError: there is none.
    """
    if "=" in text:
        return InputSpec.parse(text)
    if not re.fullmatch(rf"{numbers.NATURAL}(x{numbers.NATURAL}){{2}}", text):
        raise ValueError(f"{clipped(text)} is not an input size, such as '3x224x224'")
    channels, height, width = map(int, text.split("x"))
    return fitting((channels, height, width))


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
    """Call a network on a batch."""
    return network(**inputs) if isinstance(inputs, Mapping) else network(inputs)


def count(inputs: Inputs) -> int:
    """The number of examples in a batch."""
    return len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)


def bytes_of(inputs: Inputs) -> int:
    """The bytes that a batch's tensors take."""
    return sum(tensor.nbytes for tensor in tensors_of(inputs))


def tensors_of(inputs: Inputs) -> "tuple[Tensor, ...]":
    """All tensors of a batch."""
    return tuple(inputs.values()) if isinstance(inputs, Mapping) else (inputs,)


def first(inputs: Inputs, examples: int) -> Inputs:
    """The first examples of a batch."""
    if isinstance(inputs, Mapping):
        return {name: tensor[:examples] for name, tensor in inputs.items()}
    return inputs[:examples]


def at_least(inputs: Inputs, examples: int) -> Inputs:
    """A batch of at least this many examples. Examples are repeated if there are too few."""
    if isinstance(inputs, Mapping):
        return {name: _repeated(tensor, examples) for name, tensor in inputs.items()}
    return _repeated(inputs, examples)


def _repeated(tensor: "Tensor", examples: int) -> "Tensor":
    times = -(-examples // len(tensor))
    return tensor if times <= 1 else tensor.repeat(times, *[1] * (tensor.dim() - 1))[:examples]


def whole_batches(inputs: Inputs, batch: int) -> list[Inputs]:
    """Examples in whole batches. An incomplete last batch is left out."""
    if isinstance(inputs, Mapping):
        split = {name: whole_batches(tensor, batch) for name, tensor in inputs.items()}
        return [dict(zip(split, parts, strict=True)) for parts in zip(*split.values(), strict=True)]
    return [inputs[i : i + batch] for i in range(0, len(inputs) - batch + 1, batch)]


def chunks(inputs: Inputs, parts: int) -> "tuple[Inputs, ...]":
    """Split a batch into parts of about equal size, as ``Tensor.chunk`` does."""
    if isinstance(inputs, Mapping):
        split = {name: tensor.chunk(parts) for name, tensor in inputs.items()}
        rows = zip(*split.values(), strict=True)
        return tuple(dict(zip(split, row, strict=True)) for row in rows)
    return inputs.chunk(parts)


def moved(
    inputs: Inputs, like: "Tensor", memory_format: "torch.memory_format | None" = None
) -> Inputs:
    """A batch moved to a device.

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
