"""A process that tries inputs, and says of each what became of it: a line of JSON, flushed.

``python -m tests.fuzz.worker SEED FIRST STOP CORPUS KEEP`` tries those from FIRST to STOP; what is
refused or done is deleted, what is a defect stays in KEEP.
"""

import json
import resource
import shutil
import sys
import tempfile
from pathlib import Path

from tests.fuzz.corpus import fill
from tests.fuzz.outcome import MOST_BYTES, tried


def work(seed: str, first: int, stop: int, corpus: Path, keep: Path) -> None:
    """Try some inputs."""
    output = sys.stdout
    if not (corpus / "model.onnx").exists():
        fill(corpus)
    # Beyond what is allowed, so that the system is not brought down by a defect.
    most = 3 * MOST_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    for index in range(first, stop):
        print(json.dumps({"began": index}), file=output, flush=True)
        folder = Path(tempfile.mkdtemp(dir=keep)) / "input"
        found = tried(seed, index, corpus, folder)
        if found.name == "defect":
            kept = keep / f"{index}"
            folder.parent.rename(kept)
            (kept / "outcome.json").write_text(json.dumps(found.plain(), indent=1))
        else:
            shutil.rmtree(folder.parent)
        print(json.dumps(found.plain()), file=output, flush=True)


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
