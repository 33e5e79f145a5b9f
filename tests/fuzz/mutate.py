"""Small changes of valid inputs: of bytes, of texts, and of values as JSON and YAML have them."""

import copy
import random
from typing import Any

ODD_NUMBERS: tuple[Any, ...] = (
    0, -0.0, -1, 1, 2, 3, 0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf"),
    2**31, 2**32 - 1, 2**53 + 1, 2**63, -(2**63) - 1, 10**18, 10**30, 10**400, True, False,
)  # fmt: skip

ODD_TEXTS = (
    "", " ", "x", "0", "-1", "²", "٣", "1e309", "nan", "inf", "1_0", "0x10", "null", "~", "true",
    "=", "<<", "*a", "&a", "!!int x", "!!timestamp x", "2001-99-99", "../../etc/passwd",
    "/dev/null", ".", "..", "a\0b", "\ud800", "\udcff", "\n", "\r\n", "\t", "'", '"', "[", "{",
    "🙂", "a" * 300,
    "9" * 5000, "conv 0-0 k0x0 @0x0", "64-64 k3x3 g0", "identity x", "drop 1:0 identity",
    "merge 0:2 1-8 k7x7 of", "fit 3:5 64-128 k3x3 of 1,", "x @1x1x1", "image=3x8x8", "3x0x0",
    "avgpool 4-4 k2x2", "leaky_relu:inf", "keep 0:1 identity 64", "99999999999999999999:0",
)  # fmt: skip


def odd_value(draw: random.Random) -> Any:
    """A value that is seldom expected."""
    nested: Any = draw.choice((0, "x"))
    for _ in range(draw.choice((2, 30, 200))):
        nested = [nested] if draw.random() < 0.5 else {"a": nested}
    return draw.choice(
        (
            draw.choice(ODD_NUMBERS),
            draw.choice(ODD_NUMBERS),
            draw.choice(ODD_TEXTS),
            draw.choice(ODD_TEXTS),
            None,
            [],
            {},
            [draw.choice(ODD_NUMBERS)] * draw.choice((1, 2, 5, 1000)),
            {draw.choice(ODD_TEXTS): draw.choice(ODD_NUMBERS)},
            nested,
        )
    )


def changed_value(value: Any, draw: random.Random) -> Any:
    """A tree of lists and mappings with a few of its places changed."""
    tree = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        places = [*_places(tree)]
        if not places:
            return odd_value(draw)
        holder, key = draw.choice(places)
        if draw.random() < 0.6:
            _change_slightly(holder, key, places, draw)
            continue
        what = draw.randrange(6)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, list):
            holder.insert(draw.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
        elif what == 2 and isinstance(holder, dict):
            holder[draw.choice(ODD_TEXTS)] = holder.pop(key)
        elif what == 3:
            other, place = draw.choice(places)
            if place in other if isinstance(other, dict) else place < len(other):
                holder[key] = copy.deepcopy(other[place])
        elif what == 4 and isinstance(holder[key], str):
            holder[key] = changed_text(holder[key], draw)
        else:
            holder[key] = odd_value(draw)
    return tree


def _change_slightly(holder: Any, key: Any, places: Any, draw: random.Random) -> None:
    """Put another value of its type in a place: what is read, and then thought about."""
    found = holder[key]
    if isinstance(found, bool):
        holder[key] = not found
    elif isinstance(found, int):
        near = (0, 1, 2, 3, 7, 10**8, found + 1, found - 1, -found, 2 * found, found // 2)
        holder[key] = draw.choice(near)
    elif isinstance(found, float):
        near = (0.0, 1.0, 0.5, 1e-9, 1e9, 1e300, -found, 2 * found, found / 3, found + 1)
        holder[key] = draw.choice(near)
    elif isinstance(found, str):
        texts = [h[k] for h, k in places if isinstance(h[k], str)]
        keys = [k for h, k in places if isinstance(h, dict)]
        other = draw.choice((*texts, *keys))
        holder[key] = draw.choice((other, _with_number(found, str(draw.randrange(12)), draw)))
    elif isinstance(found, list):
        draw.shuffle(found)
        holder[key] = draw.choice((found, found[:-1], found + found[:1], found[:1]))
    elif isinstance(found, dict) and len(found) > 1:
        one, other = draw.sample(list(found), 2)
        found[one], found[other] = found[other], found[one]
        if draw.random() < 0.3 and isinstance(one, str):
            found[_with_number(one, str(draw.randrange(12)), draw)] = found.pop(one)


def _places(tree: Any) -> Any:
    """Every place in a tree, as what holds it and the key or index there."""
    todo = [tree]
    while todo:
        holder = todo.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], dict | list):
                todo.append(holder[key])


def changed_text(text: str, draw: random.Random) -> str:
    """A text with a number, a piece or a character changed."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        at, to = sorted(draw.randrange(len(text) + 1) for _ in range(2))
        to = min(to, at + draw.choice((1, 3, 20, 500)))
        small = [str(draw.randrange(12)) for _ in range(40)]
        odd = draw.choice((*ODD_TEXTS, *map(_written, ODD_NUMBERS), *small))
        text = draw.choice(
            (
                text[:at] + text[to:],
                text[:at] + odd + text[to:],
                text[:at] + text[at:to] * draw.choice((2, 3, 50)) + text[to:],
                text[:at],
                _with_number(text, odd, draw),
                _with_number(text, draw.choice(small), draw),
                _with_number(text, draw.choice(small), draw),
            )
        )
    return text


def _written(number: object) -> str:
    return repr(number) if not isinstance(number, int) or number < 10**100 else "1" + "0" * 400


def _with_number(text: str, odd: str, draw: random.Random) -> str:
    """With another text for one of its runs of digits."""
    starts = [i for i, c in enumerate(text) if c.isdigit() and not text[i - 1 : i].isdigit()]
    if not starts:
        return odd
    start = end = draw.choice(starts)
    while end < len(text) and text[end].isdigit():
        end += 1
    return text[:start] + odd + text[end:]


def changed_bytes(content: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, moved, or put in."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        size = len(found)
        at, to = sorted(draw.randrange(size + 1) for _ in range(2))
        near = min(to, at + draw.choice((1, 2, 4, 8, 64, 1024)))
        what = draw.randrange(8)
        if what == 0 and size:
            found[at % size] ^= 1 << draw.randrange(8)
        elif what == 1 and size:
            found[at % size] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        elif what == 2:
            del found[at:near]
        elif what == 3:
            found[at:at] = found[at:near] * draw.choice((1, 2, 40))
        elif what == 4:
            found[at:near] = draw.randbytes(near - at)
        elif what == 5:
            width = draw.choice((1, 2, 4, 8))
            number = draw.choice((0, 1, -1, 2 ** (8 * width - 1) - 1, -(2 ** (8 * width - 1))))
            found[at : at + width] = number.to_bytes(width, "little", signed=True)
        elif what == 6:
            piece = bytes(found[at:near])
            del found[at:near]
            place = draw.randrange(len(found) + 1)
            found[place:place] = piece
        else:
            del found[at:]
    return bytes(found)
