"""Five ways in which a file is damaged."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path, random.Random], None]


def flip(path: Path, chance: random.Random) -> None:
    """One bit of one byte."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def cut(path: Path, chance: random.Random) -> None:
    """A part of it is missing at the end."""
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(1, len(content))])


def empty(path: Path, _: random.Random) -> None:
    """Nothing in it."""
    path.write_bytes(b"")


def another_value(path: Path, chance: random.Random) -> None:
    """A digit changed, or a type in a safetensors file's header: read by who does not check."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        path.write_bytes(content.replace(b'"F32"', b'"I32"', 1))
        return
    places = [m.start() for m in re.finditer(rb"\d", content)]
    place = chance.choice(places)
    digit = b"%d" % ((int(content[place : place + 1]) + chance.randrange(1, 10)) % 10)
    path.write_bytes(content[:place] + digit + content[place + 1 :])


def exchanged(other: Path) -> Damage:
    """Another run's file in its place."""

    def exchange(path: Path, _: random.Random) -> None:
        shutil.copy(other, path)

    return exchange


WAYS: dict[str, Damage] = {
    "flipped": flip, "cut": cut, "empty": empty, "another value": another_value,
}  # fmt: skip


def same_json(one: bytes, other: bytes) -> bool:
    """Whether two files say the same in JSON, however they are laid out."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False
