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
from depthopt.kinds.candidates import RANKS, WIDTH_STEP, WIDTHS, Segments
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
    """The network to make shallower."""

    name: str = Field(
        description="timm's name, SOURCE:NAME such as torchvision:resnet18, or what makes it: "
        "FILE.py:CALLABLE or package.module:CALLABLE, which run with --allow-code only"
    )
    input_size: Size = Field(
        description="channels, height, width; or several inputs by name, such as "
        "image=3x32x32,step=scalar:int64[0..999]"
    )
    arguments: dict[str, bool | int | numbers.Finite | str | None] = Field(
        default_factory=dict,
        description="what it is made with beside the name, and the channels and outputs",
    )
    pretrained: bool = Field(
        False,
        description="start from the source's weights (downloads them), and train where the data "
        "asks for another number of outputs",
    )
    checkpoint: Path | None = Field(
        None,
        description="weights of the trained network, in .safetensors, .pth, .pt, .ckpt or .tar; "
        "without it the teacher is trained",
    )
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        None, description="of the file that name says; a changed file redoes all stages"
    )


class DataSection(Section):
    """The examples, with or without targets."""

    source: str = Field(
        description="digits, fashion_mnist, folder:PATH, wds/PATH, hfds/NAME or torch/NAME, or "
        "what another package brings"
    )
    root: Path | None = Field(None, description="where files are searched first")
    calibration_images: numbers.Count | None = Field(
        None,
        description="held out from training, to score candidates on; left out, 512, or a fifth "
        "of the training images where that is less",
    )
    mean: Annotated[tuple[numbers.Finite, ...], MinLen(1)] | None = Field(
        None, description="per channel, of pixels in 0..1"
    )
    std: Annotated[tuple[numbers.Positive, ...], MinLen(1)] | None = Field(
        None, description="per channel, of pixels in 0..1"
    )
    interpolation: Interpolation = Field(
        "bilinear", description="how images in folders are resized"
    )
    crop_pct: numbers.ShareAboveZero = Field(
        1.0, description="share of a resized image's side that evaluation keeps"
    )
    workers: numbers.ThreadsOrZero = Field(2, description="processes that decode images")
    check: bool = Field(True, description="decode every image once before work begins")
    damaged: Literal["fail", "skip"] = Field(
        "fail", description="what to do about an image that cannot be read"
    )


class CandidatesSection(Section):
    """What segments may become, by the names that ``extraction.candidates`` takes them by."""

    kinds: tuple[KindName, ...] = Field(
        ("drop", "fit"), description="drop, fit, merge, narrow, or what another package brings"
    )
    kernel_sizes: tuple[numbers.Size, ...] = Field((1, 3, 5), description="that fit tries")
    fits: Annotated[tuple[Fit, ...], MinLen(1)] = Field(
        ("dense", "depthwise"),
        description="what fit puts in place: dense, depthwise, or two convolutions in a row: "
        "separable, low_rank",
    )
    ranks: Annotated[tuple[numbers.ShareBetween, ...], MinLen(1)] = Field(
        RANKS, description="shares of the channels that low_rank goes through"
    )
    max_length: numbers.Count | None = Field(
        12, description="longest segment, in blocks; null for no limit"
    )
    inserted: str | None = Field(
        None,
        description="activation behind what replaces several blocks and has none; usual is the "
        "one that the network has most of",
    )
    fewer_macs: bool | None = Field(
        None,
        description="list only what needs fewer multiply-accumulates than the blocks that it "
        "replaces; left out, true on a cpu and false on a gpu",
    )
    segments: Segments = Field(
        "all", description="all that may be replaced, or those that the papers' code lists"
    )
    subsets: bool = Field(
        False, description="merge some of a segment's convolutions too, the others being left out"
    )
    end_activations: bool = Field(
        False, description="each merge with and without an activation at either of its ends"
    )
    widths: Annotated[tuple[numbers.ShareBetween, ...], MinLen(1)] = Field(
        WIDTHS, description="shares of a branch's hidden channels that narrow tries"
    )
    width_step: numbers.Count = Field(
        WIDTH_STEP, description="of which each number of hidden channels, or rank, is a multiple"
    )


class LatencySection(Section):
    """The device's runtime."""

    runtime: str = Field(
        "onnxruntime",
        description="onnxruntime, openvino, tensorrt, tensorrt_rtx, torch or torch_compiled",
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="cpu, or cuda where it can")
    dtype: str = Field(
        "float32",
        description="what it computes in; openvino has bfloat16 too, tensorrt tf32 and float16",
    )
    build: BuildOptions = Field(BuildOptions(), description="how tensorrt builds its engines")
    threads: numbers.Threads = Field(1, description="intra-operator threads, on a cpu")
    batch: numbers.Batch = Field(1, description="images per inference")
    table: Path | None = Field(
        None,
        description="a latency table to start from, or a folder of them, or the name of one that "
        "comes with depthopt, such as amd-epyc; only what it lacks is measured",
    )


class ImportanceSection(Section):
    """How the candidates' cost in accuracy is estimated."""

    estimator: Literal["regression", "finetune", "magnitude"] = Field(
        "regression", description="regression, finetune (the papers': slow) or magnitude"
    )
    images: numbers.Count = Field(1024, description="training images that are regressed on")
    ridges: Annotated[tuple[numbers.Positive, ...], MinLen(1)] = Field(
        FIT_RIDGES, description="regularisations to try"
    )
    train: TrainConfig = Field(
        TrainConfig(epochs=1, learning_rate=5e-4, warmup=0.0),
        description="the short training per candidate of finetune",
    )
    train_images: numbers.Count | None = Field(
        None, description="training images that finetune trains on; all of them if left out"
    )
    score_images: numbers.Count | None = Field(
        None,
        description="training images, none of those trained on, that finetune scores on; left "
        "out, it scores on the calibration images",
    )
    kept: bool = Field(
        False,
        description="estimate each block that is kept too, trained after a start from new weights",
    )
    workers: numbers.Threads | None = Field(
        None,
        description="processes of one core to spread the work over; left out, finetune takes one "
        "for each core of a machine that has no GPU, if the extra workers is installed",
    )
    address: str | None = Field(
        None, description="of a Ray cluster; without it workers run on this machine"
    )

    @model_validator(mode="after")
    def _only_trained_blocks_are_kept(self) -> "ImportanceSection":
        if self.kept and self.estimator != "finetune":
            raise ValueError(f"kept needs estimator finetune, not {self.estimator}")
        return self


class SolverSection(Section):
    """What a plan is the best for, and how exactly that is solved."""

    objective: Objective = Field(
        "cost",
        description="cost adds up costs; metric and exp_metric are the papers': the changes of "
        "the metric, and their exponentials, are added up",
    )
    alpha: numbers.NonNegative = Field(
        0.0,
        description="of metric: how many times the mean over single layers is taken from each "
        "change",
    )
    mode: Literal["exact", "bucketed", "epsilon"] = Field(
        "exact", description="exact, or within a bound: bucketed or epsilon"
    )
    resolution_ms: numbers.PositiveMilliseconds | None = Field(
        None, description="of bucketed: what latencies are rounded up to multiples of"
    )
    epsilon: numbers.NonNegative | None = Field(
        None, description="of epsilon: how far from the best, as a share of all costs' range"
    )
    inner_merges: bool = Field(
        True, description="a merge may be realised as several with no activation between them"
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
    """How fast the network shall be; exactly one of the three."""

    speedup: numbers.Positive | None = Field(None, description="at least so many times as fast")
    ms: numbers.PositiveMilliseconds | None = Field(
        None, description="at most so many milliseconds"
    )
    cost: numbers.Positive | None = Field(None, description="at most this importance cost")

    @model_validator(mode="after")
    def _exactly_one(self) -> "BudgetSection":
        if sum(value is not None for value in (self.speedup, self.ms, self.cost)) != 1:
            raise ValueError("give exactly one of speedup, ms, cost")
        return self


class TrialsSection(Section):
    """Whether the few plans of ``pick: tried`` are finetuned a little before one is picked."""

    steps: numbers.CountOrZero = Field(
        0,
        description="that each of a few plans of the asked speed-up, or faster, is finetuned for; "
        "the one of least loss on held-out images is picked. With 0 none is finetuned",
    )


class ApplySection(Section):
    """How the plan is carried out."""

    form: Form = Field("fused", description="how merges are trained: fused or expanded")
    start: Start = Field(
        "annealed", description="of inserted activations: annealed in finetuning, or at_once"
    )
    images: numbers.Count = Field(2048, description="training images that re-fitting regresses on")
    compensate: bool = Field(
        True, description="regress the kept convolutions behind a replacement too"
    )
    head: bool = Field(
        True, description="regress the last layer on the images' targets, where the task knows how"
    )
