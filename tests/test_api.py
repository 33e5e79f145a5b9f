import importlib
import inspect
import pkgutil
import pydoc
import re
import rlcompleter
import subprocess
import sys

import pytest

import depthopt


def test_the_public_names_are_there_and_sorted() -> None:
    fixed = {
        "extract", "candidates", "profile", "estimate", "solve", "apply", "finetune", "fuse",
        "export_onnx", "save", "load", "Chain", "Candidate", "LatencyTable", "ImportanceTable",
        "Frontier", "Plan", "Convolution",
    }  # fmt: skip
    assert fixed <= set(depthopt.__all__)
    assert sorted(depthopt.__all__) == depthopt.__all__
    assert set(depthopt.__all__) <= set(dir(depthopt))


@pytest.mark.parametrize("name", depthopt.__all__)
def test_a_public_name_is_what_its_home_calls_so(name: str) -> None:
    value = getattr(depthopt, name)
    assert getattr(importlib.import_module(value.__module__), value.__name__) is value
    assert value.__name__ == name


def test_no_module_hides_a_public_name() -> None:
    """A module that is imported hides its name for good, so that this process tells it too."""
    for module in pkgutil.walk_packages(depthopt.__path__, "depthopt."):
        try:
            if module.name != "depthopt.__main__":
                importlib.import_module(module.name)
        except ModuleNotFoundError as missing:
            if missing.name.startswith("depthopt"):
                raise
    hidden = [name for name in depthopt.__all__ if not callable(getattr(depthopt, name))]
    assert hidden == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'squeeze'"):
        depthopt.squeeze  # noqa: B018


def test_importing_the_package_and_its_help_loads_no_torch() -> None:
    script = (
        "import sys, depthopt, depthopt.cli.main\n"
        "sys.exit('torch' in sys.modules or 'onnxruntime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_help_of_the_package_fits_two_screens_and_names_all_that_is_public() -> None:
    for name in depthopt.__all__:
        getattr(depthopt, name)  # what is imported by now would be printed whole
    page = pydoc.plain(pydoc.render_doc(depthopt))
    assert len(page.splitlines()) <= 80
    said = set(re.findall(r"\w+", page.partition("PACKAGE CONTENTS")[0]))
    assert set(depthopt.__all__) <= said


def test_names_are_completed_imported_by_a_star_and_listed_with_their_values() -> None:
    taken: dict[str, object] = {}
    exec("from depthopt import *", taken)  # noqa: S102 - a star is of a module's top level only
    assert set(depthopt.__all__) <= taken.keys()
    completer = rlcompleter.Completer({"depthopt": depthopt})
    assert completer.complete("depthopt.compr", 0).startswith("depthopt.compress")
    assert set(depthopt.__all__) <= {name for name, _ in inspect.getmembers(depthopt)}
