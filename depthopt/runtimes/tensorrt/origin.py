"""What an engine or a timing cache was made on, noted beside the file, and checked."""

import re
from dataclasses import dataclass
from pathlib import Path

from depthopt.core.artefacts import load_json, save_json
from depthopt.errors import ArtefactError
from depthopt.runtimes.tensorrt.options import numbers


@dataclass(frozen=True, slots=True)
class Origin:
    """A GPU and a TensorRT.

    Attributes:
        device: the GPU's name.
        capability: its compute capability, such as 9.0.
        tensorrt: the version.
        version_compatible: whether what was made may be used by later minor versions.
    """

    device: str
    capability: str
    tensorrt: str
    version_compatible: bool = False

    def __str__(self) -> str:
        return f"{self.device} (compute capability {self.capability}), TensorRT {self.tensorrt}"

    def serves(self, here: "Origin") -> bool:
        """Whether what was made on this can be used on ``here``."""
        made, used = numbers(self.tensorrt), numbers(here.tensorrt)
        version = self.tensorrt == here.tensorrt or (
            self.version_compatible and made[:1] == used[:1] and made <= used
        )
        return version and (self.device, self.capability) == (here.device, here.capability)

    @property
    def slug(self) -> str:
        """For a file's name."""
        device = re.sub(r"[^a-z0-9]+", "-", self.device.lower()).strip("-")
        return f"{device}-{self.tensorrt}"


def note(path: Path, origin: Origin) -> None:
    """Write down beside ``path`` what it was made on."""
    save_json(origin, _beside(path))


def check(path: Path, here: Origin, *, what: str, instead: str) -> None:
    """Refuse a file that was made elsewhere; one that says nothing of it is let through.

    Args:
        path: the file.
        here: where it is to be used.
        what: the file in words.
        instead: what to do.

    Raises:
        ArtefactError: another GPU or another version; the message names both.
    """
    if not _beside(path).exists():
        return
    origin = load_json(Origin, _beside(path))
    if not origin.serves(here):
        raise ArtefactError(f"{what} {path} was made on {origin}, and this is {here}; {instead}")


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".json")
