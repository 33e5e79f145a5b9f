"""Names that earlier versions used, and what they are called now.

Recipes, files and run folders that hold an old word are read as if they held the new one, and a
line of the log says so, once for each word. No other module knows an old word.
"""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Content = dict[str, Any]

STAGES = {"merge": "fuse"}
"""Names of stages and of the commands of the same names."""

FOLDERS = {"shallow": "applied"}
"""Names of folders inside a run's folder."""

ESTIMATORS = {"fit": "regression"}

FORMS = {"merged": "fused"}
"""Forms of networks, and the key that says whether a saved one is in its final form."""

METRICS = {
    "accuracy": "metric",
    "accuracy_change": "metric_change",
    "untrained_accuracy": "untrained_metric",
    "target_accuracy": "target_metric",
}
"""Names of figures. The only task was classification, and its metric was the accuracy."""

TASK = "classification"
"""The only task that earlier versions had. Files did not name it."""

METRIC = {"name": "accuracy", "unit": "%", "scale": 100.0, "higher_is_better": True}
"""The only metric that earlier versions had. Files did not describe it."""

OBJECTIVES = {"exp_accuracy": "exp_metric"}

_HEADS = {"classifier": "head"}
"""Of what is regressed behind the blocks."""

_VALUES = {("importance", "estimator"): ESTIMATORS, ("apply", "form"): FORMS}
"""Values in recipes, by section and key."""

_RECIPE_KEYS = {
    ("teacher",): METRICS,
    ("finetune",): METRICS,
    ("importance", "train"): METRICS,
    ("apply",): _HEADS,
}
"""Keys in recipes, by section."""

_SAID_NOTHING: dict[tuple[str, str], Any] = {("data", "calibration_images"): 512}
"""What a key of a recipe held where nothing was said, and holds no more: None stands for it."""


_LATER: dict[tuple[str, str], object] = {
    ("model", "sha256"): None,
    ("candidates", "fewer_macs"): True,
    ("candidates", "segments"): "all",
    ("candidates", "subsets"): False,
    ("candidates", "end_activations"): False,
    ("candidates", "fits"): ["dense", "depthwise"],
    ("candidates", "ranks"): [0.5, 0.25],
    ("candidates", "widths"): [0.875, 0.75, 0.5, 0.25],
    ("candidates", "width_step"): 8,
    ("candidates", "coefficients"): [each / 10 for each in range(11)],
    ("candidates", "similar_quantile"): None,
    ("latency", "footprint_plans"): None,
    ("importance", "score_images"): None,
    ("importance", "kept"): False,
    ("solver", "objective"): "cost",
    ("solver", "alpha"): 0.0,
    ("solver", "mode"): "exact",
    ("solver", "resolution_ms"): None,
    ("solver", "epsilon"): None,
    ("solver", "inner_merges"): True,
    **{
        (section, key): first
        for section in ("teacher", "finetune", "importance.train")
        for key, first in (("decay_norms", False), ("frozen_norms", False), ("nesterov", True))
    },
}
"""Keys that recipes had not at first, by section, and what leaves all as it was then."""

_PICK, _PREDICTED = "pick", "predicted"
"""Once ``budget.measured``, false where the plan is picked by table."""


def later_keys(section: str) -> set[str]:
    """Keys of a section that recipes of earlier versions do not have."""
    return {key for of, key in _LATER if of == section}


def without_later(section: str, content: Content) -> Content:
    """A recipe's section without later keys, where these change nothing.

    Likewise the sections in it.
    """
    return {
        key: without_later(f"{section}.{key}", value) if isinstance(value, dict) else value
        for key, value in content.items()
        if (section, key) not in _LATER or _LATER[section, key] != value
    }


def read_recipe(content: Content) -> Content:
    """A recipe's content with new names, not yet validated."""
    for (section, key), words in _VALUES.items():
        if isinstance(inner := content.get(section), dict):
            content = content | {section: _value(inner, key, words, f"{section}.{key}")}
    for path, words in _RECIPE_KEYS.items():
        content = _inside(content, path, words, f"the key in {'.'.join(path)}")
    return _pick(content)


def _pick(content: Content) -> Content:
    """With ``pick`` for what ``budget.measured`` said; where both are said, with ``pick``."""
    budget = content.get("budget")
    if not isinstance(budget, dict) or "measured" not in budget:
        return content
    _tell("the key in budget", "measured", _PICK)
    measured = budget["measured"]
    if isinstance(measured, bool):  # anything else is refused as a wrong way to pick
        trials = content.get("trials")
        has_steps = isinstance(trials, dict) and bool(trials.get("steps"))
        measured = _PREDICTED if not measured else None if has_steps else "measured"
    budget = {key: value for key, value in budget.items() if key != "measured"}
    return content | {"budget": budget, _PICK: content.get(_PICK) or measured}


def _inside(
    content: Content, path: tuple[str, ...], words: Mapping[str, str], what: str
) -> Content:
    """With new words for the keys of a section of a section."""
    first, *rest = path
    if not isinstance(inner := content.get(first), dict):
        return content
    inner = _inside(inner, tuple(rest), words, what) if rest else _keys(inner, words, what)
    return content | {first: inner}


def read_objective(objective: str) -> str:
    """An objective by its new name."""
    if objective in OBJECTIVES:
        _tell("the objective", objective, OBJECTIVES[objective])
    return OBJECTIVES.get(objective, objective)


def read_artefact(kind: str, content: Content) -> Content:
    """An artefact's content with new names, not yet validated."""
    return _ARTEFACTS[kind](content) if kind in _ARTEFACTS else content


def as_first_said(sections: Content) -> Content:
    """Sections of a recipe with the first names of their settings.

    What is digested is put so: no stage is done again for being called otherwise.
    """
    sections = {k: v for k, v in sections.items() if (k, v) != ("task", TASK)}
    for name in {section for section, _ in _LATER}:
        if isinstance(inner := sections.get(name), dict):
            sections = sections | {name: without_later(name, inner)}
    sections = {k: v for k, v in sections.items() if v != {}}
    if isinstance(budget := sections.get("budget"), dict):
        measured = sections.get(_PICK) != _PREDICTED
        sections = {k: v for k, v in sections.items() if k != _PICK}
        sections["budget"] = budget | {"measured": measured}
    for (section, key), words in _VALUES.items():
        if (inner := sections.get(section)) is not None:
            first = _reversed(words).get(inner[key], inner[key])
            sections = sections | {section: inner | {key: first}}
    for path, words in _RECIPE_KEYS.items():
        sections = _inside(sections, path, _reversed(words), "")
    for (section, key), first in _SAID_NOTHING.items():
        if (inner := sections.get(section)) is not None and inner[key] is None:
            sections = sections | {section: inner | {key: first}}
    return sections


def place_as_first_said(name: str) -> str:
    """A path inside a run's folder with its first names."""
    return _in_folder(name, _reversed(FOLDERS))


def placed(run_folder: Path, name: str) -> Path:
    """The path of a file or folder in a run that an earlier version may have begun."""
    first = place_as_first_said(name)
    new, old = name.partition("/")[0], first.partition("/")[0]
    if new == old or (run_folder / new).exists() or not (run_folder / old).exists():
        return run_folder / name
    _tell("the folder", old, new)
    return run_folder / first


def refusal(command: str) -> str | None:
    """The message for a command's old name. None if the name is not an old one."""
    if command not in STAGES:
        return None
    new = STAGES[command]
    return f"the command {command!r} is now called {new!r}; run `depthopt {new}`"


@cache
def _tell(what: str, old: str, new: str) -> None:
    logger.warning("%s %r is now called %r", what, old, new)


def _value(content: Content, key: str, words: Mapping[str, str], what: str) -> Content:
    """With a new word for the value of a key."""
    old = content.get(key)
    if not isinstance(old, str) or old not in words:
        return content
    _tell(what, old, words[old])
    return content | {key: words[old]}


def _keys(content: Content, words: Mapping[str, str], what: str) -> Content:
    """Rename old keys, in their order. An old key beside its new one is left, and refused.

    Args:
        content: with the keys.
        words: new ones by old ones.
        what: has such keys, for a message; empty says nothing.
    """
    for old, new in words.items():
        if old in content and new not in content:
            if what:
                _tell(what, old, new)
            content = {new if key == old else key: value for key, value in content.items()}
    return content


def _importance_table(content: Content) -> Content:
    if isinstance(entries := content.get("entries"), dict):
        told = {key: _figures(entry, "an importance's") for key, entry in entries.items()}
        content = content | {"entries": told}
    return _value(content, "estimator", ESTIMATORS, "an importance table's estimator")


def _figures(content: Any, what: str) -> Any:
    """Figures with new words."""
    return _keys(content, METRICS, what) if isinstance(content, dict) else content


def _of_accuracy(content: Content) -> Content:
    """Saying what its metrics are, where it does not."""
    return {**content, "metric": METRIC} if "metric" not in content else content


def _baseline(content: Content) -> Content:
    content = _keys(content, METRICS, "a baseline's")
    return {**content, "task": TASK} if content.get("data") and "task" not in content else content


def _result(content: Content) -> Content:
    for network in ("original", "compressed"):
        content = content | {network: _figures(content.get(network), "a result's")}
    return _of_accuracy(_keys(content, METRICS, "a result's"))


def _listed(key: str, what: str) -> Callable[[Content], Content]:
    """How old words are read in the figures that an artefact lists under a key."""

    def read(content: Content) -> Content:
        if isinstance(found := content.get(key), list):
            content = content | {key: [_figures(each, what) for each in found]}
        return _of_accuracy(content)

    return read


def _saved_model(content: Content) -> Content:
    what = "a saved network's form"
    return _keys(_value(content, "form", FORMS, what), FORMS, what)


def _manifest(content: Content) -> Content:
    for part in ("stages", "started"):
        if isinstance(inner := content.get(part), dict):
            content = content | {part: _keys(inner, STAGES, "the stage")}
    if isinstance(stages := content.get("stages"), dict):
        content = content | {"stages": {name: _record(stages[name]) for name in stages}}
    return content


def _record(content: Any) -> Any:
    """A stage's record, with what it wrote."""
    if not isinstance(content, dict) or not isinstance(content.get("outputs"), dict):
        return content
    outputs = {_in_folder(name, FOLDERS): made for name, made in content["outputs"].items()}
    return content | {"outputs": outputs}


def _in_folder(name: str, words: Mapping[str, str]) -> str:
    """A path inside a run's folder, with another word for its first part."""
    folder, slash, rest = name.partition("/")
    return words.get(folder, folder) + slash + rest


def _reversed(words: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in words.items()}


_ARTEFACTS: dict[str, Callable[[Content], Content]] = {
    "Baseline": _baseline,
    "Result": _result,
    "TrainResult": _listed("history", "an epoch's"),
    "Trials": _listed("trials", "a trial's"),
    "ImportanceTable": _importance_table,
    "SavedModel": _saved_model,
    "Manifest": _manifest,
}
"""How old words are read, by the artefact's type."""
