"""Run the same batches through networks repeatedly, each pass going on from the last one."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from depthopt.core.inputs import Inputs, bytes_of, moved
from depthopt.core.kept import Kept
from depthopt.graph.examples import in_order

MOST_BYTES = 2**28
"""Maximum bytes of the tensors kept for the next pass, over all batches, and of the images."""

Values = dict[fx.Node, Tensor]


@dataclass(frozen=True, slots=True)
class Wish:
    """The values that a pass returns for one network.

    Attributes:
        names: of the nodes whose values are wanted.
        cut: nothing that runs before this node will change any more, so that later passes
            may begin here.
    """

    names: frozenset[str]
    cut: fx.Node


class Replay:
    """Networks that run on the same batches, each pass further than the last.

    What later passes need of earlier nodes is kept in memory if it fits; if not, they begin at an
    earlier cut or at the images. The values do not depend on that.
    """

    def __init__(
        self,
        networks: Collection[fx.GraphModule],
        batches: Collection[Inputs],
        *,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """Keep nothing yet.

        Args:
            networks: they run in the mode they are in. Between passes weights may change behind
                the last cut; their structure may not.
            batches: batches of images (N, C, H, W) or of named inputs, the same every time.
            most_bytes: that are kept of each network, and of the images; twice that of a network
                while a pass goes on.
        """
        self._networks = [_Resumed(network, most_bytes) for network in networks]
        self._batches, self._most_bytes = batches, most_bytes
        self._inputs: Collection[Inputs] = Kept(batches, bytes_of, most_bytes=most_bytes)

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._batches)

    @property
    def device(self) -> torch.device:
        """The device of the first network and of its outputs."""
        return self._networks[0].weight.device

    @torch.no_grad()
    def __call__(self, *wishes: Wish) -> Iterator[tuple[dict[str, Tensor], ...]]:
        """Go through all batches once.

        Args:
            wishes: one for each network.

        Yields:
            For every batch, of each network, the wanted values by name.
        """
        passes = [n.passing(wish) for n, wish in zip(self._networks, wishes, strict=True)]
        from_inputs = any(each.begins_at_inputs for each in passes)
        for index, inputs in enumerate(self._inputs if from_inputs else [None] * len(self)):
            yield tuple(each(index, inputs) for each in passes)
        for network, each in zip(self._networks, passes, strict=True):
            network.go_on_from(each)
        if all(network.cut for network in self._networks):
            self._inputs = self._batches  # later passes go further, and need them no more


class _Resumed:
    """One network, and for every batch the values that live at its cut.

    Attributes:
        graph_module: the network.
        nodes: its nodes, in order.
        place: of each among them.
        last_use: the place of the last node that reads each.
        cut: the place of the first node that is still to run; 0 where nothing is kept.
        kept: the values, by batch.
    """

    def __init__(self, network: fx.GraphModule, most_bytes: int) -> None:
        self.graph_module = network
        self.interpreter = fx.Interpreter(network)
        self.weight = next(network.parameters())
        self.most_bytes = most_bytes
        self.nodes = list(network.graph.nodes)
        self.place = {node: i for i, node in enumerate(self.nodes)}
        self.last_use = {
            node: max((self.place[user] for user in node.users), default=-1) for node in self.nodes
        }
        self.cut = 0
        self.kept: list[Values] = []

    def passing(self, wish: Wish) -> "_Pass":
        known = {node.name for node in (*self.nodes[self.cut :], *(self.kept or [{}])[0])}
        return _Pass(self, wish, begins_at_inputs=self.cut == 0 or not wish.names <= known)

    def go_on_from(self, done: "_Pass") -> None:
        """Take over what a pass has kept, if that is further on and complete."""
        if done.fits and done.cut > self.cut:
            self.cut, self.kept = done.cut, done.kept


class _Pass:
    """One network on its way through all batches."""

    def __init__(self, network: _Resumed, wish: Wish, *, begins_at_inputs: bool) -> None:
        self._network, self._names = network, wish.names
        self.begins_at_inputs = begins_at_inputs
        self.cut, self.kept = network.place[wish.cut], list[Values]()
        self.fits, self._bytes = True, 0

    def __call__(self, index: int, inputs: Inputs | None) -> dict[str, Tensor]:
        """The wanted values of one batch."""
        network, run = self._network, self._network.interpreter
        begin, run.env = 0, {}
        if self.begins_at_inputs:
            assert inputs is not None  # noqa: S101 - narrows Inputs | None: the caller asked for it
            run.args_iter = iter(in_order(network.graph_module, moved(inputs, network.weight)))
        else:
            begin, run.env = network.cut, dict(network.kept[index])
            weights = (n for n in network.nodes[:begin] if n.op == "get_attr")
            run.env.update((node, run.run_node(node)) for node in weights)
        found = {node.name: v for node, v in run.env.items() if node.name in self._names}
        for place, node in enumerate(network.nodes[begin:], start=begin):
            if place == self.cut:
                self._keep(run.env)
            if place >= self.cut and len(found) == len(self._names):
                break
            value = run.env[node] = run.run_node(node)
            if node.name in self._names:
                found[node.name] = value
            for source in node.all_input_nodes:
                if network.last_use[source] == place:
                    del run.env[source]
        run.env = {}
        return found

    def _keep(self, env: Values) -> None:
        """Keep what lives at the cut, as long as all batches' fits into memory."""
        live = {
            node: value
            for node, value in env.items()
            if node.op != "get_attr" and self._network.last_use[node] >= self.cut
        }
        too_much = self._network.most_bytes + 1  # only tensors are kept
        self._bytes += sum(getattr(value, "nbytes", too_much) for value in live.values())
        self.fits = self.fits and self._bytes <= self._network.most_bytes
        if self.fits:
            self.kept.append(live)
        else:
            self.kept.clear()
