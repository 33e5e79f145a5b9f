"""List the files in a tar with their offsets, without trusting its headers."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from depthopt.core import limits
from depthopt.core.clipped import clipped, one_line
from depthopt.errors import DataError


def members(path: Path) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """The files of an uncompressed tar in order, each with the open tar.

    Raises:
        DataError: it is not a tar or a compressed one, is cut short, or a header is damaged: one
            with a negative size, for instance, would lead back to itself.
    """
    try:
        end = path.stat().st_size
        # A tar's reader asks for as many bytes as a header says that it has.
        with (
            _Headers(path.open("rb", buffering=0)) as file,
            tarfile.open(fileobj=file, mode="r:", tarinfo=_Member) as tar,
        ):
            for count, member in enumerate(tar):
                _require_sound(member, count, end)
                yield member, tar
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read ({one_line(error)})") from None
    except Exception as error:  # of damaged headers, whatever its code comes to
        raise DataError(f"{path} is not a whole, uncompressed tar ({one_line(error)})") from None


def _require_sound(member: tarfile.TarInfo, count: int, end: int) -> None:
    name = clipped(member.name)
    if count >= limits.TAR_MEMBERS:
        raise tarfile.ReadError(f"it holds more than {limits.TAR_MEMBERS:,} files")
    if member.size < 0 or member.offset_data < 0:
        raise tarfile.ReadError(f"{name} has a negative size")
    if member.isfile() and member.offset_data + member.size > end:
        raise tarfile.ReadError(f"{name} ends behind the tar's end; it is cut short")


_DAMAGED: tuple[type[tarfile.HeaderError], ...] = (
    tarfile.InvalidHeaderError,  # type: ignore[attr-defined] # typeshed lacks both
    tarfile.TruncatedHeaderError,  # type: ignore[attr-defined]
)
"""What tells a damaged header from a tar's end."""


class _Member(tarfile.TarInfo):
    """A header, which a tar's reader else takes for the end where it is damaged."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_Member":
        """The next header.

        Raises:
            tarfile.ReadError: it is damaged, or cut short.
        """
        try:
            return super().fromtarfile(tar)
        except _DAMAGED as error:
            raise tarfile.ReadError(
                f"the header at byte {tar.offset:,} is damaged: {error}"
            ) from None


class _Headers(io.BufferedReader):
    """A file that gives no more at once than a header may have."""

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes.

        Raises:
            tarfile.ReadError: it is too many.
        """
        if size is None or not 0 <= size <= limits.TAR_HEADER_BYTES:
            raise tarfile.ReadError(f"a header says that it has {clipped(size)} bytes")
        return super().read(size)
