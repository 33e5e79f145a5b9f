"""All inputs of a seed, tried in a process of their own, and a table of what became of them.

``python -m tests.fuzz.run [--inputs N] [--seed S] [--only INDEX]``
"""

import argparse
import json
import os
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.outcome import MOST_WALL_SECONDS, Outcome, kind_of

_GRACE_SECONDS = 30


def fuzz(seed: str, first: int, stop: int, keep: Path) -> list[Outcome]:
    """Try inputs; a process that dies or hangs is a defect of the input that it was at."""
    corpus = keep / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    found: list[Outcome] = []
    while first < stop:
        done, died = _process(seed, first, stop, corpus, keep)
        found += done
        first += len(done)
        with (keep / "outcomes.jsonl").open("a") as file:
            file.writelines(f"{json.dumps(each.plain())}\n" for each in done)
        if died is not None:
            if first >= stop:
                break
            found.append(Outcome(first, kind_of(first), "defect", died, 0.0, 0))
            first += 1
    return found


def _process(
    seed: str, first: int, stop: int, corpus: Path, keep: Path
) -> tuple[list[Outcome], str | None]:
    """What one process found, and how it died if it did."""
    path = os.environ.get("PYTHONPATH", "")
    log = (keep / "stderr.txt").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.worker", seed, str(first), str(stop), str(corpus),
         str(keep)],
        stdout=subprocess.PIPE, stderr=log, text=True, cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((".", "tests/packages", path))},
    )  # fmt: skip
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    found: list[Outcome] = []
    died = None
    while True:
        try:
            line = lines.get(timeout=MOST_WALL_SECONDS + _GRACE_SECONDS)
        except queue.Empty:
            died = f"the process did nothing for {MOST_WALL_SECONDS + _GRACE_SECONDS} s"
            process.kill()
            break
        if not line:
            break
        if not line.startswith("{"):
            continue  # of a library that prints
        content = json.loads(line)
        if "index" in content:
            found.append(Outcome(**content))
    status = process.wait()
    log.close()
    if status and died is None:
        died = f"the process died with status {status}"
    return found, died


def table(found: Sequence[Outcome]) -> str:
    """Counts by kind and outcome, with the longest time and the most memory."""
    counts = Counter((each.kind, each.name) for each in found)
    rows = [f"{'kind':<14}{'done':>7}{'refused':>9}{'defect':>8}{'most s':>8}{'most MiB':>10}"]
    for kind in sorted({each.kind for each in found}):
        own = [each for each in found if each.kind == kind]
        rows.append(
            f"{kind:<14}"
            f"{counts[kind, 'done']:>7}{counts[kind, 'refused']:>9}{counts[kind, 'defect']:>8}"
            f"{max(each.seconds for each in own):>8.1f}"
            f"{max(each.peak_bytes for each in own) >> 20:>10}"
        )
    names = Counter(each.name for each in found)
    rows.append(f"{'all':<14}{names['done']:>7}{names['refused']:>9}{names['defect']:>8}")
    return "\n".join(rows)


def defects(found: Sequence[Outcome]) -> list[str]:
    """One paragraph each."""
    return [f"{each.index} ({each.kind}): {each.what}" for each in found if each.name == "defect"]


def fresh_seed() -> str:
    """``DEPTHOPT_FUZZ_SEED``, or a new one."""
    return os.environ.get("DEPTHOPT_FUZZ_SEED") or secrets.token_hex(4)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", default=fresh_seed())
    parser.add_argument("--only", type=int)
    given = parser.parse_args()
    first = 0 if given.only is None else given.only
    stop = given.inputs if given.only is None else given.only + 1
    keep = Path(tempfile.mkdtemp(prefix="depthopt-fuzz-"))
    print(f"seed {given.seed}, defects in {keep}", flush=True)
    found = fuzz(given.seed, first, stop, keep)
    print("\n\n".join([*defects(found), table(found)]))
    return int(bool(defects(found)))


if __name__ == "__main__":
    sys.exit(_main())
