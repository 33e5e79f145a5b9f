"""A traced network with the interface of the timm model it came from."""

import contextlib
import copy
from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, fx, nn

from depthopt.core.inputs import Inputs
from depthopt.errors import ModelError
from depthopt.graph.partial import Tail, run_until

_KEPT = ("num_classes", "num_features", "head_hidden_size", "pretrained_cfg", "default_cfg")
_FEATURES = "features"


class TracedNetwork(fx.GraphModule):
    """A graph of leaves with the interface of its timm model.

    ``forward_features``, ``forward_head``, ``get_classifier``, ``reset_classifier``,
    ``num_classes`` and timm's data configuration are there if the model had them.
    """

    def __getattr__(self, name: str) -> Any:
        attributes = self.__dict__.get("meta", {}).get("attributes", {})
        if name in attributes:
            return attributes[name]
        return super().__getattr__(name)

    def train(self, mode: bool = True) -> Self:
        """Set the mode as the model would: modules it keeps in evaluation mode stay there."""
        super().train(mode)
        for name in self.meta.get("stays_in_evaluation", ()) if mode else ():
            with contextlib.suppress(AttributeError):  # it was replaced
                self.get_submodule(name).eval()
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Send it to another process with its graph. ``GraphModule`` would trace again there."""
        graph = copy.deepcopy(self.graph)  # of no owner, who would be sent along
        return _with_state, (graph, {k: v for k, v in vars(self).items() if k != "_graph"})

    @property
    def forward_features(self) -> Callable[[Inputs], Tensor]:
        """Maps (N, C, H, W) to the features before pooling and classifier, as timm's does."""
        node = self._features()
        return lambda inputs: run_until(self, inputs, {node.name})[node.name]

    @property
    def forward_head(self) -> Callable[..., Tensor]:
        """Maps features to the output, or with ``pre_logits=True`` to the classifier's input."""
        node = self._features()

        def head(features: Tensor, *, pre_logits: bool = False) -> Tensor:
            return Tail(self, node, until=self._classifier_input() if pre_logits else None)(
                features, {}
            )

        return head

    def get_classifier(self) -> nn.Module:
        """The last linear layer.

        Raises:
            ModelError: the model had none when it was traced.
        """
        return self.get_submodule(self._classifier())

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new, untrained one. With 0 classes, remove it.

        Raises:
            ModelError: the model had no linear classifier when it was traced, or another
                pooling is asked for.
        """
        if global_pool is not None:
            raise ModelError("a traced network keeps its pooling; leave global_pool out")
        name = self._classifier()
        old, channels = self.get_submodule(name), self.meta["classifier_in"]
        like = next(self.parameters())
        new: nn.Module = nn.Identity()
        if num_classes > 0:
            new = nn.Linear(channels, num_classes, device=like.device, dtype=like.dtype)
        self.set_submodule(name, new.train(old.training))
        self.meta["attributes"]["num_classes"] = num_classes
        self.meta["outputs"] = num_classes

    def _features(self) -> fx.Node:
        node: fx.Node
        for node in self.graph.nodes:
            if node.meta.get(_FEATURES):
                return node
        raise AttributeError("the traced model had no forward_features")

    def _classifier(self) -> str:
        name: str | None = self.meta.get("classifier")
        if name is None:
            raise ModelError("the model had no linear classifier when it was traced")
        return name

    def _classifier_input(self) -> fx.Node:
        name = self._classifier()
        classifier: fx.Node = next(n for n in self.graph.nodes if n.target == name)
        return classifier.all_input_nodes[0]


def _with_state(graph: fx.Graph, state: dict[str, Any]) -> TracedNetwork:
    root = nn.Module()
    vars(root).update(state)
    network = TracedNetwork(root, graph)
    vars(network).update(state)
    return network


def keep_interface(network: TracedNetwork, model: nn.Module, features: fx.Node | None) -> None:
    """Record in ``network.meta`` what its timm model offered.

    Args:
        network: changed in place.
        model: what was traced.
        features: what ``model.forward_features`` returned, if it has that.
    """
    network.meta["attributes"] = {k: getattr(model, k) for k in _KEPT if hasattr(model, k)}
    if features is not None:
        features.meta[_FEATURES] = True
    get_classifier = getattr(model, "get_classifier", None)
    classifier = None if get_classifier is None else get_classifier()
    if isinstance(classifier, nn.Linear):
        names = {module: name for name, module in model.named_modules()}
        network.meta["classifier"] = names[classifier]
        network.meta["classifier_in"] = classifier.in_features


def reroute(old: fx.Node, new: fx.Node) -> None:
    """Let every reader of ``old`` read ``new``, also in the interface."""
    old.replace_all_uses_with(new)
    if old.meta.pop(_FEATURES, False):
        new.meta[_FEATURES] = True
