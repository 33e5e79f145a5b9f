"""Read a run's folder, finished or not."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from depthopt.core import digests, limits
from depthopt.core.artefacts import load_json
from depthopt.core.chain import Chain
from depthopt.core.explored import Explored
from depthopt.core.plan import Frontier, Plan
from depthopt.core.reading import parse_yaml, read_text
from depthopt.core.training import TrainResult
from depthopt.core.trials import Trials
from depthopt.errors import ArtefactError, UsageError
from depthopt.models.names import runs_code
from depthopt.pipeline.folder import Manifest, RunFolder
from depthopt.pipeline.kept import read_kept
from depthopt.pipeline.result import Result
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable, NetworkKey
from depthopt.tables.similarity import SIMILARITIES, Similarities
from depthopt.tables.validation import Validation

T = TypeVar("T")

EXPLORED = "explored.json"

WRITTEN_BY = {
    "chain.json": "extract",
    "latency.json": "profile",
    "importance.json": "estimate",
    "frontier.json": "solve",
    "plan.json": "solve",
    "finetuned/history.json": "finetune",
    "result.json": "result",
}
"""The artefacts that a report reads, and the stages that write them."""


@dataclass(frozen=True, slots=True)
class RunArtefacts:
    """The artefacts of a run so far. None for those not yet made.

    Attributes:
        path: the run's folder.
        manifest: which stages are done.
        recipe: the run's recipe as YAML.
        chain: the original network.
        latency: measured latencies.
        similarities: how similar a transformer's blocks are, where that was told.
        importance: estimated importances; of a stage at work, those that it has.
        frontier: every Pareto-optimal plan.
        plan: the picked one.
        trials: plans that were finetuned a little before it was picked, if any were.
        explored: plans that were carried out to see how accurate they get, if any were.
        training: the shallow network's finetuning.
        result: what was measured in the end.
        validations: random plans' predictions against measurements, if any were made.
        notes: what is missing or does not fit, a line each.
    """

    path: Path
    manifest: Manifest
    recipe: str | None
    chain: Chain | None
    latency: LatencyTable | None
    similarities: Similarities | None
    importance: ImportanceTable | None
    frontier: Frontier | None
    plan: Plan | None
    trials: Trials | None
    explored: Explored | None
    training: TrainResult | None
    result: Result | None
    validations: tuple[Validation, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def model(self) -> str:
        """The network's name, or the run's where no network is known yet."""
        return self.name if self.chain is None else self.chain.model

    @property
    def arguments(self) -> str:
        """The arguments that name the run in a shell command: its recipe and folder."""
        return f"{self._recipe} --run-dir {shlex.quote(str(self.path))}"

    @property
    def elsewhere(self) -> str:
        """The arguments for a new run in a shell command: this recipe, --from and a folder.

        The folder's name has yet to be ended, and differs from this one's then.
        """
        own = shlex.quote(str(self.named))
        return f"{self._recipe} --from {own} --run-dir {own}-"

    @property
    def named(self) -> Path:
        """The folder's path, in full if it ends in no name."""
        return self.path if self.path.name not in {"", ".."} else self.path.resolve()

    def setting(self, section: str, key: str) -> Any:
        """A setting of the run's recipe. None if it is not set."""
        if self.recipe is None:
            return None
        try:
            content: Any = parse_yaml(self.recipe)
        except ValueError:
            return None
        for name in (section, key):
            content = content.get(name) if isinstance(content, dict) else None
        return content

    @property
    def _recipe(self) -> str:
        path = "RECIPE" if self.recipe is None else shlex.quote(str(self.path / "recipe.yaml"))
        return f"{path} --allow-code" if runs_code(self.model) else path

    @property
    def original_ms(self) -> float | None:
        """The original network's latency in the run's table, if it is there yet."""
        return _original_ms(self.chain, self.latency)


def read_run(path: Path) -> RunArtefacts:
    """Read what is in a run's folder.

    Raises:
        UsageError: it is not a run's folder.
        ArtefactError: a file is damaged, not as its stage left it, or of a newer depthopt.
    """
    folder = RunFolder(path)
    manifest = folder.manifest
    if not manifest.started:
        raise UsageError(
            f"{path} is not a run's folder: no stage was begun in it; make one by "
            f"`depthopt run RECIPE --run-dir {path}`"
        )
    for name in (*WRITTEN_BY, SIMILARITIES):
        if (why := folder.why_changed(name)) is not None:
            raise ArtefactError(f"{why}; start the run again, which makes it again")
    chain = _read(Chain, path / "chain.json")
    latency = _read(LatencyTable, path / "latency.json")
    frontier = _read(Frontier, path / "frontier.json")
    plan = _read(Plan, path / "plan.json")
    result = _read(Result, path / "result.json")
    notes = [*_missing(path), *_begun_again(manifest)]
    if frontier and chain and latency and _original_ms(chain, latency) != frontier.original_ms:
        notes.append(
            "frontier.json was solved from other latencies than latency.json holds, and is left "
            "out with its plan; start the run again"
        )
        frontier = plan = None
    if plan and result and result.predicted_ms != plan.latency_ms:
        notes.append(
            f"result.json is of another plan, of {result.predicted_ms:.4g} ms predicted, and is "
            "left out; start the run again"
        )
        result = None
    explored = read_kept(Explored, path / EXPLORED, None)
    if explored and explored.teacher != digests.of_file(path / "teacher.safetensors"):
        notes.append(f"{EXPLORED} is of another original, and is left out; explore again")
        explored = None
    recipe = _text(path / "recipe.yaml")
    if recipe is not None and digests.is_as_signed(recipe) is False:
        notes.append("recipe.yaml was changed after the run wrote it; start the run again")
    partial = read_kept(
        ImportanceTable, path / "importance.partial.json", manifest.begun.get("estimate")
    )
    return RunArtefacts(
        path=path,
        manifest=manifest,
        recipe=recipe,
        chain=chain,
        latency=latency,
        similarities=_read(Similarities, path / SIMILARITIES),
        importance=_read(ImportanceTable, path / "importance.json") or partial,
        frontier=frontier,
        plan=plan,
        trials=read_kept(Trials, path / "trials.json", manifest.begun.get("solve")),
        explored=explored,
        training=_read(TrainResult, path / "finetuned/history.json"),
        result=result,
        validations=tuple(
            load_json(Validation, file) for file in sorted(path.glob("*.validation-*.json"))
        ),
        notes=tuple(notes),
    )


def _original_ms(chain: Chain | None, latency: LatencyTable | None) -> float | None:
    if chain is None or latency is None:
        return None
    network = latency.networks.get(NetworkKey.of(chain))
    return None if network is None else network.total.median_ms


def _read(kind: type[T], path: Path) -> T | None:
    return load_json(kind, path) if path.exists() else None


def _text(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        return read_text(path, limits.RECIPE_BYTES)
    except ValueError:
        raise ArtefactError(f"{path} is not text; start the run again") from None


def _missing(path: Path) -> list[str]:
    absent = [name for name in WRITTEN_BY if not (path / name).exists()]
    notes = [f"{name} is missing: the stage {WRITTEN_BY[name]} is not done yet" for name in absent]
    if not (path / "recipe.yaml").exists():
        notes.append(
            "recipe.yaml is missing: the stage teacher is not done yet, or was done by an older "
            "depthopt; start the run again"
        )
    return notes


def _begun_again(manifest: Manifest) -> list[str]:
    return [
        f"{stage} was started again and is not finished; its earlier result is shown"
        for stage, record in manifest.stages.items()
        if manifest.started.get(stage, record.made_from) != record.made_from
    ]
