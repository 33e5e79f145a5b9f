"""Names of networks: which source makes them, and whether that runs user code.

A name is timm's, or ``SOURCE:NAME`` of another source, or says a callable: ``FILE.py:CALLABLE`` or
``package.module:CALLABLE``. One that was given in memory is called ``memory:CLASS-DIGEST``. Nothing
is imported here: a name that a file holds is only looked at.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

from depthopt.core import digests
from depthopt.core.clipped import clipped
from depthopt.errors import UsageError
from depthopt.plugins import Plugins

MODELS = Plugins(
    "depthopt.models",
    "source of models",
    {
        "timm": "depthopt.models.timm:SOURCE",
        "torchvision": "depthopt.models.torchvision:SOURCE",
        "memory": "depthopt.models.memory:SOURCE",
    },
)
"""Sources of networks: depthopt's own, and those of other packages."""

ALLOWS = "--allow-code (in Python allow_code=True)"
"""Option that lets a recipe's code run, for messages."""

DIGEST_LETTERS = 12
"""Number of letters of a digest in a network's name."""

_SUFFIX = ".py"


@dataclass(frozen=True, slots=True)
class Code:
    """The place of the code that makes a network.

    Attributes:
        place: a file's path, or a module's name.
        name: of the callable.
    """

    place: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether the place is a file."""
        return self.place.endswith(_SUFFIX)

    def __str__(self) -> str:
        """The form in recipes, such as ``my_model.py:build``."""
        return f"{self.place}:{self.name}"


def source_of(name: str) -> str:
    """The source in a network's name. For a callable, its place."""
    source, colon, _ = name.rpartition(":") if _is_file(name) else name.partition(":")
    return source if colon else "timm"


def callable_of(name: str) -> Code | None:
    """The callable in a network's name. None if the name is of a source.

    Before the colon stands a file that ends in ``.py``, or a module that no source is called.
    """
    place, colon, own = name.rpartition(":")
    if not colon:
        return None
    if place.endswith(_SUFFIX):
        return Code(place, own)
    place, _, own = name.partition(":")
    is_module = all(part.isidentifier() for part in place.split("."))
    return Code(place, own) if is_module and place not in MODELS.names else None


def runs_code(name: str) -> bool:
    """Whether making a network of this name runs code that the name points to."""
    return callable_of(name) is not None


def is_given(name: str) -> bool:
    """Whether a network of this name can only be given in memory."""
    return runs_code(name) or source_of(name) == "memory"


def require_allowed(name: str, *, allow_code: bool) -> None:
    """Refuse a name that runs code, unless that is allowed.

    Raises:
        UsageError: it is not; the message says what would be run.
    """
    found = callable_of(name)
    if found is None or allow_code:
        return
    does = "run the file" if found.is_file else "import the module"
    raise UsageError(
        f"{clipped(name)} would {does} {found.place} and call {found.name or 'nothing'} of it"
        f"{_near(found)}; {ALLOWS} allows it, for code that you trust"
    )


def told_as(name: str, sha256: str | None = None) -> str:
    """A network's name in artefacts: without a file's folder, and with a digest of the file.

    Tables tell networks apart by name, and a file may change.

    Args:
        name: as ``create_model`` takes it.
        sha256: of the file; None leaves it out.
    """
    found = callable_of(name)
    if found is None or not found.is_file:
        return name
    told = f"{Path(found.place).name}:{found.name}"
    return told if sha256 is None else f"{told}-{sha256[:DIGEST_LETTERS]}"


def digest_of_code(name: str) -> str | None:
    """SHA-256 of the file in a network's name. None if there is no such file."""
    found = callable_of(name)
    if found is None or not found.is_file:
        return None
    return digests.of_file(Path(found.place)) or None


def _is_file(name: str) -> bool:
    return name.rpartition(":")[0].endswith(_SUFFIX)


def _near(found: Code) -> str:
    """A source of models that is called almost as the module is, in words."""
    if found.is_file:
        return ""
    near = difflib.get_close_matches(found.place, MODELS.names, n=1)
    return f" (did you mean {near[0]}:{found.name}?)" if near else ""
