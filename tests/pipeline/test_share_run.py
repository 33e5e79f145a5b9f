"""A run whose kinds average a transformer's blocks: what it writes, and when it begins again."""

from pathlib import Path

import pytest

from depthopt.core.artefacts import load_json
from depthopt.errors import DataError
from depthopt.pipeline.context import CandidateList, Context
from depthopt.pipeline.listed import listed
from depthopt.pipeline.recipe import Recipe, load_recipe
from depthopt.pipeline.run import run
from depthopt.report.page import report_page
from depthopt.report.reading import read_run
from depthopt.tables.similarity import Similarities

RECIPE = """
model:
  name: vit_tiny_patch16_224
  input_size: [1, 16, 16]
  arguments: {img_size: 16, patch_size: 4, embed_dim: 32, num_heads: 2, depth: 3}
data: {source: digits, calibration_images: 96}
teacher: {steps: 2}
candidates: {kinds: [share]}
budget: {speedup: 1.3}
"""


def recipe(folder: Path, *overrides: str) -> Recipe:
    path = folder / "share.yaml"
    path.write_text(RECIPE)
    return load_recipe(path, overrides)


def extracted(folder: Path, *overrides: str) -> Context:
    return run(recipe(folder, *overrides), folder / "run", until="extract")


def details(folder: Path) -> set[str]:
    found = load_json(CandidateList, folder / "run" / "candidates.json").candidates
    return {c.detail for c in found if c.replaces}


def test_similarities_are_written_listed_by_and_reported(tmp_path: Path) -> None:
    context = extracted(tmp_path, "candidates.coefficients=similarity")
    file = tmp_path / "run" / "similarity.json"
    similar = load_json(Similarities, file)
    assert (similar.images, similar.ends) == (96, (3, 5, 7))
    first, second = (f"{similar.of(*ends):.2g}" for ends in ((3, 5), (5, 7)))
    assert {first, second} <= details(tmp_path)
    page = report_page(read_run(tmp_path / "run"))
    assert "How similar blocks are" in page
    assert f"{similar.of(3, 7):.2f}" in page
    assert len(listed(context.recipe, context.teacher, context.chain)) == 7 + 3, "before a run"
    extracted(tmp_path, "candidates.kinds=[drop]")
    assert not file.exists(), "it is of other candidates"
    assert read_run(tmp_path / "run").similarities is None


def test_other_images_and_a_changed_file_make_them_again(tmp_path: Path) -> None:
    extracted(tmp_path)
    file = tmp_path / "run" / "similarity.json"
    before = file.read_bytes()
    extracted(tmp_path)
    file.write_bytes(before.replace(b'"images": 96', b'"images": 95'))
    extracted(tmp_path)
    assert file.read_bytes() == before
    extracted(tmp_path, "data.calibration_images=64")
    assert load_json(Similarities, file).images == 64


def test_too_few_images_are_refused_only_where_they_must_tell(tmp_path: Path) -> None:
    few = "data.calibration_images=20"
    extracted(tmp_path, few)
    assert not (tmp_path / "run" / "similarity.json").exists()
    with pytest.raises(DataError, match="20 images are too few"):
        extracted(tmp_path, few, "candidates.similar_quantile=0.5")
