"""The packages that ``depthopt check`` needs for ONNX files, in an install without torch.

docs/install.md and the GitHub action name these packages to pip before the package itself, which
then goes in with ``--no-deps``; the other way round pip would complain of all that is not there.
"""

import re

NEEDED = ("numpy", "onnx", "onnxruntime", "psutil", "pydantic", "pyyaml", "rich", "typer")
"""Packages imported by a check, from command line to report, as pip names them."""


def name_of(requirement: str) -> str:
    """The package that a requirement names, such as ``numpy`` for ``numpy>=1.26``."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()
