"""The generated pages of the reference are what the code says, and the Python page is whole."""

import re
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
from pydantic import BaseModel

import depthopt
from depthopt.pipeline.recipe import Recipe
from depthopt.train.config import TrainConfig
from depthopt.workflow.commented import attributes
from tests.docs.blocks import ROOT

REFERENCE = ROOT / "docs" / "reference"


def _generate() -> Any:
    spec = spec_from_file_location("generate", REFERENCE / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["recipe.md", "cli.md"])
def test_a_generated_page_is_current(name: str) -> None:
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert _generate().PAGES[name]() == written, "run: python docs/reference/generate.py"


def test_every_public_name_is_on_the_python_page_once() -> None:
    text = (REFERENCE / "python.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: depthopt\.(\w+)$", text, re.MULTILINE)) == depthopt.__all__


def _said() -> Iterator[tuple[str, str]]:
    for name, info in Recipe.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            for key, field in section.model_fields.items():
                yield f"{name}.{key}", field.description or ""
        elif section is not TrainConfig:
            yield name, info.description or ""
    said = attributes(TrainConfig)
    yield from ((f"finetune.{key}", said.get(key, "")) for key in TrainConfig.__dataclass_fields__)


@pytest.mark.parametrize(("key", "said"), list(_said()))
def test_every_key_of_a_recipe_says_what_it_is(key: str, said: str) -> None:
    assert len(said.split()) >= 3, key


def test_every_shipped_recipe_is_on_the_page_of_keys() -> None:
    text = (REFERENCE / "recipe.md").read_text(encoding="utf-8")
    for path in (ROOT / "recipes").glob("*.yaml"):
        assert f"(../../recipes/{path.name})" in text


def test_types_are_told_in_words() -> None:
    said = _generate()._type
    assert (
        said({"anyOf": [{"type": "integer", "gt": 0}, {"type": "null"}]}) == "integer ≥ 1 or null"
    )
    assert said({"type": "number", "ge": 0, "lt": 1}) == "number ≥ 0, < 1"
    assert said({"type": "array", "items": {"enum": ["a", "b"]}}) == "list of `a`, `b`"
