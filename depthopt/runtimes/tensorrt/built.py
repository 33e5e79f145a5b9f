"""The result of a build: the engine, and the layers that the library made of the network."""

import json
import re
from dataclasses import dataclass
from typing import Any

_LAYER = re.compile(
    r"^Name: (?P<Name>.*?), LayerType: (?P<LayerType>[^,\n]*)(?P<rest>,.*)?$", re.MULTILINE
)
_TACTIC = re.compile(r", TacticName: ([^,]*),")
_METADATA = re.compile(r", Metadata: (.*)$")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
"""How a layer's metadata names the ONNX nodes that it was made of."""


@dataclass(frozen=True, slots=True)
class BuiltLayer:
    """One layer of an engine.

    Attributes:
        name: as the library names it.
        kind: in the library's words: ``correlation`` is a convolution, ``kgen`` a kernel made for
            the purpose.
        nodes: names of the ONNX nodes that it holds.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Built:
    """An engine that was built.

    Attributes:
        plan: the engine, serialised.
        layers: in the order in which they run.
        told: the library's own words on them; empty where it said nothing.
    """

    plan: bytes
    layers: tuple[BuiltLayer, ...]
    told: str = ""

    @property
    def information(self) -> dict[str, Any]:
        """The layers in the fields of the inspector of a loaded engine."""
        return {"Layers": [_fields(found) for found in _LAYER.finditer(self.told)]}


def built(plan: bytes, told: str) -> Built:
    """An engine with its layers, as the builder's log describes them.

    Args:
        plan: the engine.
        told: the message that names the layers, one a line.
    """
    fields = [_fields(found) for found in _LAYER.finditer(told)]
    layers = (BuiltLayer(f["Name"], f["LayerType"], nodes_of(f["Metadata"])) for f in fields)
    return Built(plan, tuple(layers), told)


def nodes_of(metadata: str) -> tuple[str, ...]:
    """The ONNX nodes that a layer's metadata names, each once."""
    return tuple(dict.fromkeys(_NODE.findall(metadata)))


def as_json(information: dict[str, Any]) -> bytes:
    """An engine's layers as JSON, for the file beside it."""
    return json.dumps(information, indent=1).encode()


def _fields(found: re.Match[str]) -> dict[str, str]:
    rest = found["rest"] or ""
    tactic, metadata = _TACTIC.search(rest), _METADATA.search(rest)
    return {
        "Name": found["Name"],
        "LayerType": found["LayerType"],
        "TacticName": tactic[1] if tactic else "",
        "Metadata": metadata[1] if metadata else "",
    }
