"""What stands in for the heavy parts of the docs' examples, so that all of them run in seconds.

The one list of what a test runs other than it is printed. Everything else runs as printed, and
under ``-m slow`` so does this, with nothing but the files of ``stand_ins.py``. A substitution is a
regular expression, what is put instead, and why. All that match are applied, in order.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Substitution:
    """What is run instead.

    Attributes:
        printed: a regular expression of what a page says.
        instead: what is run, with the expression's groups.
        why: in a few words.
    """

    printed: str
    instead: str
    why: str


TINY = (
    "candidates.kernel_sizes=[1] candidates.max_length=2 data.workers=0 importance.images=32 "
    "apply.images=32 finetune.steps=2 finetune.checkpoint_every_s=0 pick=predicted "
    "latency.footprint_plans=1"
)
"""A recipe's keys that make a run tiny: few candidates, few images, two steps of training, and no
plan built before one is picked but one, as each takes a second. What a page says of ``pick`` and
``trials`` is checked all the same."""

QUICKSTART = f"model.name=small:short teacher.steps=2 {TINY} data.calibration_images=64"
"""The quickstart with a network of five convolutions, ``tests/packages/small_networks.py``."""

_RECIPE_COMMANDS = "run|extract|profile|estimate|solve|apply|finetune|fuse|export|doctor|predict"

BASH = (
    Substitution(
        r"^(depthopt run (?!.*--run-dir)"
        r".*( '?candidates\.| latency\.table=| trials\.| metric=).*)$",
        r"\1 --dry-run",
        "another run with other keys is loaded, checked and estimated, and not carried out",
    ),
    Substitution(
        r"(?<= --speedup )[\d.]+",
        "1.01",
        "what is timed for a moment hardly tells a large speed-up",
    ),
    Substitution(
        r"(?<= budget\.speedup=)[\d.]+",
        "1.02",
        "as above; another one than that of the run before",
    ),
    Substitution(
        r"^accelerate launch .*?-m depthopt",
        "depthopt",
        "one process instead of several: each would import torch",
    ),
    Substitution(
        r"^depthopt (compress|init|explore) (?:torchvision:)?(?:mobilenet_v2|resnet18|resnet50)\b"
        r"(.* --checkpoint mine\.pth)",
        r"depthopt \1 my_model.py:build\2",
        "the tiny network instead of a large one; the weights are the tiny network's",
    ),
    Substitution(
        r"^(depthopt (?:compress|init) .*)$",
        rf"\1 {TINY}",
        "a tiny run",
    ),
    Substitution(
        r"^(depthopt explore (?!quickstart).*?)(?: --minutes \S+)?(?: --speedups \S+)?$",
        rf"\1 --minutes 0.02 --speedups 1.05 {TINY}",
        "a tiny run, explored for a moment at one speed-up",
    ),
    Substitution(
        r"^(depthopt explore quickstart.*?)(?: --minutes \S+)?(?: --speedups \S+)?$",
        rf"\1 --minutes 0.02 --speedups 1.05 {QUICKSTART}",
        "as above, of the quickstart",
    ),
    Substitution(
        rf"^(depthopt (?:{_RECIPE_COMMANDS}) (?:quickstart|recipes/quickstart\.yaml)\b.*)$",
        rf"\1 {QUICKSTART}",
        "the tiny quickstart",
    ),
    Substitution(
        r"^(depthopt (?!.*budget[.=]).*model\.name=small:short.*)$",
        r"\1 budget.speedup=1.01",
        "a speed-up that it can have",
    ),
    Substitution(
        r"^(depthopt run .*--method.*)$",
        r"\1 importance.train_images=32 importance.score_images=32",
        "the papers' merges make the tiny network hardly faster",
    ),
    Substitution(
        r"^depthopt (profile|doctor|extract) (?:mobilenetv2_100|resnet18|resnet50)\b"
        r"(.*?)(?: --input-size \S+)?((?: --\w.*)?)$",
        r"depthopt \1 my_model.py:build\2 --input-size 3,32,32\3",
        "the tiny network instead of a large one",
    ),
    Substitution(
        r"^(depthopt profile my_model\.py.*?)(?: --kernel-sizes \S+)?(?: --max-length \S+)?$",
        r"\1 --kernel-sizes 1 --max-length 1 --footprint-plans 1",
        "few candidates to time, and one plan",
    ),
    Substitution(
        r"^(depthopt profile .*?) --validate \d+",
        r"\1 --validate 1",
        "one plan built and timed",
    ),
    Substitution(
        r"^(depthopt run .*?) trials\.steps=\d+(.*)$",
        r"\1\2 pick=tried trials.steps=1",
        "one step for each plan that is tried",
    ),
    Substitution(
        r"^depthopt report runs/quickstart$",
        "depthopt report runs/quickstart --summary",
        "its page and plots were written with the run that all pages share",
    ),
    Substitution(
        r"^(depthopt check .*?)(?: --seconds \S+)?$",
        r"\1 --seconds 0.2",
        "timed for a moment",
    ),
)
"""Of commands, each without what the shell does: comments, pipes and files for its output."""

PYTHON = (
    Substitution(
        r"(?<=\bspeedup=)[\d.]+(?=, run_dir)",
        "1.01",
        "what is timed for a moment hardly tells a large speed-up",
    ),
    Substitution(
        r"""(explore\([^()]*(?:\([^()]*\))?[^()]*)minutes=\d+""",
        r"\1minutes=0.02, speedups=(1.05,)",
        "explored for a moment at one speed-up",
    ),
    Substitution(
        r"""run_dir=(["']runs/[\w-]+["'])(?![^)]*overrides)""",
        rf"run_dir=\1, overrides={TINY.split()!r}",
        "a tiny run",
    ),
    Substitution(
        r"depthopt\.finetune\(((?:(?!config)[^()])*)\)",
        r"depthopt.finetune(\1, config=depthopt.TrainConfig(steps=2))",
        "two steps of training",
    ),
    Substitution(
        r'(?<=create_model\()"resnet18"|(?<=name=)"resnet18"(?=\))',
        '"test_resnet"',
        "timm's network for tests instead of ResNet-18",
    ),
    Substitution(
        r"from torchvision\.models\.detection import (fasterrcnn_mobilenet_v3_large_320_fpn)",
        r"from my_detector import tiny as \1",
        "a detector of few layers and small images",
    ),
    Substitution(
        r"rand\(4, 3, 240, 320\)\) for _ in range\(100\)",
        "rand(4, 3, 64, 96)) for _ in range(20)",
        "few and small images",
    ),
    Substitution(
        r"( +Residual\(32\),\n)\1",
        r"\1",
        "a block less in a network that a page writes",
    ),
    Substitution(
        r"\(\"train\", 120\), \(\"val\", 60\)",
        '("train", 12), ("val", 6)',
        "fewer images drawn",
    ),
    Substitution(
        r"(range\(|total_steps=)12\b",
        r"\g<1>2",
        "two epochs of training",
    ),
    Substitution(
        r"TrainConfig\((?:epochs|steps)=\d+",
        "TrainConfig(steps=2",
        "two steps of training",
    ),
    Substitution(
        r"images = \[x for x, _ in data\.train\.batches\(64, shuffle_seed=0\)\]",
        "images = [x for x, _ in data.train.batches(64, shuffle_seed=0)][:5]",
        "five batches to regress on",
    ),
    Substitution(
        r"depthopt\.candidates\(chain, kernel_sizes=\(1, 3\)(?:, max_length=\d+)?\)",
        "depthopt.candidates(chain, kernel_sizes=(1,), max_length=1)",
        "few candidates",
    ),
    Substitution(
        r"depthopt\.pick_measured\(model, chain, frontier, runtime=runtime, speedup=[\d.]+\)\.plan",
        "frontier.plan(len(frontier.points) // 2)",
        "no plan built before one is picked; tests/latency/test_pick.py does that",
    ),
)
"""Of Python's blocks."""

LOOKED_AT = {
    r"pytest\b": "this is pytest already; its paths and markers are looked up",
    r"(ruff|mypy|lint-imports|mkdocs)\b": "what .ci/run runs",
    r"\.ci/run\b": "that is what runs this",
    r"python (tests|docs)/": "scripts of the repository; the file is looked up",
    r"git\b": "of the reader's own clone",
}
"""Commands, as regular expressions, that are read and not run, under ``-m slow`` too, and why."""

ELSEWHERE = {"docs/guides/extending.md": "tests/extending/test_extending.py"}
"""Pages that another test runs whole, since their package has to be installed before."""

STATUSES = {"check": (0, 1, 3)}
"""Exit statuses that a command may end with; 0 alone for others. A check of networks that are
timed for a moment may call them slower, or leave it open: both are answers."""


def substituted(text: str, table: tuple[Substitution, ...]) -> str:
    """The text with all that match put in place."""
    for each in table:
        text = re.sub(each.printed, each.instead, text, flags=re.MULTILINE)
    return text
