import io
import tarfile
from pathlib import Path

import pytest

from depthopt.data.tars import members
from depthopt.errors import DataError

SIZE, KIND = 124, 156


NEGATIVE = "has a negative size|is damaged: invalid offset"
"""The latter of Pythons since 2025-08, which check it themselves."""


def write(path: Path, size: bytes | None = None, kind: bytes | None = None) -> Path:
    """A tar of two files; the header of the second with another size or kind."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("a.jpg", "b.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
    content = bytearray(path.read_bytes())
    header = content[1024:1536]
    if size is not None:
        header[SIZE : SIZE + 12] = size
    if kind is not None:
        header[KIND : KIND + 1] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[1024:1536] = header
    path.write_bytes(content)
    return path


def base_256(number: int) -> bytes:
    """A size as GNU's tar writes those that octal digits do not hold."""
    return (number % 256**12).to_bytes(12, "big") if number < 0 else b"\x80" + number.to_bytes(11)


def test_a_whole_tar_gives_its_files(tmp_path: Path) -> None:
    found = [(member.name, member.size) for member, _ in members(write(tmp_path / "x.tar"))]
    assert found == [("a.jpg", 3), ("b.jpg", 3)]


@pytest.mark.parametrize(
    ("size", "kind", "message"),
    [
        (base_256(-1536), None, NEGATIVE),
        (base_256(2**60), None, "ends behind the tar's end"),
        (base_256(2**60), b"L", "a header says that it has"),
        (base_256(2**60), b"x", "a header says that it has"),
        (base_256(-512), b"L", f"a header says that it has|{NEGATIVE}"),
        (base_256(-512), b"x", f"a header says that it has|{NEGATIVE}"),
    ],
)
def test_headers_that_claim_too_much_are_refused(
    tmp_path: Path, size: bytes, kind: bytes | None, message: str
) -> None:
    path = write(tmp_path / "x.tar", size, kind)
    with pytest.raises(
        DataError, match=rf"x.tar is not a whole, uncompressed tar \(.*(?:{message})"
    ):
        list(members(path))


@pytest.mark.parametrize("at", [1024, 1124, 1172])
def test_a_damaged_header_is_not_the_end(tmp_path: Path, at: int) -> None:
    path = write(tmp_path / "x.tar")
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"the header at byte 1,024 is damaged: "):
        list(members(path))


def test_a_header_that_is_cut_short_is_not_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar")
    path.write_bytes(path.read_bytes()[:1200])
    with pytest.raises(DataError, match=r"the header at byte 1,024 is damaged: truncated"):
        list(members(path))


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(DataError, match=r"x.tar is not a whole, uncompressed tar"):
        list(members(tmp_path / "x.tar"))
    with pytest.raises(DataError, match=r"x.tar cannot be read"):
        list(members(tmp_path / "none" / "x.tar"))
