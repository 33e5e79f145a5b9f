"""What ``depthopt check`` of ONNX files needs, for an install without torch and its kin.

    pip install --no-deps depthopt
    python -m depthopt.check.requirements > check.txt
    pip install -r check.txt

This module needs nothing that is not Python's own. Versions are those of the package's metadata.
"""

import re
import sys
from importlib.metadata import requires

NEEDED = ("numpy", "onnx", "onnxruntime", "psutil", "pydantic", "pyyaml", "rich", "typer")
"""What is imported on the way from the command line to the report of a check."""


def requirements() -> tuple[str, ...]:
    """Each package with the versions that will do, as pip takes it."""
    found = {name_of(line): line for line in requires("depthopt") or ()}
    return tuple(found[name] for name in NEEDED)


def name_of(requirement: str) -> str:
    """The package that a requirement is of, such as ``numpy`` of ``numpy>=1.26``."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


if __name__ == "__main__":
    sys.stdout.write("\n".join([*requirements(), ""]))
