"""Make a network faster in one call, from a network and data."""

import contextlib
import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rich.console import Console
from torch import nn

from depthopt.core import digests
from depthopt.core.artefacts import load_json
from depthopt.core.plan import Plan
from depthopt.core.writing import write_bytes
from depthopt.data.dataset import Dataset
from depthopt.errors import DepthoptError, UsageError
from depthopt.export.saved import load
from depthopt.models.memory import Original
from depthopt.pipeline.context import Reporter
from depthopt.pipeline.explore import explore as explored
from depthopt.pipeline.recipe import recipe_yaml
from depthopt.pipeline.result import Result
from depthopt.pipeline.run import result, run
from depthopt.pipeline.sections import BudgetSection
from depthopt.report.facts import result_rows
from depthopt.report.reading import read_run
from depthopt.report.written import write_page
from depthopt.workflow.progress import ConsoleReporter
from depthopt.workflow.setup import Setup, set_up
from depthopt.workflow.wish import TorchData, Wish, wish_of


@dataclass(frozen=True, repr=False)
class Compressed:
    """A finished compression.

    Attributes:
        folder: of the run, with all that it made.
        result: its figures, before and after.
        original: the network in memory that it began with, or the callable that makes it; None
            where its name alone does.
    """

    folder: Path
    result: Result
    original: Original | None = None

    @cached_property
    def network(self) -> nn.Module:
        """The fused network, in evaluation mode."""
        return load(self.folder / "fused", model=self.original)

    @cached_property
    def plan(self) -> Plan:
        """The plan: what was replaced."""
        return load_json(Plan, self.folder / "plan.json")

    @property
    def accuracy(self) -> float:
        """The task's metric of the fused network on test examples, such as points of 100."""
        return self.result.compressed.metric

    @property
    def original_accuracy(self) -> float:
        """The task's metric of the original on test examples."""
        return self.result.original.metric

    @property
    def speedup(self) -> float:
        """The measured speed-up over the original."""
        return self.result.speedup

    @property
    def onnx(self) -> Path:
        """The file of the exported network."""
        return Path(self.result.onnx)

    def report(self) -> Path:
        """Write the run's report page, and return its path. `depthopt report` adds plots."""
        return write_page(read_run(self.folder), self.folder / "report")

    def __repr__(self) -> str:
        metric = self.result.metric
        return (
            f"{self.result.model} on {self.result.data}: {self.speedup:.2f}x as fast, "
            f"{metric.name} {metric.figure(self.original_accuracy)} to "
            f"{metric.text(self.accuracy)}, in {self.folder}"
        )

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        rows = "".join(
            f"<tr><th>{html.escape(row.label)}</th><td>{html.escape(row.original)}</td>"
            f"<td>{html.escape(row.compressed)}</td></tr>"
            for row in result_rows(self.result)
        )
        head = "<tr><th></th><th>original</th><th>compressed</th></tr>"
        return f"<p>{html.escape(repr(self))}</p><table>{head}{rows}</table>"


def compress(
    model: nn.Module | str,
    data: TorchData | Dataset | str | Path,
    speedup: float | None = 2.0,
    *,
    run_dir: str | Path,
    method: str | None = None,
    task: str | None = None,
    test: TorchData | None = None,
    input_size: int | tuple[int, int, int] | None = None,
    checkpoint: str | Path | None = None,
    pretrained: bool = False,
    epochs: int | None = None,
    seed: int = 0,
    overrides: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Compressed:
    """Make a network faster on this machine, and say how fast and how accurate it is.

    Every stage's artefact is kept in ``run_dir``: the same call goes on from where it was stopped,
    and changed arguments redo what they affect.

    Args:
        model: a trained network from images (N, C, H, W) to logits (N, classes), or to what the
            task takes, which is not changed; or a name, such as ``torchvision:resnet18``,
            ``FILE.py:CALLABLE``, whose code is run, or a timm network's.
        data: a data set's name or path, torch's ``Dataset`` or ``DataLoader`` of (image, label),
            with images as the network takes them, or what ``part_of`` recorded.
        speedup: least measured speed-up. None explores first, for some minutes, and takes what is
            recommended.
        run_dir: folder of the run; made if it does not exist.
        method: whose settings to take: ``depthopt``, or a paper's: ``layermerge``,
            ``depth`` or ``mka``.
        task: what the network is for: ``classification``, the default; ``segmentation``, by masks;
            ``restoration``, by images that are to come out; without labels ``matching``, to give
            what the original gives, whatever that is, or ``embedding``, to keep what lies near; or
            another package's.
        test: what the final figures are measured on, where ``data`` is torch's; without it a part
            of ``data`` is held out.
        input_size: a side in pixels, or (channels, height, width); by default of the data.
        checkpoint: file of trained weights, where ``model`` is a name.
        pretrained: take the weights of the network's source, where ``model`` is a name.
        epochs: of the finetune.
        seed: of initialisation, order and augmentation.
        overrides: ``key.path=value`` of the recipe (``docs/reference/recipe.md``).
        reporter: receives the progress; by default lines on the standard error.

    Raises:
        DepthoptError: what was asked for cannot be done; the message says why.
    """
    wish = wish_of(
        model,
        data,
        test,
        speedup=speedup,
        input_size=input_size,
        checkpoint=checkpoint,
        pretrained=pretrained,
        epochs=epochs,
        seed=seed,
        method=method,
        task=task,
        overrides=overrides,
    )
    setup, folder = set_up(wish), Path(run_dir)
    console = Console(stderr=True, quiet=reporter is not None)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    for what, choice in setup.remarks:
        say(f"{what:<8} {choice}")
    with contextlib.nullcontext(reporter) if reporter else ConsoleReporter(console) as told:
        setup = with_budget(wish, setup, folder, reporter=told, say=say)
        return carry_out(wish, setup, folder, reporter=told)


def with_budget(
    wish: Wish,
    setup: Setup,
    folder: Path,
    *,
    reporter: Reporter | None = None,
    say: Callable[[str], None] | None = None,
) -> Setup:
    """The recipe with a budget: the one asked for, or the one that exploring recommends.

    Args:
        wish: what was asked for.
        setup: the recipe for it.
        folder: of the run, where what exploring learns is kept.
        reporter: receives the progress.
        say: receives what is found, a line each.

    Raises:
        UsageError: no budget is asked for, and none is worth it.
    """
    if wish.names_budget:
        return setup
    with _nothing_left(folder):
        found = explored(
            setup.recipe,
            folder,
            reporter=reporter,
            say=say,
            allow_code=wish.allow_code,
            model=wish.given,
            data=wish.given_data,
        )
    if found.recommended is None:
        raise UsageError(f"no speed-up is recommended: {found.reason}; name one to get it anyway")
    if say is not None:
        say(f"{found.recommended:g} times as fast is recommended: {found.reason}")
    budget = BudgetSection(speedup=found.recommended)
    return replace(setup, recipe=setup.recipe.model_copy(update={"budget": budget}))


def carry_out(
    wish: Wish, setup: Setup, folder: Path, *, reporter: Reporter | None = None
) -> Compressed:
    """Carry out what a user asked for, and write its report page.

    Args:
        wish: what was asked for.
        setup: the recipe for it.
        folder: of the run, which keeps the recipe too.
        reporter: receives the progress.
    """
    path = folder / "recipe.yaml"
    with _nothing_left(folder):
        if not path.exists():  # a run that was begun has one, which says what it was begun with
            text = recipe_yaml(setup.recipe.moved_to(folder))
            write_bytes(path, digests.signed(text).encode())
        context = run(
            setup.recipe,
            folder,
            reporter=reporter,
            allow_code=wish.allow_code,
            model=wish.given,
            data=wish.given_data,
        )
    write_page(read_run(folder), folder / "report")
    return Compressed(folder, result(folder), context.original)


@contextlib.contextmanager
def _nothing_left(folder: Path) -> Iterator[None]:
    """Take away the new folder of a run that is refused before it has made anything."""
    is_new = not folder.exists()
    try:
        yield
    except DepthoptError:
        if is_new and folder.is_dir():
            names = {path.name for path in folder.iterdir()}
            if names <= {"recipe.yaml", "manifest.json"}:
                for name in names:
                    (folder / name).unlink()
                folder.rmdir()
        raise
