"""How long extraction, merging and fusing take.

    python tests/benchmarks/rewrite_speed.py

Wall-clock seconds, least of three, pretrained weights not needed: ResNet-101 extracted; of
ResNet-50, the plan that merges every residual branch (16 merges, expanded form) applied and
fused; MobileNetV2's depthwise convolutions merged with themselves, and the largest weight
that this makes.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import timm

sys.path.insert(0, str(Path(__file__).parents[2]))

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.operators import Convolution
from depthopt.extraction.extract import extract
from depthopt.graph.convolutions import make_conv
from depthopt.kinds.candidates import candidates
from depthopt.rewrite.affine import Affine
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from tests.plans import plan_of

SIZE = (3, 224, 224)


def seconds(function: Callable[[], object]) -> float:
    """Least wall-clock time of three calls."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def branches(chain: Chain) -> list[Candidate]:
    """The merge of every skip's span."""
    spans = {(skip.source, skip.target) for skip in chain.skips}
    every = candidates(chain, kinds=("merge",), fewer_macs=False, max_length=4)
    return [c for c in every if c.kind == "merge" and (c.start, c.end) in spans]


def main() -> None:
    """Print the figures."""
    resnet101 = timm.create_model("resnet101").eval()
    took = seconds(lambda: extract(resnet101, SIZE, name="resnet101"))
    print(f"resnet101 extracted: {took:.2f} s")
    resnet50 = timm.create_model("resnet50").eval()
    chain = extract(resnet50, SIZE, name="resnet50")
    plan = plan_of(chain, *branches(chain))
    took = seconds(lambda: apply(resnet50, chain, plan, form="expanded"))
    print(f"resnet50, plan of {len(plan.replaced)} merges applied, expanded: {took:.2f} s")
    network = apply(resnet50, chain, plan, form="expanded")
    print(f"resnet50, that network fused: {seconds(lambda: fuse(network)):.2f} s")
    conv = make_conv(Convolution(4096, 4096, (3, 3), padding=(1, 1, 1, 1), groups=4096))
    run = Affine.of(conv)
    took = seconds(lambda: run.then(run).then(run))
    print(
        f"three depthwise 3x3 of 4,096 channels merged: {took:.3f} s, weight "
        f"{tuple(run.then(run).then(run).weight.shape)}"
    )


if __name__ == "__main__":
    main()
