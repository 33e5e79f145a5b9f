"""Names of files and folders: their order, and which files are images."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from depthopt.data.decode import EXTENSIONS

_OF_SYSTEMS = {"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store"}
_FOLDERS_OF_SYSTEMS = {"__macosx", "@eadir", "lost+found", "$recycle.bin", "#recycle"}
_KINDS_TOLD = 6
_MOST_DIGITS = 4_000
_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def natural_key(name: str) -> tuple[list[int | str], str]:
    """Sort key that orders names as timm does: numbers by value, case ignored, no ties.

    Where timm's own key (http://www.codinghorror.com/blog/archives/001018.html) tells names
    apart, the order is timm's, and so that of the outputs of a model it trained. Where it
    does not (``1`` and ``01``, ``cat`` and ``Cat``), code points decide; timm's order then
    changes from process to process. Nor does this key fail on digits that are no numbers
    (``²``).
    """
    parts = re.split(r"(\d+)", name.lower())
    return [_value(part) if i % 2 else part for i, part in enumerate(parts)], name


def _value(digits: str) -> int:
    """Of digits; Python reads no more than some thousands, and a tar's names may have them."""
    return int(digits[:_MOST_DIGITS])


def natural(names: Iterable[str]) -> list[str]:
    """Sort names by ``natural_key``."""
    return sorted(names, key=natural_key)


def ties(names: Sequence[str]) -> list[tuple[str, str]]:
    """Neighbours among sorted names that are equal in timm's order."""
    keys = [natural_key(name)[0] for name in names]
    return [(names[i - 1], names[i]) for i in range(1, len(names)) if keys[i - 1] == keys[i]]


def is_litter(name: str) -> bool:
    """Whether a file is one of those that systems leave in every folder.

    ``._x.jpg`` is what macOS keeps of ``x.jpg`` where it cannot keep it in the file itself.
    """
    return name.startswith("._") or name.lower() in _OF_SYSTEMS


def is_hidden(folder: str) -> bool:
    """Whether a folder is hidden or a system's. It is not a class, even if it holds images."""
    return folder.startswith(".") or folder.lower() in _FOLDERS_OF_SYSTEMS


def extension(name: str) -> str:
    """A file name's extension in lower case, with its dot. Empty if there is none."""
    return PurePath(name).suffix.lower()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files that are not read, by reason.

    Attributes:
        names: names of the files, by reason, such as ``.heic files``.
    """

    names: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, why: str, name: str) -> None:
        """Add a file that is left out."""
        self.names[why].append(name)

    def remarks(self) -> list[str]:
        """The reasons in words, the most common first. Empty if no file is left out."""
        if not self.names:
            return []
        kinds = sorted(self.names.items(), key=lambda kind: (-len(kind[1]), kind[0]))
        told = [f"{len(names)} {why} (such as {min(names)})" for why, names in kinds]
        rest = sum(len(names) for _, names in kinds[_KINDS_TOLD:])
        told = [*told[:_KINDS_TOLD], *([f"{rest} others"] if rest else [])]
        total = sum(map(len, self.names.values()))
        return [f"{total} files are left out: {', '.join(told)}"]


def why_left_out(folders: Sequence[str], name: str) -> str | None:
    """Why the file ``name`` in ``folders`` is not read as an image. None if it is.

    The folders are those that are to have a class's name, and those below.
    """
    hidden = next((folder for folder in folders if is_hidden(folder)), None)
    if hidden is not None:
        return f"in {hidden}/"
    kind = extension(name)
    if kind not in EXTENSIONS:
        return f"{kind} files" if kind else "without an extension"
    if name.startswith("."):
        return "hidden"
    return None if folders else "not in a class's folder"


def split_of(name: str) -> str | None:
    """The split in a shard's name. None if there is none."""
    words = name.lower().replace("_", "-").removesuffix(".tar").split("-")
    return next((split for split, names in _SPLITS.items() if set(names) & set(words)), None)


def is_shard(name: str) -> bool:
    """Whether a file's name is that of a shard, with its split."""
    return extension(name) == ".tar" and split_of(name) is not None
