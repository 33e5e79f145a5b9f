"""A run's folder: which stages are done, from what, and whether that is still valid."""

import json
import logging
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from depthopt.core import digests, numbers
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.old_words import place_as_first_said, placed
from depthopt.errors import ArtefactError

logger = logging.getLogger(__name__)

_PACKAGES = ("depthopt", "torch", "timm", "numpy", "onnx")


@dataclass(frozen=True, slots=True)
class StageRecord:
    """A finished stage.

    Attributes:
        made_from: digest of the settings and files that it was made from.
        outputs: digest of each file that it wrote, by path inside the folder.
        seconds: that it took, from where it was last started; None where that is unknown.
        versions: of Python and of the packages that a result may depend on, by name.
    """

    made_from: str
    outputs: dict[str, str]
    seconds: numbers.NonNegative | None = None
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The records of a run's stages, by name.

    Attributes:
        stages: the finished ones.
        started: what each was last started from, finished or not.
        begun: all that each was ever started from, in order.
    """

    stages: dict[str, StageRecord] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)
    begun: dict[str, tuple[str, ...]] = field(default_factory=dict)


class RunFolder:
    """The artefacts of one run."""

    def __init__(self, path: Path) -> None:
        """Open a folder, new or of an earlier run.

        Args:
            path: made when the first artefact is written.

        Raises:
            ArtefactError: its manifest is damaged or of a newer schema.
        """
        self.path = path
        self._manifest_path = path / "manifest.json"
        self.reload()

    def reload(self) -> None:
        """Read the manifest, which another process of the run may have changed.

        Raises:
            ArtefactError: it is damaged or of a newer schema.
        """
        try:
            exists = self._manifest_path.exists()
            self._manifest = load_json(Manifest, self._manifest_path) if exists else Manifest()
        except ArtefactError as error:
            raise ArtefactError(
                f"{error}; it says which stages are done: without it, all are done again"
            ) from None

    def file(self, name: str) -> Path:
        """The path of one artefact."""
        return placed(self.path, name)

    @property
    def manifest(self) -> Manifest:
        """The records of the run's stages."""
        return self._manifest

    def digest(self, settings: object, inputs: Iterable[str]) -> str:
        """A digest of JSON-able settings and of the contents of earlier artefacts."""
        files = {place_as_first_said(name): digests.of_file(self.file(name)) for name in inputs}
        text = json.dumps([settings, files], sort_keys=True, default=str)
        return digests.of_bytes(text.encode())

    def is_done(self, stage: str, made_from: str, outputs: Iterable[str] = ()) -> bool:
        """Whether a stage was finished from exactly this, and its files are unchanged.

        ``outputs`` are those that it must have written; an earlier version may have had fewer.
        """
        record = self._manifest.stages.get(stage)
        return (
            record is not None
            and record.made_from == made_from
            and record.outputs.keys() >= set(outputs)
            and all(digests.of_file(self.file(f)) == d for f, d in record.outputs.items())
        )

    def made_from(self, stage: str) -> str:
        """Digest of what a stage was last started from. Empty if it never was."""
        return self._manifest.started.get(stage, "")

    def begun(self, stage: str) -> tuple[str, ...]:
        """Digests of all that a stage was ever started from."""
        found = self._manifest.begun.get(stage, ())
        last = self._manifest.started.get(stage)  # all that an earlier version noted
        return found if last is None or last in found else (*found, last)

    def why_changed(self, name: str) -> str | None:
        """The message about a file that was changed after its stage wrote it, else None.

        A stage that was started again from something else may have overwritten its files.
        """
        for stage, record in self._manifest.stages.items():
            digest = record.outputs.get(name)
            if digest is None or self._manifest.started.get(stage) != record.made_from:
                continue
            if self.file(name).exists() and digests.of_file(self.file(name)) != digest:
                return f"{self.file(name)} was changed after the stage {stage} wrote it"
        return None

    def discard_changed(self, stage: str, outputs: Iterable[str]) -> None:
        """Delete files that were changed after their stage wrote them, and say so."""
        for name in outputs:
            if (why := self.why_changed(name)) is not None:
                logger.warning("%s: it is deleted, and the stage %s done again", why, stage)
                self.file(name).unlink()

    def start(self, stage: str, made_from: str, checkpoint: str | None) -> None:
        """Record that a stage begins. A checkpoint that was made from something else is deleted.

        What is known of an earlier end of it from the same goes, too: it is done again.
        """
        record = self._manifest.stages.get(stage)
        again = record is not None and record.made_from == made_from
        if self._manifest.started.get(stage) == made_from and not again:
            return
        if again:
            del self._manifest.stages[stage]
        elif checkpoint is not None:
            self.file(checkpoint).unlink(missing_ok=True)
        self._manifest.started[stage] = made_from
        begun = self._manifest.begun.get(stage, ())
        self._manifest.begun[stage] = (*(each for each in begun if each != made_from), made_from)
        save_json(self._manifest, self._manifest_path)

    def finish(self, stage: str, made_from: str, outputs: Iterable[str], seconds: float) -> None:
        """Record that a stage is done."""
        written = {name: digests.of_file(self.file(name)) for name in outputs}
        self._manifest.stages[stage] = StageRecord(made_from, written, seconds, _versions())
        save_json(self._manifest, self._manifest_path)

    def take_over(self, other: "RunFolder", stage: str) -> None:
        """Record that a stage is done, as in another folder. Its files are already here."""
        self._manifest.stages[stage] = other.manifest.stages[stage]
        self._manifest.started[stage] = other.made_from(stage)
        self.note_begun(stage, other.begun(stage))

    def note_begun(self, stage: str, made_from: Iterable[str]) -> None:
        """Record what a stage was started from elsewhere, so that its copied files are used."""
        known = (*self.begun(stage), *made_from)
        self._manifest.begun[stage] = tuple(dict.fromkeys(known))
        save_json(self._manifest, self._manifest_path)


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}
