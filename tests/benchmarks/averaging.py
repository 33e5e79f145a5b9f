"""What it costs to average runs of a transformer's blocks, by the coefficient of the one in front.

The ``share`` candidates of a recipe's run are estimated once for each coefficient, for the blocks'
similarity as in MKA, and with the coefficient that comes nearest. At 1 the first block of a run
stays and the others are dropped, at 0 the last one stays. Each has its last layer regressed.

    python tests/benchmarks/averaging.py RECIPE --run-dir runs/averaging --json averaging.json
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from rich.console import Console

from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import run
from depthopt.workflow.progress import ConsoleReporter

COEFFICIENTS = ("0", "0.25", "0.5", "0.75", "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--from", type=Path, dest="start", help="run whose original is taken over")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    shown = {each: f"[{each}]" for each in COEFFICIENTS} | {"similarity": "similarity"}
    shown["nearest of 0, 0.1, ... 1"] = json.dumps([each / 10 for each in range(11)])
    found = {"network": options.recipe.stem, "costs": {}, "details": {}}
    before = options.start
    for name, coefficients in shown.items():
        wishes = ["candidates.kinds=[share]", f"candidates.coefficients={coefficients}"]
        recipe = load_recipe(options.recipe, [*options.overrides, *wishes])
        folder = options.run_dir / name.replace(" ", "_").replace(",", "")
        with ConsoleReporter(Console()) as reporter:
            context = run(recipe, folder, until="estimate", reporter=reporter, start_from=before)
        before = folder
        entries = context.importance.entries
        found["costs"][name] = {f"{c.start}:{c.end}": e.cost for c, e in entries.items()}
        found["details"][name] = dict(Counter(c.detail for c in entries))
        found["blocks"] = {f"{c.start}:{c.end}": (c.end - c.start) // 2 for c in entries}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
