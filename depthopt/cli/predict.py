"""The command that prints the classes of images."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from depthopt.cli.options import AsJson, console, loading, within
from depthopt.cli.show import show_predictions
from depthopt.core import numbers
from depthopt.errors import DataError


def predict(
    folder: Annotated[
        Path, typer.Argument(help="A saved network, such as fused/ in a run's folder.")
    ],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of images.")],
    top: Annotated[
        int, typer.Option(help="Classes per image.", callback=within(numbers.Count))
    ] = 5,
    model: Annotated[
        str | None,
        typer.Option(
            help="Callable that makes the original, if the network came from one: FILE.py:CALLABLE "
            "or package.module:CALLABLE. Its code is run.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the likeliest classes of images.

    Images are resized, cropped and normalised like those that the network was trained on.
    """
    for path in (folder / "model.json", *images):
        if not path.exists():
            raise DataError(f"{path} does not exist")
    with loading():
        from depthopt.models.code import callable_named  # noqa: PLC0415 - torch takes seconds
        from depthopt.report.predict import predict  # noqa: PLC0415 - as above

    # It was named on the command line, and in no file that somebody else may have written.
    original = None if model is None else callable_named(model, allow_code=True)
    found = predict(folder, images, top=top, model=original)
    if as_json:
        print(json.dumps([asdict(prediction) for prediction in found], indent=2, allow_nan=False))
    else:
        show_predictions(console, found)
