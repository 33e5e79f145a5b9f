"""How well the sum of a plan's costs foretells how far the whole network strays, untrained.

Random plans of a recipe's run are carried out with no training. The divergence of their outputs
from the original's, on held-out images, is set beside the sum of the divergences that the table
has for their replacements, by Spearman's correlation. What is done is kept in the folder.

    python tests/benchmarks/divergence.py RECIPE --run-dir runs/divergence --json divergence.json
"""

import argparse
import json
from pathlib import Path

import torch
from rich.console import Console
from scipy.stats import spearmanr
from torch import nn

from depthopt.core.plan import Plan
from depthopt.graph.outputs import output_of
from depthopt.latency.validate import random_plan
from depthopt.pipeline.carried_out import carried_out, regressed_on
from depthopt.pipeline.context import Context
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import run
from depthopt.workflow.progress import ConsoleReporter


@torch.no_grad()
def divergence(context: Context, network: nn.Module) -> float:
    """A mean over the held-out images."""
    total, images = 0.0, 0
    for inputs, _ in context.held_out():
        outputs, wanted = output_of(network, inputs), output_of(context.teacher, inputs)
        total += float(context.judge.divergence(outputs.double(), wanted.double()))
        images += len(outputs)
    return total / images


def predicted(context: Context, plan: Plan) -> float:
    return sum(context.importance.entries[c].divergence or 0.0 for c in plan.replaced)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--plans", type=int, default=30)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, [*options.overrides, "apply.head=false"])
    with ConsoleReporter(Console()) as reporter:
        context = run(recipe, options.run_dir, until="estimate", reporter=reporter)
    useful = [c for c in context.worthwhile if not c.replaces or c in context.importance.entries]
    fresh = {"network": options.recipe.stem, "plans": []}
    found = json.loads(options.json.read_text()) if options.json.exists() else fresh
    rows, seed, batches = found["plans"], 0, regressed_on(context)
    while len(rows) < options.plans:
        plan = random_plan(context.chain, useful, seed=seed)
        seed += 1
        keys = [c.key for c in plan.replaced]
        if not keys or any(row["replaced"] == keys for row in rows):
            continue
        measured = divergence(context, carried_out(context, plan, batches).eval())
        rows.append({"replaced": keys, "sum": predicted(context, plan), "measured": measured})
        columns = zip(*((row["sum"], row["measured"]) for row in rows), strict=True)
        found["spearman"] = float(spearmanr(*columns).statistic) if len(rows) > 1 else None
        options.json.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{len(rows)}/{options.plans}: {rows[-1]['sum']:.4f} {measured:.4f}", flush=True)
    print(f"Spearman {found['spearman']:.2f}")


if __name__ == "__main__":
    main()
