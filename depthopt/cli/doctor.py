"""``depthopt doctor``: what is understood of a network, and what is proven of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthopt.cli.options import (
    AsJson,
    InputSizeOption,
    Overrides,
    console,
    input_size_of,
    loaded_recipe,
    loading,
    require_own,
)
from depthopt.core.artefacts import to_json
from depthopt.core.shipped import is_recipe

if TYPE_CHECKING:  # torch takes seconds to import; --help needs none of it
    from depthopt.report.diagnosis import Diagnosis


def doctor(
    model: Annotated[str, typer.Argument(help="A model's name, or a recipe (.yaml).")],
    overrides: Overrides = None,
    input_size: InputSizeOption = "3,224,224",
    as_json: AsJson = False,
) -> None:
    """Say what is understood of a network, what is left out and why, and what is proven.

    The network is compared with what depthopt traces of it: bit for bit, in float64, in training
    mode, on several batches. Attach the page to a report of a fault. Of a recipe, the network is
    taken with its checkpoint if it names one, and with random weights if not, and compared on
    images of its data too. The exit code is 1 if the network is refused or something compared
    differs.
    """
    if is_recipe(model):
        found = _of_recipe(Path(model), overrides or [])
    else:
        require_own(model, overrides, None)
        size = input_size_of(input_size)
        with loading():
            from depthopt.models.registry import create_model, model_arguments  # noqa: PLC0415
            from depthopt.report.diagnosis import diagnose  # noqa: PLC0415 - torch takes seconds

        network = create_model(model, model_arguments(model, size))
        found = diagnose(network.eval(), size, name=model)
    print(to_json(found)) if as_json else _show(found)
    if not found.sound:
        raise typer.Exit(1)


def _of_recipe(path: Path, overrides: list[str]) -> "Diagnosis":
    recipe, _ = loaded_recipe(path, overrides, None)
    with loading():
        from depthopt.data.load import load_dataset  # noqa: PLC0415 - torch takes seconds
        from depthopt.models.registry import create_model, model_arguments  # noqa: PLC0415
        from depthopt.models.weights import load_weights  # noqa: PLC0415 - as above
        from depthopt.report.diagnosis import diagnose  # noqa: PLC0415 - as above
        from depthopt.tasks.registry import task_of  # noqa: PLC0415 - as above

    section, given = recipe.model, recipe.data
    data = load_dataset(
        given.source,
        input_size=section.input_size,
        calibration_images=given.calibration_images,
        seed=recipe.seed,
        root=given.root,
        check=False,
    )
    outputs = task_of(recipe.task).width(data)
    own = model_arguments(section.name, section.input_size, outputs)
    network = create_model(section.name, {**own, **section.arguments})
    if section.checkpoint is not None:
        load_weights(network, section.checkpoint)
    images, _ = next(data.calibration.batches(8))
    return diagnose(network.eval(), section.input_size, name=section.name, images=images)


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
