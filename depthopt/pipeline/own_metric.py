"""A user's own metric: a function, by its name, that is given a network and batches."""

import math
from collections.abc import Iterable

from torch import nn

from depthopt.core.clipped import clipped
from depthopt.data.dataset import Batch
from depthopt.errors import DepthoptError, ModelError, UsageError
from depthopt.graph.verify import evaluating
from depthopt.models.importing import folder_of, load_callable, refuse, running
from depthopt.models.names import Code, callable_of, require_allowed

_OWN = "depthopt"
"""Package whose functions may always run."""


def function_name(name: str) -> str:
    """The function's own name, for tables."""
    return _code(name).name


def require_function(name: str, *, allow_code: bool) -> None:
    """Refuse a metric that cannot be called, before hours of work.

    Args:
        name: ``FILE.py:NAME`` or ``MODULE:NAME``.
        allow_code: whether it may be run.

    Raises:
        UsageError: the name is not a callable's, or may not be run.
        ModelError: there is no such file, module or callable, or its code raises.
    """
    code = _code(name)
    if code.place.partition(".")[0] != _OWN:
        require_allowed(name, allow_code=allow_code)
    load_callable(code)


def told_by(name: str, network: nn.Module, batches: Iterable[Batch]) -> float:
    """What the function says of a network.

    Args:
        name: of the function.
        network: which it may not change; it is in evaluation mode.
        batches: of inputs and targets, or None for targets.

    Raises:
        ModelError: it raises, or returns something other than a finite number.
    """
    code = _code(name)
    function = load_callable(code)
    with running(code), evaluating(network):
        try:
            found = function(network, batches)
        except DepthoptError:
            raise
        except (Exception, SystemExit) as error:
            refuse(code, error, folder_of(code))
    try:
        value = float(found)
    except (TypeError, ValueError):
        raise ModelError(f"{code} returns a {type(found).__name__}, expected a number") from None
    if not math.isfinite(value):
        raise ModelError(f"{code} returns {value}, expected a finite number")
    return value


def _code(name: str) -> Code:
    found = callable_of(name)
    if found is None:
        raise UsageError(
            f"metric {clipped(name)} is not a function's name, such as my_metric.py:boxes_kept"
        )
    return found
