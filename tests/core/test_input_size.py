"""What networks take, as text and as batches."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from depthopt.core.chain import Chain
from depthopt.core.inputs import (
    Input,
    InputSize,
    InputSpec,
    at_least,
    called,
    chunks,
    count,
    first,
    image_size,
    moved,
    parse_size,
    size_text,
    whole_batches,
)

SPEC = InputSpec((Input("image", (3, 8, 8)), Input("step", (), "int64", (0, 999))))

ASCII = st.characters(codec="ascii")  # Hypothesis takes seconds to find all of Unicode's
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True, alphabet=ASCII)
RANGES = st.none() | st.tuples(st.integers(-50, 50), st.integers(51, 10**5))
INPUTS = st.builds(
    Input,
    NAMES,
    st.lists(st.integers(1, 90), max_size=4).map(tuple),
    st.sampled_from(["float32", "float16", "int64", "bool"]),
    RANGES.map(lambda limits: limits and (float(limits[0]), float(limits[1]))),
)
SPECS = st.lists(INPUTS, min_size=1, max_size=4, unique_by=lambda each: each.name)


@given(SPECS.map(lambda inputs: InputSpec(tuple(inputs))))
def test_text_is_read_back(spec: InputSpec) -> None:
    assert InputSpec.parse(str(spec)) == spec
    assert parse_size(size_text(spec)) == spec


def test_an_image_is_told_by_its_size() -> None:
    assert size_text((3, 224, 200)) == "3x224x200"
    assert parse_size("3x224x200") == (3, 224, 200)
    assert image_size((1, 2, 3)) == (1, 2, 3)
    assert str(SPEC) == "image=3x8x8,step=scalar:int64[0..999]"
    assert image_size(SPEC) == (3, 8, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3x224", "not an input size, such as '3x224x224'"),
        ("image=3x8,", "does not name inputs"),
        ("image=3x8:int3", "is of an unknown dtype; known: float32"),
        ("a=1,a=2", "of different names"),
        ("a=1x", "does not name inputs"),
    ],
)
def test_what_is_no_size_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_size(text)


def test_inputs_without_an_image_are_named() -> None:
    with pytest.raises(ValueError, match="none of the inputs a=1 is an image"):
        image_size(InputSpec.parse("a=1"))


def test_files_hold_an_image_as_a_list_and_inputs_as_text() -> None:
    adapter = TypeAdapter(InputSize)
    for size, plain in (((1, 2, 3), [1, 2, 3]), (SPEC, str(SPEC))):
        assert adapter.dump_python(size, mode="json") == plain
        assert adapter.validate_python(plain) == size
        chain = Chain("m", size, (), (), (), (), 0)
        of_chains = TypeAdapter(Chain)
        assert of_chains.validate_python(of_chains.dump_python(chain, mode="json")) == chain
    with pytest.raises(ValidationError):
        adapter.validate_python([1, 2])


@given(st.integers(1, 9), st.integers(1, 4))
def test_named_inputs_are_handled_as_images_are(examples: int, batch: int) -> None:
    x, y = torch.randn(examples, 1, 2, 2), torch.arange(examples)
    both = {"x": x, "y": y}
    assert count(x) == count(both) == examples
    assert torch.equal(first(both, 2)["y"], first(y, 2))
    alone, named = whole_batches(y, batch), whole_batches(both, batch)
    assert len(alone) == len(named) == examples // batch
    assert all(torch.equal(one, other["y"]) for one, other in zip(alone, named, strict=True))
    parts = chunks(both, batch)
    assert [len(part["x"]) for part in parts] == [len(part) for part in y.chunk(batch)]
    laid_out = moved(both, torch.zeros(()), torch.channels_last)
    assert laid_out["x"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(laid_out["y"], y)
    halved = moved(both, torch.zeros((), dtype=torch.half))
    assert (halved["x"].dtype, halved["y"].dtype) == (torch.half, y.dtype)


def test_a_network_is_called_by_name_or_with_the_image() -> None:
    def network(x: torch.Tensor, y: torch.Tensor | float = 1.0) -> torch.Tensor:
        return x * y

    assert math.isclose(float(called(network, torch.tensor(3.0))), 3.0)
    assert float(called(network, {"y": torch.tensor(2.0), "x": torch.tensor(3.0)})) == 6.0


@pytest.mark.parametrize(
    "text",
    ["0x3x3", "3x0x3", "3x100000x100000", "3x10000000x1", f"{'9' * 5000}x1x1", "3x²x3",
     "image=3x0x3", "image=3x100000x100000", "step=scalar:int64[5..1]", "step=scalar[--..1]"],
)  # fmt: skip
def test_sizes_that_no_network_takes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an input|input of|input image|does not|range"):
        parse_size(text)


def test_examples_are_gone_through_again_where_there_are_too_few() -> None:
    images = torch.arange(3).reshape(3, 1)
    assert at_least(images, 7).flatten().tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert at_least(images, 2) is images
    named = at_least({"image": images, "step": torch.tensor([4, 5, 6])}, 4)
    assert (named["image"][3].item(), named["step"].tolist()) == (0, [4, 5, 6, 4])
