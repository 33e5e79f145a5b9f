"""The packages that ``depthopt check`` needs for ONNX files, in an install without torch.

docs/start/install.md and the GitHub action install these packages first, and then the package
itself with ``--no-deps``. The other way round, pip would complain about everything missing.
"""

import re

NEEDED = ("numpy", "onnx", "onnxruntime", "psutil", "pydantic", "pyyaml", "rich", "typer")
"""Packages imported by a check, from command line to report, as pip names them."""


def name_of(requirement: str) -> str:
    """The package that a requirement names, such as ``numpy`` for ``numpy>=1.26``."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()
