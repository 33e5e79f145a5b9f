"""A recipe: its sections together, read from a YAML file, with overrides of it."""

import difflib
import logging
import os
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from depthopt.core import limits, numbers
from depthopt.core.clipped import clipped, one_line
from depthopt.core.old_words import as_first_said, later_keys, read_recipe
from depthopt.core.reading import parse_yaml, read_text
from depthopt.core.shipped import recipe_file
from depthopt.errors import RecipeError
from depthopt.models.names import callable_of, digest_of_code, told_as
from depthopt.pipeline.methods import DEPTHOPT, METHODS, MethodName, keys_of, with_method
from depthopt.pipeline.overrides import changes_of, override_all
from depthopt.pipeline.sections import (
    ApplySection,
    BudgetSection,
    CandidatesSection,
    DataSection,
    ImportanceSection,
    LatencySection,
    ModelSection,
    Pick,
    Section,
    SolverSection,
    TaskName,
    TrialsSection,
)
from depthopt.tables.latency import FOOTPRINT_PLANS
from depthopt.tasks.registry import DEFAULT, PURPOSES
from depthopt.train.config import TrainConfig

logger = logging.getLogger(__name__)


class Recipe(Section):
    """One compression, from the network's name to the exported file."""

    method: MethodName = Field(
        DEPTHOPT,
        description="whose settings are the defaults: depthopt, or one of the papers' methods, "
        "layermerge, depth or mka",
    )
    model: ModelSection
    data: DataSection
    task: TaskName = Field(
        DEFAULT,
        description=f"what the network is for: {PURPOSES}; or what another package brings",
    )
    budget: BudgetSection
    pick: Pick | None = Field(
        None,
        description="how a plan is picked for budget.speedup or budget.ms: predicted trusts the "
        "latency table; measured builds plans and times them in turn with the original; tried, "
        "the default, also carries a few of those out and takes the one that does best on "
        "held-out images",
    )
    teacher: TrainConfig = TrainConfig()
    candidates: CandidatesSection = CandidatesSection()
    latency: LatencySection = LatencySection()
    importance: ImportanceSection = ImportanceSection()
    solver: SolverSection = SolverSection()
    trials: TrialsSection = TrialsSection()
    apply: ApplySection = ApplySection()
    finetune: TrainConfig = TrainConfig()
    metric: str | None = Field(
        None,
        description="a function of yours, FILE.py:NAME or MODULE:NAME, that is given each network "
        "and the batches that it is tested on, and returns a number; the result tells it beside "
        "the task's metric",
    )
    seed: numbers.Seed = Field(0, description="seed of initialisation, order and augmentation")

    _beside: dict[str, str] = PrivateAttr(default_factory=dict)
    """Paths that lie in the recipe's own folder, as it says them and as they are reached."""

    @property
    def network(self) -> str:
        """What ``create_model`` takes: ``model.name``, its file as it is reached."""
        return self._reached(self.model.name)

    @property
    def own_metric(self) -> str | None:
        """``metric``, its file as it is reached."""
        return None if self.metric is None else self._reached(self.metric)

    def _reached(self, name: str) -> str:
        found = callable_of(name)
        if found is None or not found.is_file:
            return name
        return f"{self._beside.get(found.place, found.place)}:{found.name}"

    @property
    def network_name(self) -> str:
        """What artefacts call the network."""
        return told_as(self.model.name, self.model.sha256)

    @property
    def checkpoint(self) -> Path | None:
        """Where ``model.checkpoint`` is reached."""
        given = self.model.checkpoint
        return None if given is None else Path(self._beside.get(str(given), given))

    def beside(self, folder: Path) -> "Recipe":
        """This recipe, its files found in its own folder where they are there.

        Files are searched there first, and then in the working directory. The digest of the file
        that ``model.name`` says is taken; where it is another than the recipe's, a line of the log
        says so.
        """
        given = [] if self.model.checkpoint is None else [str(self.model.checkpoint)]
        for code in (callable_of(self.model.name), callable_of(self.metric or "")):
            given += [code.place] if code is not None and code.is_file else []
        found = {each: str(folder / each) for each in given if (folder / each).is_file()}
        recipe = self.model_copy()
        others = {each: path for each, path in found.items() if path != each}
        recipe._beside = others  # noqa: SLF001 - of its own class
        digest = digest_of_code(recipe.network)
        if digest is None or digest == self.model.sha256:
            return recipe
        if self.model.sha256 is not None:
            logger.warning(
                "%s is not the file that the recipe was written for (model.sha256): all stages are "
                "done again",
                recipe.network.rpartition(":")[0],
            )
        return recipe.of_model(sha256=digest)

    def moved_to(self, folder: Path) -> "Recipe":
        """This recipe as a file in another folder has it, which finds the same files."""
        given, changed = self.model.checkpoint, dict[str, object]()
        if given is not None and self._is_beside(str(given)):
            changed["checkpoint"] = Path(os.path.relpath(self._beside[str(given)], folder))
        recipe = self.of_model(**changed, name=self._seen_from(folder, self.model.name))
        if self.metric is None:
            return recipe
        return recipe.model_copy(update={"metric": self._seen_from(folder, self.metric)})

    def _seen_from(self, folder: Path, name: str) -> str:
        """A callable's name whose file is found from another folder; others as they are."""
        code = callable_of(name)
        if code is None or not Path(place := self._beside.get(code.place, code.place)).is_file():
            return name
        return f"{os.path.relpath(place, folder)}:{code.name}"

    def settings(self, sections: AbstractSet[str], without: Mapping[str, set[str]]) -> Any:
        """Sections as they are digested: wherever the files lie that are beside the recipe."""
        found = self.model_dump(mode="json", include=set(sections), exclude=dict(without))
        if (section := found.get("model")) is not None:
            section["name"] = told_as(self.model.name)
            given = self.model.checkpoint
            if given is not None and self._is_beside(str(given)):
                section["checkpoint"] = given.name
        if (section := found.get("candidates")) is not None:
            section["fewer_macs"] = self.fewer_macs
        return as_first_said(found)

    def _is_beside(self, path: str) -> bool:
        """Whether a file is found beside the recipe, and not from the working directory."""
        there = self._beside.get(path)
        return there is not None and Path(there).resolve() != Path(path).resolve()

    def of_model(self, **changed: object) -> "Recipe":
        """This recipe with another model section."""
        section = self.model.model_copy(update=changed)
        return self.model_copy(update={"model": section})

    @property
    def picked(self) -> Pick:
        """How the plan is picked; of ``budget.cost`` always by table."""
        if self.budget.cost is not None:
            return "predicted"
        return self.pick or "tried"

    @property
    def fewer_macs(self) -> bool:
        """Whether only what needs fewer multiply-accumulates than its blocks is a candidate."""
        given = self.candidates.fewer_macs
        return self.latency.device == "cpu" if given is None else given

    @property
    def footprint_plans(self) -> int:
        """How many plans are timed to learn the network's footprints."""
        given = self.latency.footprint_plans
        if given is None:
            is_own = self.method == DEPTHOPT  # the papers add entries up
            return FOOTPRINT_PLANS if is_own and self.latency.device == "cpu" else 0
        return given

    @property
    def keeping_is_free(self) -> bool:
        """Whether blocks that are kept cost nothing, as they do where none is estimated."""
        return not self.importance.kept

    @model_validator(mode="before")
    @classmethod
    def _with_method(cls, content: Any) -> Any:
        return with_method(content)

    @model_validator(mode="after")
    def _objectives_have_their_entries(self) -> "Recipe":
        objective, estimator = self.solver.objective, self.importance.estimator
        if objective != "cost" and estimator == "magnitude":
            raise ValueError(
                f"solver.objective {objective} is of changes of the metric, which "
                "importance.estimator magnitude does not estimate; use another"
            )
        if objective == "metric" and self.solver.alpha and not self.importance.kept:
            raise ValueError(
                "solver.alpha is of the entries of kept blocks: it needs importance.kept: true, or "
                "be 0"
            )
        return self

    @model_validator(mode="after")
    def _trials_are_timed(self) -> "Recipe":
        if self.trials.steps and (self.budget.cost is not None or self.pick == "predicted"):
            raise ValueError(
                "trials.steps needs a budget that is kept by measuring: budget.speedup or "
                "budget.ms, and pick: tried"
            )
        return self


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply ``key.path=value`` overrides, whose values are YAML.

    Args:
        path: of the file; or a name without a suffix, of a recipe that comes with depthopt.
        overrides: changes to it.

    Raises:
        RecipeError: the file is missing or no YAML, a key is unknown (the nearest known
            one is named), or a value is not of its kind.
    """
    file = recipe_file(path)
    try:
        content = parse_yaml(read_text(file, limits.RECIPE_BYTES))
    except FileNotFoundError:
        raise RecipeError(f"recipe {path} does not exist") from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"recipe {path} cannot be read: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"recipe {path} holds no mapping; it needs model, data and budget")
    return make_recipe(content, overrides, where=str(path)).beside(file.parent)


def make_recipe(
    content: dict[str, Any], overrides: Sequence[str] = (), *, where: str = "recipe"
) -> Recipe:
    """The recipe of a file's content, with ``key.path=value`` overrides, whose values are YAML.

    Args:
        content: sections by name; overrides are written into it.
        overrides: applied in order.
        where: it is from, for messages.

    Raises:
        RecipeError: a key is unknown, or a value is not of its kind.
    """
    content = _without_former_method(content, overrides)
    override_all(content, overrides)
    try:
        return Recipe.model_validate(read_recipe(content))
    except ValidationError as error:
        raise RecipeError(f"{where}: {_explain(error)}") from None


_TELLING = ("candidates", "importance", "apply", "finetune")
"""Sections of which nobody writes every key by hand."""


def _without_former_method(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A recipe that says every key, less those that it has of its method, if that is changed.

    Such are a run's own ``recipe.yaml`` and what ``depthopt init`` writes: what their method set
    stands in them like all else, and would be taken for the recipe's own wish.
    """
    changed = changes_of(overrides).get("method")
    former = content.get("method", DEPTHOPT)
    if changed not in METHODS or former not in METHODS or changed == former:
        return content
    told = read_recipe(content)
    if not all(_says_every_key(told, section) for section in _TELLING):
        return content
    values, plain = _of_method(former), _of_method(DEPTHOPT)
    new = dict(keys_of(METHODS[changed].settings))
    for path in {**dict(keys_of(METHODS[former].settings)), **new}:
        told = _without(told, path, values, None if path in new else plain)
    return told


def _of_method(name: MethodName) -> dict[str, Any]:
    """A recipe's content that says its method alone."""
    least = {
        "method": name,
        "model": {"name": "", "input_size": [1, 1, 1]},
        "data": {"source": ""},
        "budget": {"speedup": 1},
    }
    return Recipe.model_validate(least).model_dump(mode="json")


def _says_every_key(content: dict[str, Any], section: str) -> bool:
    told = content.get(section)
    return isinstance(told, dict) and {*known_keys((section,))} - later_keys(section) <= told.keys()


def _without(
    content: dict[str, Any],
    path: Sequence[str],
    values: Mapping[str, Any],
    instead: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Content without a key where it has such a value, or with another value instead."""
    key, *rest = path
    if key not in content:
        return content
    if rest:
        if not isinstance(inner := content[key], dict):
            return content
        told = _without(inner, rest, values[key], None if instead is None else instead[key])
        return content | {key: told}
    if content[key] != values[key]:
        return content
    if instead is not None:
        return content | {key: instead[key]}
    return {k: v for k, v in content.items() if k != key}


def recipe_yaml(recipe: Recipe) -> str:
    """The whole recipe, defaults included, as a file that ``load_recipe`` reads."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def _explain(error: ValidationError) -> str:
    """One line on the first mistake, with the nearest known key if it is an unknown one."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        known = known_keys(first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        return f"unknown key {where}; {hint}"
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] == "value_error":  # of a section, which need not be quoted whole
        return f"{where}: {first['ctx']['error']}".removeprefix(": ")
    return f"{where}: {first['msg']} (got {clipped(first['input'])})"


def known_keys(section: Sequence[str | int] = ()) -> list[str]:
    """The keys of the recipe, or of one of its sections."""
    kind: Any = Recipe
    for name in section:
        kind = kind.model_fields[str(name)].annotation
    if hasattr(kind, "model_fields"):
        return list(kind.model_fields)
    return list(kind.__dataclass_fields__)
