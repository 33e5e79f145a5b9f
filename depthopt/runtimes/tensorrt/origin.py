"""The origin of an engine or a cache, noted beside its file: the library, and the GPUs."""

import re
from dataclasses import dataclass
from pathlib import Path

from depthopt.core import digests
from depthopt.core.artefacts import load_json, save_json
from depthopt.errors import ArtefactError
from depthopt.runtimes.tensorrt.library import LIBRARIES, TENSORRT
from depthopt.runtimes.tensorrt.options import numbers
from depthopt.runtimes.tensorrt.targets import cover


@dataclass(frozen=True, slots=True)
class Origin:
    """A library, and the GPUs that it made something for.

    Attributes:
        device: the GPU's name; None where it was built ahead of time, for ``targets``.
        capability: its compute capability, such as 9.0; None likewise.
        tensorrt: the library's version.
        version_compatible: whether what was made may be used by later minor versions.
        library: the library's name, ``tensorrt`` or ``tensorrt_rtx``.
        targets: what an engine was built for ahead of time, such as ``("sm89",)``.
        checked: whether an engine's outputs were compared with the network's; None of a cache,
            and of an engine that an earlier version wrote.
        files: SHA-256 digests that the file beside it may have: of what it holds, and of what it
            held before, for a write that was cut off. Empty where none is known.
    """

    device: str | None
    capability: str | None
    tensorrt: str
    version_compatible: bool = False
    library: str = TENSORRT.name
    targets: tuple[str, ...] = ()
    checked: bool | None = None
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        device = f"{self.device} (compute capability {self.capability})"
        return f"{', '.join(self.targets) or device}, {self.made_by}"

    @property
    def made_by(self) -> str:
        """The library and its version."""
        library = LIBRARIES.get(self.library)
        return f"{library.title if library else self.library} {self.tensorrt}"

    def serves(self, here: "Origin") -> bool:
        """Whether a file of this origin can be used on ``here``."""
        made, used = numbers(self.tensorrt), numbers(here.tensorrt)
        version = self.tensorrt == here.tensorrt or (
            self.version_compatible and made[:1] == used[:1] and made <= used
        )
        return self.library == here.library and version and self._is_for(here)

    def _is_for(self, here: "Origin") -> bool:
        if self.targets:
            return cover(self.targets, here.capability)
        return (self.device, self.capability) == (here.device, here.capability)

    @property
    def slug(self) -> str:
        """The origin as a part of file names."""
        device = re.sub(r"[^a-z0-9]+", "-", (self.device or "").lower()).strip("-")
        return f"{device}-{self.tensorrt}"


def note(path: Path, origin: Origin) -> None:
    """Write the origin of ``path`` beside it."""
    save_json(origin, beside(path))


def noted(path: Path) -> Origin | None:
    """The origin written beside a file. None if there is none.

    Raises:
        ArtefactError: the note is damaged.
    """
    return load_json(Origin, beside(path)) if beside(path).exists() else None


def check(path: Path, here: Origin, *, what: str, instead: str) -> Origin | None:
    """Refuse a file that was made elsewhere. A file without a note is accepted.

    Args:
        path: the file.
        here: where it is to be used.
        what: the file in words.
        instead: what to do.

    Returns:
        What is written beside it.

    Raises:
        ArtefactError: another GPU, library or version, both named; or the file is not the one
            that was noted.
    """
    origin = noted(path)
    if origin is None:
        return None
    if not origin.serves(here):
        made = "built for" if origin.targets else "made on"
        raise ArtefactError(f"{what} {path} was {made} {origin}, and this is {here}; {instead}")
    if origin.files and path.exists() and digests.of_file(path) not in origin.files:
        raise ArtefactError(
            f"{what} {path} is not the file that was noted in {beside(path).name}: it is damaged, "
            f"or was replaced; {instead}"
        )
    return origin


def beside(path: Path) -> Path:
    """The path of a file's note."""
    return path.with_name(path.name + ".json")
