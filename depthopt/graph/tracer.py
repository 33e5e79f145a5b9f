"""The tracer: which modules are leaves, what statements write, and what is random."""

import contextlib
import inspect
import operator
import os
import random
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import DropPath, drop_path, get_notrace_functions, get_notrace_modules
from torch import Tensor, fx, nn
from torchvision.ops import StochasticDepth, stochastic_depth

from depthopt.graph.in_place import IN_PLACE, LINE

_SEED = 20
"""Seed of random numbers that a network draws while it is traced. The proof uses another."""

_PACKAGES = Path(str(torch.__file__)).parent, Path(__file__).parents[1]
_NOT_THE_USERS = tuple(f"{folder}{os.sep}" for folder in _PACKAGES)


class Tracer(fx.Tracer):
    """Traces with timm's no-trace modules as leaves, and knows where it is."""

    def __init__(
        self, inputs: Collection[str] | None, opaque: frozenset[str], *, watching: bool = False
    ) -> None:
        """Be ready for one network.

        Args:
            inputs: the parameters of ``forward`` that are inputs; the first alone if None.
            opaque: paths of the modules not to trace into.
            watching: stop where random numbers have been drawn.
        """
        super().__init__(autowrap_functions=(*get_notrace_functions(), drop_path, stochastic_depth))
        self._leaves = (
            *get_notrace_modules(),
            *(DropPath, StochasticDepth, nn.Conv2d, nn.Linear, torch.jit.ScriptModule),
        )
        self._inputs, self._opaque = inputs, opaque
        self._path: list[str] = []
        self._context: object = None
        self._watching = watching
        self._before: tuple[Any, ...] = ()
        self.innermost = ""
        self.features: fx.Node | None = None

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """Go through a network."""
        self._context = _context()
        self._before = chance() if self._watching else ()
        return super().trace(root, concrete_args)

    def path(self) -> str:
        """The path of the module that runs now; empty for the network itself."""
        return self._path[-1] if self._path else ""

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """Parameters of ``forward`` beside the inputs take their defaults."""
        function, args = super().create_args_for_root(root_fn, is_module, concrete_args)
        parameters = inspect.signature(inspect.unwrap(root_fn)).parameters
        placeholders = [arg for arg in args if isinstance(arg, fx.Proxy)]
        for i, arg in enumerate(args):
            if isinstance(arg, fx.Proxy) and arg is not placeholders[0]:
                name = str(arg.node.target).lstrip("*")
                default = _DEFAULTS.get(parameters[name].kind, parameters[name].default)
                named = self._inputs is not None and name in self._inputs
                if default is not inspect.Parameter.empty and not named:
                    self.graph.erase_node(arg.node)
                    args[i] = default
        return function, args

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one node."""
        return (
            module_qualified_name in self._opaque
            or isinstance(m, self._leaves)
            or super().is_leaf_module(m, module_qualified_name)
        )

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Go through a module, and know where an error comes from."""
        try:
            path = self.path_of_module(m)
        except NameError:  # forward has made it, such as a slice of a Sequential: gone through
            _check_made(m)
            return forward(*args, **kwargs)
        self._path.append(path)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.innermost = self.innermost or self._path[-1]
            raise
        finally:
            self._path.pop()

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """A node that knows its line of code."""
        if _context() != self._context:
            raise ValueError(
                "it runs in part without gradients or in another precision (torch.no_grad, "
                "torch.autocast, a reentrant checkpoint), which a traced network would not; freeze "
                "weights by requires_grad_(False) instead"
            )
        if self._before and chance() != self._before:
            raise ValueError(
                "it draws random numbers outside the graph, and a traced network would always use "
                "the same ones; draw them with torch.rand_like or a similar function"
            )
        node = super().create_node(*args, **kwargs)
        node.meta[LINE] = _line()
        return node

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A value that statements may write."""
        return _Proxy(node, self)

    def create_arg(self, a: Any) -> Any:
        """An argument; not one that was computed where the graph does not see it."""
        if isinstance(a, Tensor) and a.grad_fn is not None:
            raise ValueError("it computes with weights that tracing does not see it read")
        return super().create_arg(a)

    def record_features(self, model: nn.Module) -> None:
        """Keep the node that ``model.forward_features`` returns while it is traced."""
        original = getattr(model, "forward_features", None)
        if original is None:
            return

        def recorded(*args: Any, **kwargs: Any) -> Any:
            value = original(*args, **kwargs)
            self.features = value.node if isinstance(value, fx.Proxy) else None
            return value

        model.__dict__["forward_features"] = recorded


def _check_made(module: nn.Module) -> None:
    """Refuse a module with weights that is not part of the network."""
    if any(True for _ in module.parameters(recurse=False)):
        raise ValueError(
            f"it runs a {type(module).__name__} that is not part of it; hold that in an "
            "attribute or a torch.nn.ModuleList"
        )


class _Proxy(fx.Proxy):
    """A value while it is traced, which statements such as ``x += y`` and ``x[0] = y`` write."""

    def __setitem__(self, key: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, key, value), {})


def _written(function: Any, name: str) -> Callable[..., Any]:
    def write(self: _Proxy, other: Any) -> fx.Proxy:
        # By the name of what makes a new value: names do not tell how a sum is written.
        return self.tracer.create_proxy("call_function", function, (self, other), {}, name=name)

    return write


for _in_place, _plain in IN_PLACE.items():
    _name = getattr(_in_place, "__name__", "")
    setattr(_Proxy, f"__{_name}__", _written(_in_place, getattr(_plain, "__name__", "")))


_DEFAULTS: dict[Any, Any] = {
    inspect.Parameter.VAR_POSITIONAL: (),
    inspect.Parameter.VAR_KEYWORD: {},
}


def chance() -> tuple[Any, ...]:
    """Where the generators of random numbers are."""
    _, words, place, *_ = np.random.get_state(legacy=True)  # noqa: NPY002 - that of users
    return torch.random.get_rng_state().numpy().tobytes(), random.getstate(), place, words[0]


@contextlib.contextmanager
def own_chance() -> Iterator[None]:
    """Other random numbers than the proof draws; the generators go on as before."""
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002 - as above
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_SEED)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002 - as above


def _context() -> tuple[bool, bool, bool]:
    return (
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
    )


def _line() -> str:
    """Where the user's code is: the innermost line that is neither torch's nor depthopt's."""
    frame = sys._getframe(1)  # noqa: SLF001 - traceback's own is hundreds of times slower
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"  # noqa: PTH119 - fast


_IN_WORDS = {
    "inputs to control flow": "it branches on what a tensor holds, or on how large it is",
    "Proxy object cannot be iterated": "it loops over the parts or sizes of a tensor",
    "'Proxy'": "it makes a Python value of a tensor, or of its size",
    "positional argument but": (
        "it gives sizes to a function one by one; give them as a tuple, torch.zeros((n, c, h, w))"
    ),
    "(got Proxy)": "it makes a Python value of a tensor, or of its size",
}
"""What torch.fx says of values that it does not know while it traces."""


def in_words(error: Exception) -> str:
    """What is wrong, in one line."""
    said = str(error)
    return next(
        (words for part, words in _IN_WORDS.items() if part in said), said.partition("\n")[0]
    )


def line_of(error: BaseException) -> str:
    """The innermost line of the user's code that an error came through."""
    lines = [(f.f_code.co_filename, n) for f, n in traceback.walk_tb(error.__traceback__)]
    own = [(file, n) for file, n in lines if not file.startswith(_NOT_THE_USERS)]
    return f" at {Path(own[-1][0]).name}:{own[-1][1]}" if own else ""
