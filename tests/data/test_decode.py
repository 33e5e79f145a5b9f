"""What files of every depth and kind of colour are read as; the right values are made by hand."""

import io
import logging
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from depthopt.data.decode import Oddity, decode
from depthopt.data.load import load_dataset
from depthopt.data.stored import ImageFile
from depthopt.errors import DataError

RAMP = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (8, 1))
COLOURS = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)


def written(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def read(content, mode="RGB"):
    """Pixels and what is not kept; that Pillow warns of nothing is part of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = decode(content, mode, "x.png")
    assert found.image.mode == mode
    return np.asarray(found.image).astype(int), found.oddities


def png(values, colour, depth=16):
    """A PNG of integers (height, width, channels), which Pillow itself cannot write."""
    height, width = values.shape[:2]
    rows = values.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1)

    def chunk(name, body):
        checked = name + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    )


def tiff_of_12_bits(values):
    """Two values in three bytes, which Pillow reads but cannot write."""
    first, second = values[:, ::2].astype(int), values[:, 1::2].astype(int)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=2)
    data = packed.astype(np.uint8).tobytes()
    height, width = values.shape
    tags = ((256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1),
            (278, height), (279, len(data)))  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    at = 8 + len(data)
    return b"II*\0" + struct.pack("<I", at) + data + struct.pack("<H", 9) + entries + b"\0" * 4


def deep(kind):
    wide = RAMP.astype(np.uint16)
    if kind == "colour PNG":
        return png(COLOURS.astype(int) * 257, colour=2)
    if kind == "12-bit TIFF":
        return tiff_of_12_bits(wide * 16 + 5)
    return written(
        Image.fromarray(wide * 257 if "low" not in kind else wide * 256), kind.split()[0]
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "PNG low", "12-bit TIFF", "colour PNG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_more_than_8_bits_are_read_by_the_upper_8(kind, mode):
    pixels, oddities = read(deep(kind), mode)
    if kind == "colour PNG":
        wanted = Image.fromarray(COLOURS).convert(mode)
        assert not oddities, "Pillow reduces them by itself, and rightly"
    else:
        wanted = Image.fromarray(RAMP).convert(mode)
        assert oddities == (Oddity.DEEP,)
    assert np.array_equal(pixels, np.asarray(wanted))


def test_big_endian_greys_of_16_bits():
    content = written(Image.fromarray(RAMP.astype(">u2") * 257), "TIFF")
    assert np.array_equal(read(content, "L")[0], RAMP)


def other(kind):
    grey, colour = Image.fromarray(RAMP), Image.fromarray(COLOURS)
    if kind == "1 bit":
        return written(grey.point(lambda value: 255 * (value > 100), "1"), "PNG"), None
    if kind == "palette":
        return written(colour.quantize(256), "PNG"), 12
    if kind == "CMYK JPEG":
        return written(colour.convert("CMYK"), "JPEG", quality=100), 6
    if kind == "CMYK TIFF":
        return written(colour.convert("CMYK"), "TIFF"), 1
    if kind == "YCbCr":
        return written(colour.convert("YCbCr"), "TIFF"), 3
    image = grey.convert("LA") if kind == "grey and alpha" else colour.convert("RGBA")
    return written(image, "PNG"), 0


@pytest.mark.parametrize(
    "kind", ["1 bit", "palette", "CMYK JPEG", "CMYK TIFF", "YCbCr", "grey and alpha", "opaque"]
)
def test_other_kinds_of_colours_are_read_as_they_look(kind):
    content, off = other(kind)
    pixels, oddities = read(content)
    grey, _ = read(content, "L")
    if kind == "1 bit":
        assert np.array_equal(grey, 255 * (RAMP > 100))
        assert np.array_equal(pixels[..., 1], grey)
        return
    wanted = COLOURS if kind != "grey and alpha" else np.stack([RAMP] * 3, axis=2)
    assert abs(pixels - wanted).max() <= off
    assert abs(grey - np.asarray(Image.fromarray(wanted).convert("L")).astype(int)).max() <= off + 1
    assert oddities == ((Oddity.INKS,) if "CMYK" in kind else ())


def see_through(kind):
    """The first pixel is transparent, and red below that."""
    if kind in {"RGBA", "WEBP"}:
        pixels = np.full((4, 4, 4), 255, np.uint8)
        pixels[0, 0] = 255, 0, 0, 0
        image = Image.fromarray(pixels)
        if kind == "RGBA":
            return written(image, "PNG")
        return written(image, "WEBP", lossless=True, exact=True)
    image = Image.fromarray(np.minimum(np.arange(16), 2).astype(np.uint8).reshape(4, 4))
    image = image.convert("P")
    image.putpalette([255, 0, 0, 255, 255, 255, 255, 255, 255])
    alpha = {"number": 0, "bytes": bytes([0, 128, 255]), "GIF": 0}[kind]
    return written(image, "GIF" if kind == "GIF" else "PNG", transparency=alpha)


@pytest.mark.parametrize("kind", ["RGBA", "WEBP", "number", "bytes", "GIF"])
def test_transparent_pixels_have_the_colours_stored_there(kind):
    pixels, oddities = read(see_through(kind))
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert (pixels.reshape(-1, 3)[1:] == 255).all()
    assert oddities == (Oddity.TRANSPARENT,)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_images_the_first_is_read(kind):
    images = [Image.new("RGB", (8, 8), (value, value, value)) for value in (200, 20)]
    content = written(images[0], kind, save_all=True, append_images=images[1:])
    pixels, oddities = read(content)
    assert abs(pixels - 200).max() <= 2
    assert oddities == (Oddity.ANIMATED,)


@pytest.mark.parametrize(("kind", "turns"), [("JPEG", False), ("PNG", False), ("TIFF", True)])
def test_an_orientation_is_ignored_as_by_timm_and_torchvision(kind, turns):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    image = Image.fromarray(COLOURS)
    pixels, oddities = read(written(image, kind, exif=exif))
    assert pixels.shape == ((32, 8, 3) if turns else (8, 32, 3)), "Pillow turns TIFFs itself"
    assert oddities == (() if turns else (Oddity.TURNED,))
    exif[0x0112] = 1
    assert read(written(image, kind, exif=exif))[1] == ()


def unread(kind):
    if kind == "float":
        return written(Image.fromarray(RAMP.astype(np.float32) / 255), "TIFF")
    if kind == "32 bits":
        return written(Image.fromarray(RAMP.astype(np.int32) * 257), "TIFF")
    if kind == "LAB":
        return written(Image.merge("LAB", [Image.fromarray(RAMP)] * 3), "TIFF")
    if kind == "white is 0":
        content = written(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF")
        return content.replace(
            struct.pack("<HHIH", 262, 3, 1, 1), struct.pack("<HHIH", 262, 3, 1, 0)
        )
    if kind == "format":
        return written(Image.fromarray(COLOURS), "ICO")
    return {"text": b"not an image\n", "empty": b""}[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("float", "holds pixels that are floating-point numbers, whose range is not known; save"),
        ("32 bits", "holds pixels that are integers of 32 bits or signed, whose range"),
        ("LAB", "holds colours in LAB"),
        ("white is 0", "holds greys of 16 bits of which 0 is white"),
        ("format", "damaged .no image of a format that is read: BMP, GIF, JPEG"),
        ("text", "damaged .no image of a format"),
        ("empty", "damaged .it is empty"),
    ],
)
def test_what_nothing_tells_how_to_read_is_refused_in_one_line(kind, message):
    with pytest.raises(DataError, match=rf"x\.png (is )?{message}") as caught:
        read(unread(kind))
    assert "\n" not in str(caught.value)


def test_a_format_is_told_by_the_content_not_by_the_name():
    assert np.array_equal(read(written(Image.fromarray(COLOURS), "BMP"))[0], COLOURS)


@pytest.mark.parametrize("check", [True, False])
def test_what_is_not_kept_of_images_is_told_once_before_they_are_used(check, tmp_path, caplog):
    for split in ("train", "val"):
        for kind in ("a", "b"):
            folder = tmp_path / split / kind
            folder.mkdir(parents=True)
            (folder / "plain.png").write_bytes(written(Image.fromarray(COLOURS), "PNG"))
            (folder / "seen.png").write_bytes(see_through("bytes"))
    (tmp_path / "val" / "a" / "deep.png").write_bytes(deep("PNG"))
    view = {"input_size": (3, 8, 8), "calibration_images": 1, "seed": 0, "workers": 0}
    with caplog.at_level(logging.WARNING):
        data = load_dataset(f"folder:{tmp_path}", check=check, **view)
        at_load = [record.getMessage() for record in caplog.records]
        for split in (data.train, data.calibration, data.test, data.test):
            list(split.batches(2))
    told = [record.getMessage() for record in caplog.records]
    if check:
        assert told == at_load
        (message,) = told
        assert "of 9 images, 4 have transparent pixels, whose stored colours are read" in message
        assert "1 are grey in more than 8 bits" in message
        assert message.count("(first: ") == 2
        assert message.endswith("val/a/deep.png)")
    else:
        assert at_load == []
        assert len(told) == 2
        assert all("some images" in message for message in told)


def header(width, height):
    """A PNG that says its size, and has no pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((1_000_000, 1), "at most 200 times as long as wide"),
        ((1, 201), "at most 200 times as long as wide"),
        ((10_000, 9_000), "10000 x 9000 pixels; at most 89,478,485 are read"),
        ((60_000, 60_000), "decompression bomb"),
    ],
)
def test_images_that_would_fill_the_memory_are_refused_before_they_are_decoded(size, message):
    with pytest.raises(DataError, match=rf"^x.png .*{message}"):
        read(header(*size))


def test_a_file_without_an_end_is_no_image(tmp_path):
    (tmp_path / "x.png").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"x.png is damaged \(it has more than 268,435,456 bytes\)"):
        ImageFile("x.png", str(tmp_path / "x.png")).read("RGB")
