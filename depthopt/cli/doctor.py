"""``depthopt doctor``: what depthopt understands of a network, and what is proven of it."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from depthopt.cli.options import (
    AllowCode,
    AsJson,
    CheckpointOption,
    InputSizeOption,
    ModelArgument,
    Overrides,
    console,
    err,
    input_size_of,
    loaded_recipe,
    loading,
    network_of,
    require_no_checkpoint,
    require_own,
    require_there,
)
from depthopt.core.artefacts import to_json
from depthopt.core.shipped import is_recipe

if TYPE_CHECKING:  # torch takes seconds to import; --help needs none of it
    from depthopt.report.diagnosis import Diagnosis


def doctor(
    model: ModelArgument,
    overrides: Overrides = None,
    input_size: InputSizeOption = "3,224,224",
    checkpoint: CheckpointOption = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Show what depthopt understands of a network, what it leaves out, and what is proven.

    The network is compared with its traced form: bit for bit, in float64, in training mode, on
    several batches. With a recipe it is also compared on images of the recipe's data. Without a
    checkpoint the weights are random. The exit code is 1 if the network is refused or a comparison
    differs. Attach the output when you report a fault.
    """
    if is_recipe(model):
        require_no_checkpoint(checkpoint)
        found = _of_recipe(Path(model), overrides or [], allow_code=allow_code)
    else:
        require_own(model, overrides, None)
        size = input_size_of(input_size)
        require_there(model, checkpoint)
        with loading():
            from depthopt.report.diagnosis import diagnose  # noqa: PLC0415 - torch takes seconds

        found = diagnose(network_of(model, size, checkpoint), size, name=model)
    print(to_json(found)) if as_json else _show(found)
    if not found.sound:
        raise typer.Exit(1)


def _of_recipe(path: Path, overrides: list[str], *, allow_code: bool) -> "Diagnosis":
    from depthopt.models.names import require_allowed  # noqa: PLC0415 - help needs none of it

    recipe, _ = loaded_recipe(path, overrides, None)
    section, given, name = recipe.model, recipe.data, recipe.network
    require_allowed(name, allow_code=allow_code)
    with loading():
        from depthopt.data.load import load_dataset  # noqa: PLC0415 - torch takes seconds
        from depthopt.models.checkpoints import load_checkpoint  # noqa: PLC0415 - as above
        from depthopt.models.registry import create_model, model_arguments  # noqa: PLC0415
        from depthopt.report.diagnosis import diagnose  # noqa: PLC0415 - as above
        from depthopt.tasks.registry import task_of  # noqa: PLC0415 - as above

    data = load_dataset(
        given.source,
        input_size=section.input_size,
        calibration_images=given.calibration_images,
        seed=recipe.seed,
        root=given.root,
        check=False,
    )
    outputs = task_of(recipe.task).width(data)
    own = model_arguments(name, section.input_size, outputs)
    network = create_model(name, {**own, **section.arguments}, allow_code=allow_code)
    if recipe.checkpoint is not None:
        loaded = load_checkpoint(network, recipe.checkpoint, name=name)
        err.print(loaded.said, highlight=False, markup=False)
    images, _ = next(data.calibration.batches(8))
    return diagnose(network.eval(), section.input_size, name=recipe.network_name, images=images)


def _show(found: "Diagnosis") -> None:
    def section(title: str, lines: tuple[str, ...]) -> None:
        if lines:
            console.print(title, style="bold")
            for line in lines:
                console.print(f"  {line}", highlight=False, markup=False)

    console.print(found.model, style="bold")
    console.print(f"  {found.about}", highlight=False, markup=False)
    section("refused", () if found.refused is None else (found.refused,))
    section("understood", found.understood)
    section("left out", found.left_out)
    section("exact", found.exact)
    marks = {True: "holds", False: "DIFFERS", None: "not seen"}
    section("proof", tuple(f"{marks[p.holds]:8} {p.what}: {p.detail}" for p in found.proof))
    section("installed", (", ".join(f"{name} {v}" for name, v in found.versions.items()),))
