"""Images that are not in memory, and how they are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from depthopt.core import limits
from depthopt.data.decode import Decoded, decode, decode_mask, told_as_damaged
from depthopt.errors import DataError


class StoredImage(Protocol):
    """An image that is not in memory."""

    @property
    def name(self) -> str:
        """The image's name in messages."""
        ...

    def read(self, mode: str) -> Decoded:
        """Decode the image as ``RGB`` or ``L``.

        Raises:
            DataError: the image is cut short or otherwise unreadable.
        """
        ...


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The place of one image's bytes.

    Attributes:
        name: what a message calls it.
        path: the file that holds it.
        start: offset of its first byte.
        size: number of its bytes; -1 for the rest of the file.
    """

    name: str
    path: str
    start: int = 0
    size: int = -1

    def read(self, mode: str) -> Decoded:
        """Decode the image as ``RGB`` or ``L``.

        Raises:
            DataError: the image is cut short or otherwise unreadable.
        """
        return decode(self.content(), mode, self.name)

    def content(self) -> bytes:
        """The image's bytes.

        Raises:
            DataError: they cannot be read, or are too many.
        """
        with told_as_damaged(self.name), Path(self.path).open("rb") as file:
            file.seek(self.start)
            most = limits.IMAGE_BYTES + 1  # of a device there is no end
            content = file.read(most if self.size < 0 else min(self.size, most))
            if len(content) == most:
                raise ValueError(f"it has more than {limits.IMAGE_BYTES:,} bytes")
            return content


@dataclass(frozen=True, slots=True)
class ImagePair:
    """An image, and the image that is its target.

    Attributes:
        image: the input.
        target: of the same size.
        is_mask: whether the target's pixels are numbers of classes.
    """

    image: ImageFile
    target: ImageFile
    is_mask: bool

    @property
    def name(self) -> str:
        """The image's name in messages."""
        return self.image.name

    def read(self, mode: str) -> Decoded:
        """Decode both: the image as ``RGB`` or ``L``, its target likewise, or as a mask's numbers.

        Raises:
            DataError: one of them is cut short or otherwise unreadable, or they differ in size.
        """
        found = self.image.read(mode)
        if self.is_mask:
            target = decode_mask(self.target.content(), self.target.name)
        else:
            target = self.target.read(mode).image
        if target.size != found.image.size:
            raise DataError(
                f"{self.target.name} has {target.width} x {target.height} pixels, its image "
                f"{found.image.width} x {found.image.height}; make them the same"
            )
        return Decoded(found.image, found.oddities, target)
