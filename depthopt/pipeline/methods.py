"""Methods: named settings that fill in the keys a recipe does not set.

What the papers leave open is from the authors' code, https://github.com/snu-mllab/LayerMerge: its
``README.md``, ``DP.md``, ``layer_merge/kim24layermerge/importance.py`` and
``Efficient-CNN-Depth-Compression`` (there ``README.md``, ``config/arguments.py``, ``exps/main.py``
and ``utils/train.py``). Of MKA it is from its paper and its released code.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

MethodName = Literal["depthopt", "layermerge", "depth", "mka"]
"""Names of the methods that a recipe may use."""

DEPTHOPT: MethodName = "depthopt"
"""The method whose settings are the keys' defaults."""

Settings = Mapping[str, Any]
"""Values by key. A section's values are under the section's name."""


Path = tuple[str, ...]
"""The path to a key: its sections, then the key."""


@dataclass(frozen=True, slots=True)
class Method:
    """A named collection of settings.

    Attributes:
        name: what a recipe calls it.
        source: where it is from.
        settings: the values of the keys that it sets.
        where: by key or section, dotted: what says so.
    """

    name: MethodName
    source: str
    settings: Settings = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)


_CANDIDATES = {
    "kinds": ["merge"],
    "segments": "papers",
    "fewer_macs": False,
    "max_length": None,
    "inserted": "usual",
}

_SGD = {
    "batch_size": 256,
    "optimizer": "sgd",
    "warmup": 0.0,
    "weight_decay": 1e-5,
    "decay_norms": True,
    "momentum": 0.9,
    "nesterov": True,
    "clip_norm": None,
    "label_smoothing": 0.0,
    "distillation": 0.0,
}
"""How both papers train MobileNetV2: cross-entropy, no clipping, no teacher."""

_IMPORTANCE = {
    "estimator": "finetune",
    "train": {"epochs": 1, "learning_rate": 0.1, **_SGD},
    "train_images": 50_000,
    "score_images": 50_000,
    "kept": True,
}

_FINETUNE = {"epochs": 180, "learning_rate": 0.05, **_SGD}

_APPLY = {"form": "expanded", "start": "at_once", "compensate": False, "head": False}

_ARGUMENTS = "config/arguments.py; cross-entropy and no clipping: exps/main.py, utils/train.py"
_FINETUNED = "README.md, MobileNetV2-1.0; for other networks see docs/guides/papers-methods.md"
_EXPANDED = "finetuned as what is composed in the end, from the original's weights: README.md"

METHODS: dict[MethodName, Method] = {
    "depthopt": Method("depthopt", "this package"),
    "layermerge": Method(
        "layermerge",
        "LayerMerge, ICML 2024, https://arxiv.org/abs/2406.12837",
        {
            "pick": "predicted",
            "candidates": {**_CANDIDATES, "subsets": True, "end_activations": False},
            "importance": _IMPORTANCE,
            "solver": {
                "objective": "exp_metric",
                "mode": "bucketed",
                "resolution_ms": 0.1,
                "inner_merges": False,
            },
            "apply": _APPLY,
            "finetune": _FINETUNE,
        },
        {
            "pick": "section 4: the budget is on the sum of the table",
            "candidates": "section 4; kim24layermerge/generate_tables.py lists them by spec, with "
            "no limit of length or operations",
            "candidates.inserted": "kim24layermerge/importance.py: behind each merge that ends "
            "where there is none",
            "importance": "section 4; kim24layermerge/importance.py",
            "importance.train": "kim24layermerge/importance.py: its arguments' defaults",
            "solver.objective": "section 4; kim24layermerge/generate_tables.py: normalize_imp",
            "solver.mode": "section 4: latencies are whole multiples in its dynamic programme",
            "solver.resolution_ms": "README.md: its paths say p10, ten steps a millisecond",
            "solver.inner_merges": "section 4: each segment is one convolution",
            "apply": _EXPANDED,
            "finetune": _FINETUNED,
        },
    ),
    "depth": Method(
        "depth",
        "Efficient Latency-Aware CNN Depth Compression via Two-Stage Dynamic Programming, "
        "ICML 2023, https://arxiv.org/abs/2301.12187",
        {
            "pick": "predicted",
            "candidates": {**_CANDIDATES, "subsets": False, "end_activations": True},
            "importance": {**_IMPORTANCE, "train_images": None},
            "solver": {
                "objective": "metric",
                "alpha": 1.6,
                "mode": "bucketed",
                "resolution_ms": 0.05,
                "inner_merges": True,
            },
            "apply": _APPLY,
            "finetune": _FINETUNE,
        },
        {
            "pick": "section 4: the budget is on the sum of the table",
            "candidates": "sections 3 and 4; exps/generate_tables.py: with no limit of length or "
            "operations",
            "candidates.end_activations": "appendix B: entries by the states of both ends",
            "importance": "section 5 and appendix B; exps/main.py: measure_imp",
            "importance.train": _ARGUMENTS,
            "importance.train_images": "utils/datasets.py: all but those that are scored on",
            "solver.objective": "appendix B, algorithm 3",
            "solver.alpha": "README.md, MobileNetV2-1.0; of MobileNetV2-1.4 1.2, of VGG19 1.4",
            "solver.mode": "section 4: latencies are whole multiples in its dynamic programme",
            "solver.resolution_ms": "README.md: --prec 20, twenty steps a millisecond; of VGG19 10",
            "solver.inner_merges": "section 4, algorithm 1: the fastest merges that make up a "
            "segment",
            "apply": _EXPANDED,
            "finetune": _FINETUNED,
        },
    ),
    "mka": Method(
        "mka",
        "MKA, EMNLP 2024, https://arxiv.org/abs/2406.16330",
        {
            "pick": "predicted",
            "candidates": {
                "kinds": ["share"],
                "segments": "papers",
                "coefficients": "similarity",
                "max_length": None,
                "fewer_macs": False,
            },
            "apply": {"compensate": False, "head": False},
        },
        {
            "pick": "how many blocks go is given",
            "candidates.kinds": "weights of two blocks are averaged, and the mean with the next",
            "candidates.segments": "the code: from the last block on",
            "candidates.coefficients": "the weight of a block approximated by the similarity; the "
            "code has about 0.62 for all",
            "candidates.max_length": "the code: as many blocks as are asked for",
            "candidates.fewer_macs": "nothing is said of operations",
            "apply": "nothing but the average is put in place",
        },
    ),
}
"""Methods by name."""

_OWN_OPTIMIZER = {"optimizer", "learning_rate"}
_OF_OPTIMIZER = {
    *_OWN_OPTIMIZER,
    "momentum",
    "nesterov",
    "weight_decay",
    "decay_norms",
}
"""What a method leaves to a recipe that says either of the former: a learning rate is of its
optimizer."""

_OF_FINETUNE = {"train", "train_images", "score_images", "kept"}
"""What it leaves to one with an estimator that does not train."""


def with_method(content: Any) -> Any:
    """A recipe's content, not yet validated, with its method's settings filled in.

    Content with an unknown method is not changed; the schema refuses it.
    """
    if not isinstance(content, dict):
        return content
    name = content.get("method", DEPTHOPT)
    if name not in get_args(MethodName):
        return content
    settings = METHODS[name].settings
    if _has_no_kept(content.get("importance")) and "solver" in settings:
        solver = {key: value for key, value in settings["solver"].items() if key != "alpha"}
        settings = {**settings, "solver": solver}
    return _under(content, settings, ())


def _has_no_kept(importance: Any) -> bool:
    """Whether a recipe says that kept blocks get no entry, of which ``alpha`` takes a mean."""
    if not isinstance(importance, dict):
        return False
    return not importance.get("kept", True) or importance.get("estimator", "finetune") != "finetune"


def _under(own: dict[str, Any], settings: Settings, path: Path) -> dict[str, Any]:
    """What is set, where nothing else is said."""
    left = _left(own, path)
    found = dict(own)
    for key, value in settings.items():
        if key in left:
            continue
        if isinstance(value, Mapping) and isinstance(inner := own.get(key, {}), dict):
            found[key] = _under(inner, value, (*path, key))
        elif key not in own:
            found[key] = value
    return found


def _left(own: Mapping[str, Any], path: Path) -> set[str]:
    """The keys of a section that are not set since they would not go with what is said."""
    if path in {("finetune",), ("importance", "train")} and _OWN_OPTIMIZER & own.keys():
        return _OF_OPTIMIZER
    if path == ("importance",) and own.get("estimator", "finetune") != "finetune":
        return _OF_FINETUNE
    trials = own.get("trials")
    if not path and isinstance(trials, dict) and trials.get("steps"):
        return {"pick"}
    return set()


def keys_of(settings: Settings, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every key of some settings as its path, with its value."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from keys_of(value, (*path, key))
        else:
            yield (*path, key), value
