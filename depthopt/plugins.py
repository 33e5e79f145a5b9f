"""Plug-ins of other packages: kinds, operators, tasks, sources of models and of data.

A package announces them as entry points of the group ``depthopt.kinds``, ``depthopt.operators``,
``depthopt.tasks``, ``depthopt.models`` or ``depthopt.data``
(https://packaging.python.org/specifications/entry-points). Their names are known from its metadata;
nothing of it is imported before it is used.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from depthopt.errors import UsageError


@dataclass(frozen=True, slots=True)
class Plugins:
    """One group of plug-ins by name: depthopt's own, and those of other packages.

    Attributes:
        group: the entry points' group.
        what: one of them in a message, such as ``candidate kind``.
        own: depthopt's own: by name, ``module:attribute``.
    """

    group: str
    what: str
    own: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, depthopt's own first."""
        return (*self.own, *(name for name in sorted(_found(self.group)) if name not in self.own))

    def package_of(self, name: str) -> str | None:
        """The package that brings ``name``. None if depthopt does, or no package."""
        points = _found(self.group).get(name, ())
        return None if name in self.own or not points else _package(points[0])

    def get(self, name: str, *, package: str | None = None) -> Any:
        """The plug-in with this ``name``.

        Args:
            name: one of ``names``.
            package: that is known to have brought it, for a message.

        Raises:
            UsageError: nothing or more than one thing goes by the name, or its package cannot be
                imported.
        """
        points = _found(self.group).get(name, ())
        if len(points) + (name in self.own) > 1:
            packages = [*(["depthopt"] if name in self.own else []), *map(_package, points)]
            raise UsageError(
                f"{self.what} {name!r} comes from several packages, {' and '.join(packages)}; "
                "uninstall all but one"
            )
        if name in self.own:
            return _own(self.own[name])
        if not points:
            hint = f"; it came with the package {package}: pip install {package}" if package else ""
            raise UsageError(
                f"{self.what} {name!r} is unknown; known: {', '.join(self.names)}{hint}"
            )
        try:
            return _loaded(points[0])
        except Exception as error:  # whatever a foreign package raises
            reason = " ".join(str(error).split())
            raise UsageError(
                f"{self.what} {name!r} of the package {_package(points[0])} cannot be loaded: "
                f"{type(error).__name__}: {reason}"
            ) from error


@cache
def _found(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Other packages' entry points of a group, by name."""
    points: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        same = points.get(point.name, ())
        # One package may be found twice on the path, as installed and as a checkout.
        if all((other.value, _package(other)) != (point.value, _package(point)) for other in same):
            points[point.name] = (*same, point)
    return points


@cache
def _own(where: str) -> Any:
    module, _, attribute = where.partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def _loaded(point: EntryPoint) -> Any:
    return point.load()


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value.partition(".")[0]
