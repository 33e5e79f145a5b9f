"""The sections of a recipe: every key, what it may be, and what it means."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    model_validator,
)

from depthopt.core import numbers
from depthopt.core.inputs import ImageSize, InputSpec, fitting, size_schema
from depthopt.core.interpolation import Interpolation
from depthopt.kinds.candidates import COEFFICIENTS, RANKS, WIDTH_STEP, WIDTHS, Segments
from depthopt.kinds.kind import Fit
from depthopt.kinds.registry import KINDS
from depthopt.rewrite.options import Form, Start
from depthopt.rewrite.ridges import FIT_RIDGES
from depthopt.runtimes.tensorrt.options import BuildOptions
from depthopt.tasks.registry import TASKS
from depthopt.train.config import TrainConfig


def _known_kind(name: str) -> str:
    if name not in KINDS.names:
        raise ValueError(f"candidate kind {name!r} is unknown; known: {', '.join(KINDS.names)}")
    return name


Pick = Literal["predicted", "measured", "tried"]
"""How the plan of a speed-up or latency is picked from the frontier."""

Objective = Literal["cost", "metric", "exp_metric"]
"""What a plan is the best for, as ``depthopt.frontier.lookup`` has it."""

KindName = Annotated[str, AfterValidator(_known_kind)]


def _known_task(name: str) -> str:
    if name not in TASKS.names:
        raise ValueError(f"task {name!r} is unknown; known: {', '.join(TASKS.names)}")
    return name


TaskName = Annotated[str, AfterValidator(_known_task)]

Size = Annotated[
    ImageSize | InputSpec,
    GetPydanticSchema(
        lambda _, handler: size_schema(tuple[numbers.Size, numbers.Size, numbers.Size], handler)
    ),
    AfterValidator(fitting),
]


class Section(BaseModel):
    """Keys by name; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(Section):
    """The network to make faster."""

    name: str = Field(
        description="the network: timm's name, SOURCE:NAME such as torchvision:resnet18, or your "
        "own code as FILE.py:CALLABLE or package.module:CALLABLE, which runs only "
        "with --allow-code"
    )
    input_size: Size = Field(
        description="channels, height and width; or several named inputs, such as "
        "image=3x32x32,step=scalar:int64[0..999]"
    )
    arguments: dict[str, bool | int | numbers.Finite | str | None] = Field(
        default_factory=dict,
        description="more arguments for what makes the network, beside its name, its channels and "
        "its number of outputs",
    )
    pretrained: bool = Field(
        False,
        description="start from the source's weights, which may be downloaded; the network is "
        "trained first where your data needs another number of outputs",
    )
    checkpoint: Path | None = Field(
        None,
        description="file with the weights of your trained network: .safetensors, .pth, .pt, "
        ".ckpt or .tar; without it and without pretrained, the run trains the "
        "original first",
    )
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        None,
        description="digest of the file that name says; if the file changes, all stages are done "
        "again",
    )


class DataSection(Section):
    """The images to train on and to test with."""

    source: str = Field(
        description="which images: digits, fashion_mnist, folder:PATH, images:PATH, wds/PATH, "
        "hfds/NAME, torch/NAME, or what another package brings"
    )
    root: Path | None = Field(
        None, description="folder in which the data set's files are searched first"
    )
    calibration_images: numbers.Count | None = Field(
        None,
        description="training images that are held out to score candidates on; left out, 512, or "
        "a fifth of the training images if that is less",
    )
    mean: Annotated[tuple[numbers.Finite, ...], MinLen(1)] | None = Field(
        None, description="mean of each channel, for pixels from 0 to 1"
    )
    std: Annotated[tuple[numbers.Positive, ...], MinLen(1)] | None = Field(
        None, description="standard deviation of each channel, for pixels from 0 to 1"
    )
    interpolation: Interpolation = Field(
        "bilinear", description="how images in files are resized: bilinear or bicubic"
    )
    crop_pct: numbers.ShareAboveZero = Field(
        1.0,
        description="share of a resized image's side that is kept when the network is evaluated",
    )
    workers: numbers.ThreadsOrZero = Field(2, description="processes that decode images")
    check: bool = Field(True, description="decode every image once before work begins")
    damaged: Literal["fail", "skip"] = Field(
        "fail",
        description="what to do about an image that cannot be read: fail stops the run, skip "
        "leaves the image out",
    )


class CandidatesSection(Section):
    """What may replace a segment of the network."""

    kinds: tuple[KindName, ...] = Field(
        ("drop", "fit"),
        description="ways to replace a segment: drop, fit, merge, narrow, share, or what another "
        "package brings",
    )
    kernel_sizes: tuple[numbers.Size, ...] = Field(
        (1, 3, 5), description="kernel sizes that fit tries"
    )
    fits: Annotated[tuple[Fit, ...], MinLen(1)] = Field(
        ("dense", "depthwise"),
        description="what fit puts in place: dense or depthwise, one convolution each; separable "
        "or low_rank, two in a row",
    )
    ranks: Annotated[tuple[numbers.ShareBetween, ...], MinLen(1)] = Field(
        RANKS, description="ranks that low_rank tries, as shares of the channels"
    )
    max_length: numbers.Count | None = Field(
        12, description="longest segment, in blocks; null means no limit"
    )
    inserted: str | None = Field(
        None,
        description="activation, such as relu6, to put behind a replacement of several blocks "
        "that ends without one; usual takes the network's most frequent one",
    )
    fewer_macs: bool | None = Field(
        None,
        description="list only replacements with fewer multiply-accumulates than their blocks; "
        "left out, true on a cpu and false on a gpu",
    )
    segments: Segments = Field(
        "all",
        description="which segments are tried: with all, each that may be replaced; with papers, "
        "those that the papers' code lists",
    )
    subsets: bool = Field(
        False,
        description="also merge only some of a segment's convolutions and leave the others out",
    )
    end_activations: bool = Field(
        False, description="list each merge both with and without an activation at either end"
    )
    widths: Annotated[tuple[numbers.ShareBetween, ...], MinLen(1)] = Field(
        WIDTHS, description="how many hidden channels of a branch narrow keeps, as shares"
    )
    width_step: numbers.Count = Field(
        WIDTH_STEP, description="numbers of hidden channels, and ranks, are multiples of this"
    )
    coefficients: Annotated[tuple[numbers.Share, ...], MinLen(1)] | Literal["similarity"] = Field(
        COEFFICIENTS,
        description="what the block in front may count where share averages two, of which the one "
        "that comes nearest on held-out images is scored; similarity takes how similar the two are",
    )
    similar_quantile: numbers.ShareBelowOne | None = Field(
        None,
        description="average only runs in which each two blocks are more similar than this share "
        "of all pairs; left out, all runs",
    )


class LatencySection(Section):
    """What the network runs on, and how it is timed."""

    runtime: str = Field(
        "onnxruntime",
        description="what runs the network and times it: onnxruntime, openvino, tensorrt, "
        "tensorrt_rtx, torch or torch_compiled",
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="cpu, or cuda if the runtime supports it"
    )
    dtype: str = Field(
        "float32",
        description="type that the runtime computes in; openvino also has bfloat16, tensorrt also "
        "has tf32 and float16",
    )
    build: BuildOptions = Field(BuildOptions(), description="how TensorRT builds its engines")
    threads: numbers.Threads = Field(1, description="threads within one operator, on a cpu")
    batch: numbers.Batch = Field(1, description="images per inference")
    table: Path | None = Field(
        None,
        description="latency table to start from: a file, a folder of tables, or the name of one "
        "that comes with depthopt, such as amd-epyc; only what it lacks is measured",
    )
    footprint_plans: numbers.CountOrZero | None = Field(
        None,
        description="random plans that are timed to learn how latency depends on the weights that "
        "a network reads; 0 takes it for a sum of entries; left out, 8 for method depthopt on a "
        "cpu, else 0",
    )


class ImportanceSection(Section):
    """How the candidates' cost in accuracy is estimated."""

    estimator: Literal["regression", "finetune", "magnitude"] = Field(
        "regression",
        description="how candidates are scored: regression, finetune (the papers' way, which is "
        "slow) or magnitude",
    )
    images: numbers.Count = Field(
        1024, description="training images that replacements are regressed on"
    )
    ridges: Annotated[tuple[numbers.Positive, ...], MinLen(1)] = Field(
        FIT_RIDGES, description="strengths of regularisation to try"
    )
    train: TrainConfig = Field(
        TrainConfig(epochs=1, learning_rate=5e-4, warmup=0.0),
        description="the short training of each candidate, for finetune",
    )
    train_images: numbers.Count | None = Field(
        None, description="training images that finetune trains on; left out, all of them"
    )
    score_images: numbers.Count | None = Field(
        None,
        description="training images that finetune scores on, none of which it trained on; left "
        "out, it uses the calibration images",
    )
    kept: bool = Field(
        False,
        description="also score every block that is kept, trained from new weights; needs finetune",
    )
    workers: numbers.Threads | None = Field(
        None,
        description="processes of one core each that share the work; left out, finetune takes one "
        "for each core of a machine that has no GPU, if the extra workers is "
        "installed",
    )
    address: str | None = Field(
        None, description="address of a Ray cluster; left out, workers run on this machine"
    )

    @model_validator(mode="after")
    def _only_trained_blocks_are_kept(self) -> "ImportanceSection":
        if self.kept and self.estimator != "finetune":
            raise ValueError(f"kept needs estimator finetune, not {self.estimator}")
        return self


class SolverSection(Section):
    """What a plan is best at, and how exactly it is found."""

    objective: Objective = Field(
        "cost",
        description="what a plan is best at: cost adds up the candidates' costs; with "
        "metric and exp_metric, of the papers, the changes of what the task measures, or their "
        "exponentials, add up",
    )
    alpha: numbers.NonNegative = Field(
        0.0,
        description="for metric: how many times the mean over single layers is taken off each "
        "change",
    )
    mode: Literal["exact", "bucketed", "epsilon"] = Field(
        "exact",
        description="exact finds every best plan; bucketed and epsilon are quicker and stay "
        "within a bound",
    )
    resolution_ms: numbers.PositiveMilliseconds | None = Field(
        None, description="for bucketed: latencies are rounded up to multiples of this"
    )
    epsilon: numbers.NonNegative | None = Field(
        None,
        description="for epsilon: how far from the best a plan may be, as a share of the range of "
        "costs",
    )
    inner_merges: bool = Field(
        True, description="a merge may be built as several merges with no activation between them"
    )

    @property
    def said(self) -> str:
        """What costs are of, in words."""
        alpha = f", alpha {self.alpha:g}" if self.objective == "metric" and self.alpha else ""
        return f"{self.objective}{alpha}"

    @model_validator(mode="after")
    def _modes_have_their_bound(self) -> "SolverSection":
        needed = {"bucketed": "resolution_ms", "epsilon": "epsilon"}.get(self.mode)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"mode {self.mode} needs solver.{needed}")
        return self


class BudgetSection(Section):
    """How fast the network must be; give exactly one of the three."""

    speedup: numbers.Positive | None = Field(
        None, description="at least this many times as fast as the original"
    )
    ms: numbers.PositiveMilliseconds | None = Field(
        None,
        description="at most this many milliseconds: the original's latency in the table, "
        "divided by the measured speed-up",
    )
    cost: numbers.Positive | None = Field(None, description="at most this importance cost")

    @model_validator(mode="after")
    def _exactly_one(self) -> "BudgetSection":
        if sum(value is not None for value in (self.speedup, self.ms, self.cost)) != 1:
            raise ValueError("give exactly one of speedup, ms, cost")
        return self


class TrialsSection(Section):
    """How plans are tried before one is picked, with pick: tried."""

    steps: numbers.CountOrZero = Field(
        0,
        description="finetuning steps for each plan that is tried, before the one with the least "
        "loss on held-out images is picked; 0 finetunes none",
    )


class ApplySection(Section):
    """How the plan is carried out."""

    form: Form = Field(
        "fused",
        description="how merges are trained: fused, as one convolution, or expanded, as the "
        "convolutions that they are made of",
    )
    start: Start = Field(
        "annealed",
        description="how inserted activations start: annealed grows them in during finetuning, "
        "at_once has them from the beginning",
    )
    images: numbers.Count = Field(
        2048, description="training images that the new convolutions are regressed on"
    )
    compensate: bool = Field(
        True, description="also regress the kept convolutions behind a replacement"
    )
    head: bool = Field(
        True,
        description="also regress the last layer on the images' targets, where the task knows how",
    )
