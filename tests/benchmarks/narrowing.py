"""Which hidden channels stay: by least squares, or by a norm of each channel by itself.

Every branch of a recipe's network is narrowed to a share of its hidden channels, chosen in each of
four ways; the last convolutions are regressed for what stays in all of them alike. How far the
outputs on the test images are from the original's, and the accuracy, with no training.

    python tests/benchmarks/narrowing.py recipes/quickstart.yaml
"""

import argparse
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from unittest import mock

import torch
from rich.console import Console
from torch import Tensor, nn

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.operators import Convolution
from depthopt.core.plan import Plan
from depthopt.kinds.candidates import candidates
from depthopt.pipeline.context import BATCH, Context
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import run
from depthopt.rewrite import narrowing
from depthopt.rewrite.regression import Regression
from depthopt.shallow.apply import apply
from depthopt.tasks.evaluate import evaluate
from depthopt.workflow.progress import ConsoleReporter

Importance = Callable[[Tensor, Tensor], Tensor]
"""Of each channel, from the centred Gram matrix and the weight (out, in, kH, kW)."""


def contribution(gram: Tensor, weight: Tensor) -> Tensor:
    """The squared norm of what a channel adds to the branch's output."""
    taps = weight[0, 0].numel()
    blocks = gram.reshape(len(gram) // taps, taps, -1, taps)
    at = torch.arange(weight.shape[1])
    own = weight.double().flatten(2).transpose(0, 1)
    return torch.einsum("cou,cuv,cov->c", own, blocks[at, :, at], own)


IMPORTANCES: dict[str, Importance] = {
    "norm of the contribution": contribution,
    "norm of the weights": lambda _, weight: weight.double().abs().sum((0, 2, 3)),
    "chance": lambda _, weight: torch.rand(weight.shape[1]),
}


def by(importance: Importance) -> Callable[..., dict[int, Tensor]]:
    """In the place of ``staying``: the channels of the largest importance."""

    def staying(
        regression: Regression,
        spec: Convolution,
        weight: Tensor,
        counts: Collection[int],
        target: str,
        together: int = 1,
    ) -> dict[int, Tensor]:
        own = regression.of_channels(spec, torch.arange(spec.in_channels), target)
        (gram,), _, _ = own.normal_equations(spec, 0.0)
        units = importance(gram, weight).reshape(-1, together).sum(1)
        order = units.argsort(descending=True)
        offsets = torch.arange(together)
        return {
            n: (order[: n // together].sort().values[:, None] * together + offsets).reshape(-1)
            for n in counts
        }

    return staying


def branches(chain: Chain, share: float) -> Iterator[Candidate]:
    """Branches that do not overlap, from the left, each to the same share."""
    position = 0
    for candidate in candidates(chain, kinds=("narrow",), widths=(share,)):
        if candidate.replaces and candidate.start >= position:
            yield candidate
            position = candidate.end


def plan(chain: Chain, chosen: Collection[Candidate]) -> Plan:
    starts = {c.start: c for c in chosen}
    choices, blocks = list[Candidate](), kept_blocks(chain)
    while (position := choices[-1].end if choices else 0) < len(blocks):
        choices.append(starts.get(position, blocks[position]))
    return Plan(chain.model, chain.input_size, tuple(choices), 1.0, 1.0, 0.0)


@torch.no_grad()
def divergence(network: nn.Module, context: Context) -> float:
    """Mean over the test images, as importances are measured."""
    total = images = 0.0
    for inputs, _ in context.data.test.batches(BATCH):
        total += float(context.task.divergence(network(inputs), context.teacher(inputs)))
        images += len(inputs)
    return total / images


def accuracy(network: nn.Module, context: Context) -> float:
    return evaluate(network, context.data.test.batches(BATCH)).metric


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/narrowing"))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.75, 0.5, 0.25])
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, options.overrides)
    with ConsoleReporter(Console()) as reporter:
        context = run(recipe, options.run_dir, until="extract", reporter=reporter)
    ways = {"least squares": narrowing.staying} | {n: by(i) for n, i in IMPORTANCES.items()}
    print("| chosen by | " + " | ".join(f"{share:.0%}" for share in options.shares) + " |")
    for name, way in ways.items():
        torch.manual_seed(0)
        found = []
        for share in options.shares:
            chosen = list(branches(context.chain, share))
            with mock.patch.object(narrowing, "staying", way):
                network = apply(
                    context.teacher,
                    context.chain,
                    plan(context.chain, chosen),
                    fitting=context.train_inputs(recipe.apply.images, least=5),
                )
            found.append(f"{divergence(network, context):.4f}, {accuracy(network, context):.2f} %")
        print(f"| {name} | " + " | ".join(found) + " |", flush=True)
    print(f"\n{len(chosen)} branches; the original has {accuracy(context.teacher, context):.2f} %")


if __name__ == "__main__":
    main()
