"""Recipes and tables that come with the package: from a checkout, and from an installed wheel."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from depthopt.core import shipped
from depthopt.errors import RecipeError, UsageError
from depthopt.pipeline.recipe import load_recipe

ROOT = Path(__file__).parents[2]


def test_all_recipes_and_tables_are_found_by_name() -> None:
    assert set(shipped.recipes()) == {path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    assert "amd-epyc/onnxruntime-1.32.0-float32-b1" in shipped.tables()
    assert load_recipe(Path("quickstart")).model.name == "mobilenetv2_100"


def test_a_file_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped.recipe_file(Path("quickstart")).parent.name == "recipes"
    shutil.copy(shipped.recipes()["quickstart"], "quickstart")
    assert shipped.recipe_file(Path("quickstart")) == Path("quickstart")
    assert shipped.recipe_file(Path("my/quickstart")) == Path("my/quickstart")
    with pytest.raises(RecipeError, match=r"'quick' is neither .* did you mean quickstart\?"):
        shipped.recipe_file(Path("quick"))


def test_what_names_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = {name: shipped.is_recipe(name) for name in ("quickstart", "x.yaml", "resnet18", "a.yml")}
    assert told == {"quickstart": True, "x.yaml": True, "resnet18": False, "a.yml": True}


def test_tables_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "amd-epyc/onnxruntime-1.32.0-float32-b1"
    assert shipped.table_file(Path("amd-epyc")).is_dir()
    assert shipped.table_file(Path(name)).is_file()
    assert shipped.table_file(Path(f"{name}.json")) == shipped.table_file(Path(name))
    for other in ("none", ".", "../recipes", "/none"):
        assert shipped.table_file(Path(other)) == Path(other)


def test_an_installed_package_has_them_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "depthopt" / "core" / "shipped.py"
    monkeypatch.setattr(shipped, "__file__", str(module))
    (tmp_path / "recipes").mkdir()  # of another package
    with pytest.raises(UsageError, match="without its recipes"):
        shipped.folder("recipes")
    (tmp_path / "depthopt" / "recipes").mkdir(parents=True)
    assert shipped.folder("recipes") == tmp_path / "depthopt" / "recipes"


def test_the_build_takes_them_along() -> None:
    """What setuptools would copy into a wheel, without building one."""
    script = (
        "import setuptools\n"
        "from distutils.core import run_setup\n"
        "command = run_setup('setup.py', stop_after='commandline').get_command_obj('build_py')\n"
        "command.ensure_finalized()\n"
        "for package, source, _, names in command.data_files:\n"
        "    for name in names:\n"
        "        print(f'{package}:{source}/{name}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    mapped = {line.partition(":")[2] for line in done.stdout.splitlines()}
    kept = [p for name in ("recipes", "latency_tables") for p in (ROOT / name).rglob("*")]
    files = {str(path.relative_to(ROOT)) for path in kept if path.is_file()}
    made = re.compile(r"/\.|/__pycache__/")  # locks, and what Python compiled
    files = {file for file in files if not made.search(file)}
    assert files <= mapped, "name the folder in setup.py and pyproject.toml"
    assert "depthopt/data/digits.csv.gz" in mapped
    assert "depthopt/report/static/report.css" in mapped


@pytest.mark.slow
def test_a_wheel_of_an_sdist_runs_by_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("tests", ".git", "runs", "__pycache__", ".*_cache", "build")
    shutil.copytree(ROOT, source, ignore=ignored)
    build = "import setuptools.build_meta as build; print(build.build_{}({!r}))"

    def built(kind: str, folder: Path) -> Path:
        script = build.format(kind, str(tmp_path))
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
        )
        return tmp_path / done.stdout.splitlines()[-1]

    shutil.unpack_archive(built("sdist", source), tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    shutil.unpack_archive(built("wheel", unpacked), tmp_path / "site", "zip")
    for words, said in (
        (["recipes", "quickstart"], "depthopt run quickstart"),
        (["tables", "list"], "amd-epyc/onnxruntime-1.32.0-float32-b1"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "depthopt", *words],
            cwd=tmp_path / "site", capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert said in done.stdout
    assert (tmp_path / "site" / "depthopt" / "recipes" / "quickstart.yaml").is_file()
