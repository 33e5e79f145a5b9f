"""The tables of the README and of docs/results, written from the JSON files that hold the figures.

    python tests/benchmarks/figures.py            # write them
    python tests/benchmarks/figures.py --check    # write nothing, and fail where a page differs
    python tests/benchmarks/figures.py PAGE ...   # these pages alone

A page says where a table belongs; what stands between the two comments is replaced:

    <!-- figures: solver/papers -->
    <!-- end -->

``figures: TOPIC/TABLE`` is a table of ``results/TOPIC.json``, and ``figures: TOPIC/TABLE: a, b``
its columns ``a`` and ``b`` alone. ``measured: TOPIC`` or ``measured: TOPIC/TABLE`` is the command,
the commit, the date and the machine. ``claims: PAGE PAGE`` is the list of these pages beside this
one, each with the bold sentence that it begins with.

A topic's file holds ``commit``, ``date``, ``machine``, ``command``, ``not_run`` (why the docs' test
leaves the command out) and ``tables`` by name; a table may say any of these otherwise. A table has
``columns`` and ``rows`` of text, in which ``](/PATH)`` is a link from the repository's root. Or it
is computed from what a benchmark has written: ``comparison`` names a file of ``head_to_head.py``,
``written`` another benchmark's, and ``of`` one of ``COMPUTED``.
"""

import argparse
import json
import os
import re
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contest.report import Row

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

BLOCK = re.compile(r"<!-- (figures|measured|claims): (.*?) -->\n(.*?)<!-- end -->", re.DOTALL)
CLAIM = re.compile(r"^# (.+?)\n+\*\*(.+?)\*\*", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(/([^)]*)\)")


class UnknownError(Exception):
    """A page asks for what is not there."""


@dataclass(frozen=True, slots=True)
class Table:
    """What one table says, all of it text."""

    columns: list[str]
    rows: list[list[str]]

    def only(self, names: list[str]) -> "Table":
        """Some columns."""
        if missing := [name for name in names if name not in self.columns]:
            raise UnknownError(f"no column {missing[0]!r}; there are {', '.join(self.columns)}")
        at = [self.columns.index(name) for name in names]
        return Table(names, [[row[i] for i in at] for row in self.rows])

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def pages() -> list[Path]:
    """The README and all pages of the docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def known() -> list[str]:
    """All tables, as TOPIC/TABLE."""
    topics = sorted(path.stem for path in (HERE / "results").glob("*.json"))
    return [f"{topic}/{name}" for topic in topics for name in _topic(topic)["tables"]]


def written(page: Path) -> str:
    """A page with its figures as the JSON files have them.

    Raises:
        UnknownError: the page asks for a table, a column or a page that is not there.
    """
    text = page.read_text(encoding="utf-8")

    def replaced(block: re.Match[str]) -> str:
        kind, what, _ = block.groups()
        try:
            content = {"figures": _figures, "measured": _measured, "claims": _claims}[kind]
            inner = content(what, page)
        except UnknownError as error:
            line = text.count("\n", 0, block.start()) + 1
            raise UnknownError(f"{_named(page)}:{line}: {what!r}: {error}") from None
        return f"<!-- {kind}: {what} -->\n\n{inner}\n\n<!-- end -->"

    return BLOCK.sub(replaced, text)


def _figures(what: str, page: Path) -> str:
    name, _, columns = what.partition(":")
    table = _table(_entry(name))
    if columns:
        table = table.only([column.strip() for column in columns.split(",")])
    return LINK.sub(lambda link: f"]({_relative(link[1], page)})", table.markdown())


def _measured(what: str, page: Path) -> str:
    del page
    entry = _entry(what)
    parts = []
    if command := entry.get("command"):
        left_out = f"<!-- not run: {entry['not_run']} -->"
        parts.append("\n".join([left_out, "```bash", *command, "```"]))
    when = f", {entry['date']}" if entry.get("date") else ""
    parts.append(f"Commit {entry.get('commit') or 'not noted'}{when}. {entry['machine']}")
    return "\n\n".join(parts)


def _claims(what: str, page: Path) -> str:
    lines = []
    for name in what.split():
        path = page.parent / name
        found = CLAIM.search(path.read_text(encoding="utf-8")) if path.exists() else None
        if found is None:
            raise UnknownError(f"{name} has no bold sentence below its title, or does not exist")
        title, claim = found.groups()
        lines.append(f"- [{title}]({name}). {' '.join(claim.split())}")
    return "\n".join(lines)


@cache
def _topic(name: str) -> dict[str, Any]:
    path = HERE / "results" / f"{name}.json"
    if not path.exists():
        raise UnknownError(f"there is no {_named(path)}")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _entry(what: str) -> dict[str, Any]:
    """A topic, or a table of it with what it shares with the topic."""
    name, _, table = what.partition("/")
    topic = _topic(name)
    if not table:
        return topic
    if table not in topic["tables"]:
        raise UnknownError(f"{name}.json has the tables {', '.join(topic['tables'])}")
    return {**topic, **topic["tables"][table]}


def _table(entry: dict[str, Any]) -> Table:
    if "comparison" in entry:
        return _comparison(**entry["comparison"])
    if "written" in entry:
        found = json.loads((HERE / entry["written"]).read_text(encoding="utf-8"))
        return COMPUTED[entry["of"]](found)
    width = len(entry["columns"])
    if wrong := [row for row in entry["rows"] if len(row) != width]:
        raise UnknownError(f"a row of {len(wrong[0])} cells, expected {width}: {wrong[0]}")
    return Table(entry["columns"], entry["rows"])


def _comparison(file: str, network: str, methods: dict[str, str], columns: dict[str, str]) -> Table:
    """What ``head_to_head.py`` wrote of a network: by speed-up, methods in the order named.

    Args:
        file: in this folder.
        network: its name there.
        methods: what a table calls them, by their names there; the first that has rows of a
            speed-up is what others are held against.
        columns: keys of ``CELLS`` by heading.
    """
    from contest.report import Row  # it needs matplotlib, which takes its time

    found = json.loads((HERE / file).read_text(encoding="utf-8"))["rows"].values()
    rows = [Row(**row) for row in found if row["network"] == network]
    if left_out := {row.method for row in rows} - set(methods):
        raise UnknownError(f"{file} has {', '.join(sorted(left_out))} too; name all")
    order = list(methods)
    rows.sort(key=lambda row: (row.asked, order.index(row.method)))
    first = {row.asked: row for row in reversed(rows)}
    lines = []
    for row in rows:
        cells = CELLS | {
            "asked": lambda row: f"{row.asked:g}x" if row is first[row.asked] else "",
            "method": lambda row: methods[row.method],
            "interval": lambda row: _interval(row, first[row.asked]),
        }
        lines.append([cells[key](row) for key in columns.values()])
    return Table(list(columns), lines)


def _interval(row: "Row", base: "Row") -> str:
    if row is base or not row.right or row.asked == 1:
        return ""
    from contest.report import paired

    _, low, high = paired(row, base)
    return f"{low:+.2f} to {high:+.2f}"


def _spread(row: "Row") -> str:
    many = len(row.accuracies) > 1
    return _mean(row) + (f" (sd {statistics.stdev(row.accuracies):.2f})" if many else "")


def _mean(row: "Row") -> str:
    return f"{statistics.mean(row.accuracies):.2f} %" if row.accuracies else ""


CELLS: dict[str, Callable[["Row"], str]] = {
    "measured": lambda row: "" if row.speedup is None else f"{row.speedup:.2f}x",
    "untrained": lambda row: "" if row.untrained is None else f"{row.untrained:.1f} %",
    "mean": _mean,
    "spread": _spread,
    "steps": lambda row: "" if row.steps is None else str(row.steps),
    "rate": lambda row: "" if row.learning_rate is None else f"{row.learning_rate:g}",
    "note": lambda row: row.note,
}
"""What a row of a comparison says, by the keys of a table's columns."""


def _of_passes(found: dict[str, Any]) -> Table:
    """Milliseconds of a network's first calls, as ``caches.py`` measured them."""
    rows = [
        [network, before, *(f"{ms:.2f}" for ms in calls)]
        for network, own in found.items()
        for before, calls in own["passes_ms"].items()
    ]
    calls = [f"call {i}, ms" for i in range(1, len(rows[0]) - 1)]
    return Table(["network", "before the calls", *calls], rows)


def _of_ballast(found: dict[str, Any]) -> Table:
    """The blocks' sum over the network's time, by the ballast, with warm caches."""
    rows = [
        [network, *(f"{100 * share:.0f} %" for share in own["blocks_share"]["warm"].values())]
        for network, own in found.items()
    ]
    sizes = next(iter(found.values()))["blocks_share"]["warm"]
    return Table(["blocks of", *(f"{size} MiB" for size in sizes)], rows)


def _of_predictions(found: dict[str, Any]) -> Table:
    """How far predictions were off, as ``predictions.py`` measured them; the largest behind."""

    def error(timed: dict[str, Any], table: str) -> str:
        errors = [abs(plan[table] / plan["measured"] - 1) for plan in timed["plans"]]
        return f"{100 * statistics.median(errors):.1f}, {100 * max(errors):.1f} %"

    rows = []
    for case, own in found.items():
        first, *more = own["timed"]
        again = [error(more[-1], "footprints")] if more else [""]
        took = own["took_s"]
        rows.append(
            [
                case,
                error(first, "sum"),
                error(first, "footprints"),
                *again,
                f"{took['sum']:.0f} s",
                f"{took['footprints']:.0f} s",
            ]
        )
    columns = ["case", "sum of entries", "with footprints", "again", "sum took", "footprints took"]
    return Table(columns, rows)


def _of_classes(found: dict[str, Any]) -> Table:
    """The errors of all cases' plans by measured speed-up, with and without footprints."""
    plans = [plan for own in found.values() for timed in own["timed"] for plan in timed["plans"]]
    ends = (1.0, 1.5, 2.0, 3.0, 5.0, 8.5)
    rows = []
    for least, below in pairwise(ends):
        some = [plan for plan in plans if least <= plan["measured"] < below]
        cells = [f"{least:g}x to {min(below, 8):g}x", str(len(some))]
        for table in ("sum", "footprints"):
            errors = [abs(plan[table] / plan["measured"] - 1) for plan in some]
            cells.append(f"{100 * statistics.median(errors):.1f}, {100 * max(errors):.1f} %")
        rows.append(cells)
    return Table(["measured", "plans", "sum of entries", "with footprints"], rows)


def _of_picks(found: dict[str, Any]) -> Table:
    """Which timing gave the plan that was picked, as ``predictions.py --picks`` noted."""
    rows = [
        [
            case,
            row["table"],
            f"{row['asked']:g}x",
            str(row["place"]),
            str(row["timed"]),
            f"{row['predicted']:.2f}x",
            f"{row['measured']:.2f}x",
        ]
        for case, own in found.items()
        for row in own.get("picks", ())
    ]
    columns = ["case", "table", "asked", "picked from timing", "of", "predicted", "measured"]
    return Table(columns, rows)


def _of_beyond(found: dict[str, Any]) -> Table:
    """Networks that do not classify, as ``beyond_classifiers.py`` measured them."""
    rows = []
    for key, row in found.items():
        network, *method, asked = key.split()
        if "beside" in method:
            continue
        name = " ".join(method)
        if "refused" in row:
            rows.append([network, asked, name, "no plan", "", "", "", ""])
            continue
        unit = row["metric"].partition(", ")[2]
        figures = [f"{row[k]:.2f} {unit}" for k in ("original", "untrained", "finetuned")]
        other = found.get(f"{network} depthopt beside {name} {asked}")
        dropped = found.get(f"{network} {name} beside block dropping {asked}")
        told = ""
        if name != "depthopt" and (of := other or dropped) is not None:
            _, low, high = of["difference"]
            digits = 2 if of["of"] != "loss" else 4
            told = f"{low:+.{digits}f} to {high:+.{digits}f}"
            if of is dropped:
                told = f"this less block dropping: {told}"
        rows.append([network, asked, name, f"{row['speedup']:.2f}x", *figures, told])
    columns = ["network", "asked", "method", "measured", "original", "untrained", "finetuned"]
    return Table([*columns, "the default less this one, 95 %"], rows)


def _of_divergence(found: dict[str, Any]) -> Table:
    """How well sums of costs foretell a plan's, as ``divergence.py`` measured it."""
    plans = found["plans"]
    sums, measured = ([plan[key] for plan in plans] for key in ("sum", "measured"))
    counts = [len(plan["replaced"]) for plan in plans]
    row = [found["network"], str(len(plans)), f"{min(counts)} to {max(counts)}"]
    row += [f"{min(each):.3f} to {max(each):.3f}" for each in (sums, measured)]
    columns = ["network", "plans", "replacements in each", "sum of costs", "measured", "Spearman"]
    return Table(columns, [[*row, f"{found['spearman']:.2f}"]])


def _of_averaging(found: dict[str, Any]) -> Table:
    """What averaged runs of blocks cost in the median, as ``averaging.py`` measured it."""
    blocks, lengths = found["blocks"], (2, 3, 4, 6)
    rows = []
    for name, costs in found["costs"].items():
        of = [[cost for run, cost in costs.items() if blocks[run] == length] for length in lengths]
        rows.append([name, *(f"{statistics.median(each):.3f}" for each in of)])
    columns = [
        f"{length} blocks ({sum(each == length for each in blocks.values())} runs)"
        for length in lengths
    ]
    return Table(["coefficient", *columns], rows)


def _of_detector(found: dict[str, Any]) -> Table:
    """What became of a detector, as ``detector.py`` measured it."""
    rows = []
    for name, row in found.items():
        own, truth = row.get("original"), row.get("truth")
        speeds = [
            f"{row[k]:.2f}x" if k in row else "" for k in ("part_speedup", "whole_speedup_eager")
        ]
        shares = [
            f"{100 * of[key]:.1f} %" if of is not None else ""
            for of, key in ((own, "kept"), (own, "not_new"), (truth, "kept"), (truth, "not_new"))
        ]
        rows.append([name, *speeds, *shares])
    columns = ["network", "part, ONNX Runtime", "all, torch", "boxes kept", "boxes not new"]
    return Table([*columns, "pieces found", "boxes that are pieces"], rows)


COMPUTED: dict[str, Callable[[dict[str, Any]], Table]] = {
    "passes": _of_passes,
    "ballast": _of_ballast,
    "predictions": _of_predictions,
    "classes": _of_classes,
    "picks": _of_picks,
    "beyond": _of_beyond,
    "detector": _of_detector,
    "divergence": _of_divergence,
    "averaging": _of_averaging,
}
"""Tables that are computed from what a benchmark has written, by ``of``."""


def _relative(target: str, page: Path) -> str:
    return Path(os.path.relpath(ROOT / target, page.resolve().parent)).as_posix()


def _named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def _first_difference(page: Path, expected: str) -> str:
    """Where a page and its figures part, to say in a message."""
    now = page.read_text(encoding="utf-8").splitlines()
    wanted = expected.splitlines()
    pairs = zip([*now, ""], [*wanted, ""], strict=False)
    line = next(i for i, (a, b) in enumerate(pairs, 1) if a != b)
    return (
        f"{_named(page)}:{line}: the figures differ from the JSON file's\n"
        f"  here:     {now[line - 1] if line <= len(now) else ''}\n"
        f"  expected: {wanted[line - 1] if line <= len(wanted) else ''}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a page differs"
    )
    options = parser.parse_args()
    wrong = False
    for page in options.pages or pages():
        try:
            expected = written(page)
        except UnknownError as error:
            print(error)
            wrong = True
            continue
        if expected == page.read_text(encoding="utf-8"):
            continue
        if options.check:
            print(_first_difference(page, expected))
            wrong = True
        else:
            page.write_text(expected, encoding="utf-8", newline="\n")
            print(f"{_named(page)}: written")
    if options.check and wrong:
        print("run: python tests/benchmarks/figures.py")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
