"""What ``depthopt check`` of ONNX files needs, for an install without torch and its kin.

docs/install.md and the GitHub action name these packages to pip before the package itself, which
then goes in with ``--no-deps``; the other way round pip would complain of all that is not there.
"""

import re

NEEDED = ("numpy", "onnx", "onnxruntime", "psutil", "pydantic", "pyyaml", "rich", "typer")
"""What is imported on the way from the command line to the report of a check, as pip names it."""


def name_of(requirement: str) -> str:
    """The package that a requirement is of, such as ``numpy`` of ``numpy>=1.26``."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()
