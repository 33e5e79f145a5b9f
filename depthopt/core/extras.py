"""Optional packages, checked for before the work that needs them."""

import importlib.util

from depthopt.errors import UsageError

EXTRAS = {"matplotlib": "plots", "loky": "workers", "ray": "ray"}
"""The extra of depthopt that installs each package."""


def has(package: str) -> bool:
    """Whether a package is installed. It is not imported."""
    return importlib.util.find_spec(package) is not None


def require_extra(package: str, what: str) -> None:
    """Refuse work that needs a package that is not installed.

    Args:
        package: one of ``EXTRAS``.
        what: needs it, such as ``--plot``.

    Raises:
        UsageError: it is not installed; the message holds the pip command.
    """
    if not has(package):
        raise UsageError(f"{what} needs {package}; run: {pip(package)}")


def pip(package: str) -> str:
    """The command that installs a package of ``EXTRAS``."""
    return f'pip install "depthopt[{EXTRAS[package]}]"'
