"""What exploring a run of ``run_folder`` might have found."""

from depthopt.core.explored import Asked, Attempt, Explored, Finetuned, Found
from depthopt.core.plan import Frontier
from tests.report.run_folder import ACCURACY


def explored_of(frontier: Frontier) -> Explored:
    """Three plans of the frontier, all but the dearest. The least costly is wholly finetuned."""
    plans = [frontier.plan(i) for i in (len(frontier.points) - 2, len(frontier.points) // 2, 1)]
    attempts = []
    for i, plan in enumerate(plans):
        finetuned = [Finetuned(16, Found(97.0 - i, 0.7, 512))]
        if i == 0:
            finetuned.append(Finetuned(128, Found(97.5, 0.7, 512)))
        attempts.append(
            Attempt(plan, plan.speedup, Found(90.0 - 10 * i, 1.3, 512), tuple(finetuned))
        )
    asked = (Asked(1.25, 0), Asked(1.5, 1), Asked(2.0, 2), Asked(4.0, None))
    return Explored(
        model=frontier.model,
        data="digits",
        metric=ACCURACY,
        original=Found(98.0, 0.6, 512),
        test_images=1797,
        steps=128,
        attempts=tuple(attempts),
        asked=asked,
        fastest=2.5,
        recommended=1.25,
        reason="the least costly",
    )
