"""``depthopt extract``: a network as a chain."""

from pathlib import Path
from typing import Annotated

import typer

from depthopt.cli.options import (
    AllowCode,
    AsJson,
    CheckpointOption,
    InputSizeOption,
    ModelArgument,
    Overrides,
    RunDir,
    chain_of,
    console,
    input_size_of,
    require_no_checkpoint,
    require_own,
    walk,
)
from depthopt.cli.show import show_chain
from depthopt.core.artefacts import to_json
from depthopt.core.chain import Chain
from depthopt.core.extras import require_extra
from depthopt.core.shipped import is_recipe
from depthopt.core.writing import write_bytes, write_text


def extract(
    model: ModelArgument,
    overrides: Overrides = None,
    input_size: InputSizeOption = "3,224,224",
    checkpoint: CheckpointOption = None,
    run_dir: RunDir = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    dot: Annotated[
        Path | None, typer.Option(help="Draw the chain as a Graphviz file.", show_default=False)
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Draw the chain as an SVG picture.", show_default=False)
    ] = None,
) -> None:
    """Show a network as a chain: its blocks, skips and barriers, and what is not used.

    A segment is a run of consecutive blocks. It can be replaced if it does not cross a barrier, or
    a part of a skip. With a recipe, the stages up to this one are carried out in its run folder.
    """
    if svg is not None:
        require_extra("matplotlib", "--svg")
    if is_recipe(model):
        require_no_checkpoint(checkpoint)
        chain = walk(Path(model), overrides, run_dir, "extract", allow_code=allow_code).chain
    else:
        require_own(model, overrides, run_dir)
        chain = chain_of(model, input_size_of(input_size), checkpoint)
    _draw(chain, dot, svg)
    print(to_json(chain)) if as_json else _show_chain(chain)


def _draw(chain: Chain, dot: Path | None, svg: Path | None) -> None:
    if dot is not None:
        from depthopt.report.dot import chain_dot  # noqa: PLC0415 - only when it is needed

        write_text(dot, chain_dot(chain))
    if svg is not None:
        from depthopt.report.drawing import chain_svg  # noqa: PLC0415 - matplotlib takes a second

        write_bytes(svg, chain_svg(chain))


def _show_chain(chain: Chain) -> None:
    from depthopt.extraction.coverage import reducible_share, untimed_share  # noqa: PLC0415 - as above
    from depthopt.kinds.candidates import candidates  # noqa: PLC0415 - as above

    shares = reducible_share(chain, merging=True), reducible_share(chain), untimed_share(chain)
    show_chain(console, chain, candidates(chain, kinds=("drop", "fit", "merge")), shares)
