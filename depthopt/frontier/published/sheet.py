"""A CSV file as a header and rows. Cells are numbers, flags or lists of positions."""

import csv
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from depthopt.core import limits, numbers
from depthopt.core.clipped import clipped, one_line
from depthopt.core.reading import read_text
from depthopt.errors import ArtefactError, TableError

_POSITIONS = re.compile(rf"([\[\](){{}}\s,;]|(?<![0-9]){numbers.DIGITS}(?![0-9]))*")


@dataclass(frozen=True, slots=True)
class Row:
    """One row, read by column.

    Attributes:
        path: the file.
        line: its last line, counted from 1.
        cells: text by column.
    """

    path: Path
    line: int
    cells: dict[str, str]

    def number(self, name: str, least: float = -math.inf) -> float:
        """A finite number.

        Raises:
            ArtefactError: no number.
            TableError: NaN, infinite, or below ``least``.
        """
        try:
            value = float(self.cells[name])
        except ValueError:
            raise self._wrong(name, clipped(self.cells[name]), "a number") from None
        if not (math.isfinite(value) and value >= least):
            raise TableError(
                f"{self.path}:{self.line}: {name} is {value}, expected a finite number, 0 or more"
            )
        return value

    def integer(self, name: str, least: int = 0) -> int:
        """A position, a side length or a stride.

        Raises:
            ArtefactError: no whole number, or one below ``least`` or above the limit.
            TableError: NaN, infinite or negative.
        """
        value = self.number(name, least=0.0)
        if value != int(value):
            raise self._wrong(name, value, "a whole number")
        if value < least:
            raise self._wrong(name, int(value), f"{least} or more")
        if value > limits.POSITION:
            raise self._wrong(name, value, f"at most {limits.POSITION}")
        return int(value)

    def flag(self, name: str) -> bool:
        """True or False, as words or as 1 and 0.

        Raises:
            ArtefactError: neither.
        """
        cell = self.cells[name].strip().lower()
        if cell not in {"true", "false", "1", "0"}:
            raise self._wrong(name, clipped(self.cells[name]), "True or False")
        return cell in {"true", "1"}

    def positions(self, name: str) -> tuple[int, ...]:
        """A sorted list of positions, in any brackets.

        Raises:
            ArtefactError: anything else.
        """
        cell = self.cells[name]
        if not _POSITIONS.fullmatch(cell):
            raise self._wrong(name, clipped(cell), "a list like [3, 4]")
        return tuple(sorted(map(int, re.findall("[0-9]+", cell))))

    def _wrong(self, name: str, found: object, expected: str) -> ArtefactError:
        return ArtefactError(f"{self.path}:{self.line}: {name} is {found}, expected {expected}")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A CSV file.

    Attributes:
        path: the file.
        columns: names in its header.
        rows: what follows.
    """

    path: Path
    columns: frozenset[str]
    rows: tuple[Row, ...]

    def require(self, *columns: str) -> None:
        """Refuse a file that lacks one of ``columns``.

        Raises:
            ArtefactError: it does.
        """
        if gaps := [name for name in columns if name not in self.columns]:
            raise ArtefactError(
                f"{self.path} has no column {gaps[0]}; expected {', '.join(columns)}"
            )


def read_sheet(path: Path) -> Sheet:
    """Read a CSV file.

    Raises:
        ArtefactError: no such file, none that can be read, or a line too long.
    """
    try:
        text = read_text(path, limits.CSV_BYTES)
        _require_short_lines(text)
        with io.StringIO(text, newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns = frozenset(reader.fieldnames or ())
            return Sheet(path, columns, tuple(Row(path, reader.line_num, row) for row in reader))
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except (OSError, ValueError, csv.Error) as error:
        raise ArtefactError(f"{path} is not a readable CSV file ({one_line(error)})") from None


def refuse_twice(path: Path, keys: list[tuple[object, ...]]) -> None:
    """Refuse a row that comes twice.

    Raises:
        TableError: one does.
    """
    seen = set()
    for key in keys:
        if key in seen:
            raise TableError(f"{path}: the row for {key} comes twice; keep one of them")
        seen.add(key)


def _require_short_lines(text: str) -> None:
    longest = max(map(len, text.splitlines()), default=0)
    if longest > limits.CSV_LINE_CHARACTERS:
        raise ValueError(
            f"a line has {longest:,} characters, at most {limits.CSV_LINE_CHARACTERS:,} are read"
        )
