"""The networks that `depthopt check` compares, and the command that records a baseline."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from depthopt.errors import UsageError


def require_sides(
    models: list[Path], against: Path | None, record: Path | None, network: str | None, options: str
) -> None:
    """Refuse a check that lacks a side, before anything heavy is imported.

    How a baseline is recorded is said as a command.

    Args:
        models: the networks that were named.
        against: the recorded baseline.
        record: where one shall be written.
        network: of a latency table.
        options: that a recording shall have, too.
    """
    for model in models:
        if not model.exists():
            raise UsageError(
                f"{model} does not exist; give an ONNX file, a saved network or an engine"
            )
    if record is not None:
        return
    if against is not None:
        if len(models) != 1:
            raise UsageError("--against takes one network: depthopt check --against FILE MODEL")
        if not against.exists():
            raise UsageError(
                f"{against} does not exist; if you still have the earlier network, record it: "
                f"{_command('--record', against, 'MODEL', options)}"
            )
        return
    if len(models) == 1 and network is None:
        own, kept = models[0], Path("baseline.json")
        raise UsageError(
            "a check takes two networks, BASELINE and CURRENT, or a baseline that was recorded; "
            f"record one: {_command('--record', kept, own, options)} and, after the change, check "
            f"against it: {_command('--against', kept, own, options)}"
        )
    if len(models) != 2 or network is not None:
        raise UsageError(
            "a check takes two networks, BASELINE and CURRENT, or --against FILE and one; "
            "--network belongs to --against"
        )


def _command(option: str, file: Path, model: Path | str, options: str) -> str:
    return f"`depthopt check {option} {shlex.quote(str(file))} {shlex.quote(str(model))}{options}`"


def given(options: Mapping[str, tuple[object, object]]) -> str:
    """Options that differ from their defaults, as shell text, each after a space.

    Args:
        options: value and default by name.
    """
    return "".join(
        f" --{name} {shlex.quote(str(value))}"
        for name, (value, default) in options.items()
        if value != default
    )
