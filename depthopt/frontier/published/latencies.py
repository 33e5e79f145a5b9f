"""The papers' latency files."""

from dataclasses import dataclass
from pathlib import Path

from depthopt.errors import TableError
from depthopt.frontier.published.formats import latency_format
from depthopt.frontier.published.sheet import Row, Sheet, read_sheet, refuse_twice


@dataclass(frozen=True, slots=True)
class PublishedLatency:
    """One row: the segment ``[start, end)`` merged.

    Attributes:
        start: position before the segment.
        end: position after it.
        time_ms: measured.
        stdev_ms: its standard deviation.
        kernel: side length of the merged kernel; None in the 2023 format.
        stride: of the merged convolution; None in the 2023 format.
        depthwise: whether it is depthwise; None in the 2023 format.
    """

    start: int
    end: int
    time_ms: float
    stdev_ms: float
    kernel: int | None = None
    stride: int | None = None
    depthwise: bool | None = None

    @property
    def text(self) -> str:
        """The row by its segment, for a message."""
        kernel = "" if self.kernel is None else f", ker {self.kernel}"
        return f"row st {self.start}, end {self.end}{kernel}"


def read_latencies(path: Path) -> tuple[PublishedLatency, ...]:
    """Read a latency file of any format.

    Raises:
        ArtefactError: no such file, a column missing, a cell that is not a number, or a file of
            something else.
        TableError: a NaN, negative or infinite time, a row that comes twice, or one that is
            the sum of several convolutions' times.
    """
    sheet = read_sheet(path)
    kind = latency_format(sheet)
    if kind == "opt_time":
        _refuse_sums(sheet)
    rows = tuple(_latency(row, layermerge=kind == "layermerge") for row in sheet.rows)
    refuse_twice(path, [(r.start, r.end, r.kernel, r.stride, r.depthwise) for r in rows])
    return rows


def _latency(row: Row, *, layermerge: bool) -> PublishedLatency:
    return PublishedLatency(
        row.integer("st"),
        row.integer("end"),
        row.number("time", least=0.0),
        row.number("stdev", least=0.0),
        row.integer("ker", least=1) if layermerge else None,
        row.integer("str", least=1) if layermerge else None,
        row.flag("is_dw") if layermerge else None,
    )


def _refuse_sums(sheet: Sheet) -> None:
    """Refuse rows that time several convolutions, since they do not say how long one takes."""
    for row in sheet.rows:
        breaks = row.positions("breaks")
        if len(breaks) > 2:
            convolutions = len(breaks) - 1
            raise TableError(
                f"{row.path}:{row.line}: the time is the sum of {convolutions} convolutions' "
                f"(breaks {','.join(map(str, breaks))}), not of one; give the time file that "
                "this opt_time file was made from: depthopt finds such sums itself"
            )
