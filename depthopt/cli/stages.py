"""The commands that carry a recipe out up to one of its last stages."""

import json

from depthopt.cli.options import AllowCode, AsJson, Overrides, RecipeArgument, RunDir, walk


def apply(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Build the planned shallow network, and fit its new convolutions on data.

    Earlier stages that are not done are carried out first.
    """
    _up_to("apply", "applied", recipe, overrides, run_dir, allow_code=allow_code, as_json=as_json)


def finetune(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Train the shallow network, with the original as its teacher.

    Earlier stages that are not done are carried out first.
    """
    _up_to(
        "finetune", "finetuned", recipe, overrides, run_dir, allow_code=allow_code, as_json=as_json
    )


def fuse(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Fold norms, compose expanded convolutions, and check that the logits stay the same.

    Earlier stages that are not done are carried out first.
    """
    _up_to("fuse", "fused", recipe, overrides, run_dir, allow_code=allow_code, as_json=as_json)


def _up_to(
    stage: str,
    folder: str,
    recipe: RecipeArgument,
    overrides: Overrides,
    run_dir: RunDir,
    *,
    allow_code: bool,
    as_json: bool,
) -> None:
    """Carry out the stages up to one that saves a network in ``folder``."""
    context = walk(recipe, overrides, run_dir, stage, allow_code=allow_code)
    paths = [str(context.path(f"{folder}/{name}")) for name in ("model.json", "model.safetensors")]
    print(json.dumps({"stage": stage, "artefacts": paths}) if as_json else "\n".join(paths))
