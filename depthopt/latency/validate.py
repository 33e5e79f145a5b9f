"""Check a table's predictions on random plans: built, fused and timed with the original.

That a plan's latency is the sum of its entries is a claim. Here it is put to the test on
networks that nobody picked: the plans are drawn, not solved for.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import nn

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.numbers import Seed, require
from depthopt.core.plan import Plan
from depthopt.core.progress import Progress, silent
from depthopt.errors import UsageError
from depthopt.kinds.latency_keys import network_ms
from depthopt.kinds.registry import is_part
from depthopt.latency.measure import Effort
from depthopt.latency.timing import plan_timer
from depthopt.latency.worthwhile import worthwhile
from depthopt.runtimes.base import Runtime
from depthopt.tables.latency import LatencyTable, NetworkKey
from depthopt.tables.validation import PlanTiming, Validation

EFFORT = Effort(seconds=8.0, tolerance=0.01)
"""Effort per plan, with the original's share."""


def validate(
    model: nn.Module,
    chain: Chain,
    candidates: Iterable[Candidate],
    table: LatencyTable,
    *,
    runtime: Runtime,
    plans: int = 12,
    seed: int = 0,
    effort: Effort = EFFORT,
    progress: Progress = silent,
) -> Validation:
    """Compare the table's prediction with the measured speed-up of random plans.

    Args:
        model: the original network.
        chain: its chain.
        candidates: what plans are drawn from; of these, those that the table says are
            faster than what they replace.
        table: holds the network and the candidates' entries.
        runtime: what the table was measured on.
        plans: how many to draw.
        seed: of the drawing.
        effort: how long each plan is timed.
        progress: receives the plans timed.

    Raises:
        TableError: the table was measured under other conditions, or lacks the network.
        UsageError: ``plans`` is below 1.
        ModelError: the runtime cannot run a fused network.
    """
    require(Seed, "seed", seed)
    if plans < 1:
        raise UsageError(f"{plans} plans cannot validate a table; draw 1 or more")
    batch = table.conditions.batch
    conditions = runtime.conditions(batch).with_ballast(table.conditions.ballast_mib)
    table.combined(LatencyTable(conditions))
    original_ms = table.network(chain).total.median_ms
    useful = worthwhile(chain, candidates, table)
    timings = []
    with plan_timer(model, chain, runtime=runtime, batch=batch, effort=effort) as timer:
        for i in range(plans):
            progress(i, plans, "plans timed")
            plan = random_plan(chain, useful, seed=seed * 1_000_003 + i)
            predicted_ms = network_ms(chain, plan.choices, table)
            replaced = plan.replaced
            predicted = original_ms / predicted_ms
            timings.append(PlanTiming(predicted_ms, predicted, timer(plan), replaced))
    progress(plans, plans, "plans timed")
    return Validation(
        NetworkKey.of(chain),
        conditions,
        seed,
        table.network(chain).blocks_share,
        tuple(timings),
    )


def random_plan(chain: Chain, candidates: Sequence[Candidate], *, seed: int) -> Plan:
    """A plan that replaces a random share of what it can, short and long segments alike.

    Its latency and cost are left at 0.
    """
    generator = random.Random(seed)  # noqa: S311 - a draw, not a secret
    share = generator.uniform(0.1, 0.9)
    by_length: dict[tuple[int, int], dict[int, list[Candidate]]]
    by_length = defaultdict(lambda: defaultdict(list))
    for candidate in candidates:
        if candidate.replaces and not is_part(candidate):
            length = candidate.end - candidate.start
            by_length[candidate.start, candidate.entry][length].append(candidate)
    blocks = kept_blocks(chain)
    choices: list[Candidate] = []
    position = state = 0
    while position < len(blocks):
        lengths = by_length[position, state]
        if lengths and generator.random() < share:
            choices.append(generator.choice(lengths[generator.choice(sorted(lengths))]))
        else:
            choices.append(replace(blocks[position], entry=state))
        position, state = choices[-1].end, choices[-1].exit
    return Plan(chain.model, chain.input_size, tuple(choices), 0.0, 0.0, 0.0)
