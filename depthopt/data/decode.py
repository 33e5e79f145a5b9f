"""Decode image files to 8-bit RGB or grey pixels, and tell what is ignored.

Every source of images reads by this file. Pillow turns what it opens into 8 bits without
a word, and often wrongly: of greys of 16 bits all but the 256 darkest become white.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from depthopt.core import limits
from depthopt.errors import DataError

FORMATS = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpeg", ".jpg", ".jfif", ".jpe"),
    "PNG": (".png", ".apng"),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""Formats that are read, by Pillow's names, and their extensions. Others are never opened."""

EXTENSIONS = frozenset(extension for own in FORMATS.values() for extension in own)
"""Extensions of files that are taken for images, in lower case."""

_WHOLE_RANGE = {"PNG", "PPM"}
"""Formats whose greys Pillow brings to 0..65535 where it reads them as 32-bit integers."""

_LOSSY = {"JPEG", "WEBP"}

_ORIENTATION = 0x0112  # of EXIF
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # of TIFF


class Oddity(Enum):
    """Something about an image that reading ignores. The value says it of several images."""

    TURNED = "are turned or mirrored by their EXIF orientation, which is ignored"
    ANIMATED = "hold more than one image, of which the first is read"
    TRANSPARENT = "have transparent pixels, whose stored colours are read"
    DEEP = "are grey in more than 8 bits, of which the upper 8 are read"
    INKS = "are in CMYK, and are read without their colour profile"


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image.

    Attributes:
        image: in full, in the mode that was asked for.
        oddities: what is not kept of it.
        target: the image that is its target, of the same size; None if there is none.
    """

    image: Image.Image
    oddities: tuple[Oddity, ...] = ()
    target: Image.Image | None = None


class _Unread(Exception):  # noqa: N818 - named for what is the case
    """The image is whole, but nothing says what its numbers mean."""


class _TooLarge(Exception):  # noqa: N818 - named for what is the case
    """The image would fill the memory when it is decoded, or resized by its shorter side."""


def opened(content: Any) -> Image.Image:
    """Open an image of one of ``FORMATS``, without decoding it.

    Raises:
        Exception: it is none, or too large a one; see ``told_as_damaged``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such are refused
        return Image.open(content, formats=tuple(FORMATS))


def decode(content: bytes, mode: str, name: str) -> Decoded:
    """Decode the image in a file.

    Args:
        content: of the file.
        mode: ``RGB`` or ``L``.
        name: what a message calls it.

    Raises:
        DataError: it is empty, cut short, of no format that is read, or its pixels are of a
            kind whose range nothing tells.
    """
    with told_as_damaged(name):
        if not content:
            raise ValueError("it is empty")
        return in_mode(opened(io.BytesIO(content)), mode)


def decode_mask(content: bytes, name: str) -> Image.Image:
    """Decode the mask in a file: an image of which each pixel is a class's number, 8 bits of grey.

    Args:
        content: of the file.
        name: what a message calls it.

    Raises:
        DataError: it is not such an image, or is empty or cut short.
    """
    with told_as_damaged(name):
        if not content:
            raise ValueError("it is empty")
        image = opened(io.BytesIO(content))
        _require_small(image)
        image.load()
        if image.format in _LOSSY:
            raise DataError(
                f"{name} is a {image.format}, which may not keep numbers as they are; save masks "
                "as PNG"
            )
        if image.mode not in {"P", "L"}:
            raise DataError(
                f"{name} holds pixels of mode {image.mode}, and each of a mask's is one number; "
                "save it as a PNG with a palette, or in 8 bits of grey"
            )
        return Image.fromarray(np.asarray(image))


@contextlib.contextmanager
def told_as_damaged(name: str) -> Iterator[None]:
    """Turn what goes wrong while an image is decoded into an error of one line.

    Decoders of damaged files raise whatever their code comes to: ``struct.error``,
    ``IndexError``, ``KeyError``, ``zlib.error``, ...
    """
    try:
        yield
    except DataError:
        raise
    except _Unread as error:
        raise DataError(f"{name} {error}; save it with 8 or 16 bits, as RGB or grey") from None
    except (_TooLarge, Image.DecompressionBombError) as error:
        raise DataError(f"{name} {error}; make it smaller, or delete it") from None
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise DataError(
            f"{name} is damaged (no image of a format that is read: {known}); replace or delete it"
        ) from None
    except FileNotFoundError:
        raise DataError(
            f"{name} is no longer there; put it back, or start again from the beginning"
        ) from None
    except PermissionError:
        raise DataError(f"{name} may not be read; give yourself the right to") from None
    except Exception as error:
        reason = " ".join(str(error).split(" <")[0].split()) or type(error).__name__
        raise DataError(f"{name} is damaged ({reason}); replace or delete it") from None


def in_mode(image: Image.Image, mode: str) -> Decoded:
    """``image`` decoded as ``RGB`` or ``L``, and what was ignored.

    Raises:
        Exception: whatever Pillow raises on a damaged one, and others; see
            ``told_as_damaged``.
    """
    _require_small(image)
    oddities = []
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a JPEG and its previews
        oddities.append(Oddity.ANIMATED)
    image.load()
    if _turned(image):
        oddities.append(Oddity.TURNED)
    if _has_transparent_pixels(image):
        oddities.append(Oddity.TRANSPARENT)
    image.info.pop("transparency", None)  # Pillow would warn of it, or carry it on
    if image.mode == "CMYK":
        oddities.append(Oddity.INKS)
        image = image.convert("RGB")
    elif image.mode.startswith(("I", "F")):
        image = _of_eight_bits(image)
        oddities.append(Oddity.DEEP)
    elif image.mode in {"LAB", "HSV"}:
        raise _Unread(f"holds colours in {image.mode}, which are not read")
    return Decoded(image if image.mode == mode else image.convert(mode), tuple(oddities))


def _require_small(image: Image.Image) -> None:
    """Refuse, before it is decoded, what would fill the memory then or when it is resized."""
    width, height = image.size
    if width * height > limits.IMAGE_PIXELS:
        raise _TooLarge(f"has {width} x {height} pixels; at most {limits.IMAGE_PIXELS:,} are read")
    if max(width, height) > limits.IMAGE_RATIO * min(width, height):
        raise _TooLarge(
            f"has {width} x {height} pixels; at most {limits.IMAGE_RATIO} times as long as wide is "
            "read"
        )


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """A grey of 12 or 16 bits, by its upper 8, as Pillow reads colours of 16 bits."""
    integers = image.mode == "I" and image.format in _WHOLE_RANGE
    if not (image.mode.startswith("I;16") or integers):
        kind = "floating-point numbers" if image.mode == "F" else "integers of 32 bits or signed"
        raise _Unread(f"holds pixels that are {kind}, whose range is not known")
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PHOTOMETRIC) == 0:
        raise _Unread("holds greys of 16 bits of which 0 is white, which are not read")
    bits = 12 if tags.get(_BITS_PER_SAMPLE) == (12,) else 16
    return Image.fromarray((np.asarray(image) >> (bits - 8)).astype(np.uint8))


def _turned(image: Image.Image) -> bool:
    """Whether EXIF says that the image is to be turned or mirrored.

    Pillow itself turns TIFFs, and then forgets their orientation.
    """
    try:
        return image.getexif().get(_ORIENTATION, 1) not in {0, 1}
    except Exception:  # damaged EXIF data, which nothing else needs
        return False


def _has_transparent_pixels(image: Image.Image) -> bool:
    """Whether a pixel is not opaque."""
    bands = image.getbands()
    if bands[-1] in {"A", "a"}:
        alpha = image.getchannel(len(bands) - 1)
    elif "transparency" not in image.info:
        return False
    elif image.mode.startswith("I"):
        return True
    else:
        alpha = image.convert("RGBA").getchannel("A")
    return bool(alpha.getextrema()[0] != 255)
