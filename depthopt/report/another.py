"""How to make another plan of a run: a shell command, or Python if a command cannot.

A network or data that were given in memory have no name that a command could make them by.
"""

from dataclasses import dataclass

from depthopt.models.names import runs_code, source_of
from depthopt.report.reading import RunArtefacts

_IN_MEMORY = "memory"
"""What the names of networks and data begin with that were given in memory."""

_BUDGET = "\0"
"""Placeholder for a plan's budget in the text."""


@dataclass(frozen=True, slots=True)
class Another:
    """How to make another plan, in a new folder beside the run's.

    Attributes:
        parts: its text, but for the plan's budget in ms, which stands between them.
        in_python: whether it is Python, and no shell command.
    """

    parts: tuple[str, ...]
    in_python: bool = False


def another(run: RunArtefacts) -> Another:
    """How to make another plan of a run. The run's folder is not changed."""
    changes = [f"budget={{ms: {_BUDGET}}}", "pick=predicted"]
    if run.setting("trials", "steps"):
        changes.append("trials.steps=0")
    if is_in_memory(run):
        return Another(tuple(_call(run, changes).split(_BUDGET)), in_python=True)
    budget, *others = changes
    words = (f"depthopt run {run.elsewhere}{_BUDGET}ms", f"'{budget}'", *others)
    return Another(tuple(" ".join(words).split(_BUDGET)))


def is_in_memory(run: RunArtefacts) -> bool:
    """Whether a run's network or its data were given in memory."""
    return _model_is(run) or _data_is(run)


def _model_is(run: RunArtefacts) -> bool:
    return source_of(run.model) == _IN_MEMORY


def _data_is(run: RunArtefacts) -> bool:
    return str(run.setting("data", "source")).startswith(f"{_IN_MEMORY}:")


def _call(run: RunArtefacts, changes: list[str]) -> str:
    """Python in which ``model``, ``data`` and ``test`` are those that the run was given."""
    model, data = _model_is(run), _data_is(run)
    names = (["model"] if model else []) + (["data, test (or None)"] if data else [])
    given = ["model=model"] if model else []
    if data:
        given.append("data=given_dataset(data, test, seed=recipe.seed)")
    if runs_code(run.model):
        given.append("allow_code=True")
    told = ", ".join(f'"{change}"' for change in changes)
    lines = (
        "from pathlib import Path",
        *(["from depthopt import given_dataset"] if data else []),
        "from depthopt.pipeline.recipe import load_recipe",
        "from depthopt.pipeline.run import run",
        "",
        f"# {', '.join(names)}: what this run was given",
        f"folder = Path({str(run.named)!r})",
        f'recipe = load_recipe(folder / "recipe.yaml", [{told}])',
        f'new = folder.with_name(folder.name + "-{_BUDGET}ms")',
        f"run(recipe, new, start_from=folder, {', '.join(given)})",
    )
    return "\n".join(lines)
