"""The structure of a shallow network: a traced model with a plan's replacements in place."""

import operator
from dataclasses import dataclass

from torch import fx, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain, Skip
from depthopt.core.plan import Plan
from depthopt.errors import ModelError
from depthopt.graph.convolutions import make_conv, operator_of, why_opaque
from depthopt.graph.network import TracedNetwork, reroute
from depthopt.graph.trace import nodes_by_name, trace
from depthopt.kinds.merge import composed_blocks
from depthopt.rewrite.expanded import ExpandedSegment
from depthopt.rewrite.inserted import InsertedActivation
from depthopt.rewrite.regression import Regression
from depthopt.shallow.options import Form

_MOST_BYTES = 2**29
"""Of a regression's sums: larger merged kernels stay as they are composed."""


def is_regressed(candidate: Candidate, form: Form) -> bool:
    """Whether the weights of what replaces a segment are regressed on data.

    Those of a ``merge`` are, from what is composed, if it is trained as one convolution.
    """
    if candidate.kind != "merge":
        return candidate.kind == "fit"
    new = candidate.convolution
    return form == "merged" and Regression.bytes_needed(new, new.out_channels) <= _MOST_BYTES


@dataclass(frozen=True, slots=True)
class New:
    """A convolution that a replacement put into a network.

    Attributes:
        name: path of its module.
        norm: path of the norm behind it, or None.
    """

    name: str
    norm: str | None = None

    @property
    def last(self) -> str:
        """Path of the last of the two."""
        return self.norm or self.name

    def modules(self, network: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d | None]:
        """The two modules.

        Raises:
            ModelError: the network has others there.
        """
        conv = network.get_submodule(self.name)
        norm = None if self.norm is None else network.get_submodule(self.norm)
        if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d | None):
            raise ModelError(f"{self.name} is not a convolution that was put in with its norm")
        return conv, norm


def build(
    model: nn.Module, chain: Chain, plan: Plan, form: Form = "merged"
) -> tuple[TracedNetwork, dict[Candidate, New]]:
    """A traced copy of ``model`` with every replacement of ``plan`` in place.

    Kept blocks keep their convolutions and norms, and fitted convolutions have norms of their
    own where the last blocks of their segments have. The weights of fitted convolutions are
    torch's random initialisation; those of merged ones are composed.

    Args:
        model: the original network; it is not changed.
        chain: its chain.
        plan: a plan over that chain.
        form: whether a ``merge`` becomes one convolution or stays ``expanded``.

    Returns:
        The network in evaluation mode, and what each replacement that is a new convolution
        put into it.

    Raises:
        ModelError: chain or plan were made for another model.
    """
    graph_module = trace(model, chain.input_size)
    if any(parameter.is_meta for parameter in graph_module.parameters()):
        raise ModelError(f"{plan.model} lies on the meta device, without weights; load them first")
    check_chain(graph_module, chain)
    check_plan(chain, plan)
    builder = _Builder(graph_module, chain, form)
    added = {choice: builder.install(choice) for choice in plan.replaced}
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module, {choice: new for choice, new in added.items() if new is not None}


def check_chain(graph_module: fx.GraphModule, chain: Chain) -> None:
    """Raise ``ModelError`` unless every block of ``chain`` is in the traced model."""
    modules, nodes = dict(graph_module.named_modules()), nodes_by_name(graph_module)
    for block in chain.blocks:
        module = modules.get(block.name)
        same = (
            module is not None
            and why_opaque(module) is None
            and operator_of(module) == block.operator
        )
        if not same or not {block.linear, block.preactivation, block.output} <= set(nodes):
            raise ModelError(
                f"the chain of {chain.model} does not fit this model: block {block.name} "
                f"({block.operator}) is not in it; extract the chain from the model at hand"
            )


def check_plan(chain: Chain, plan: Plan) -> None:
    """Raise ``ModelError`` unless the plan covers the chain with legal segments."""
    position = 0
    for choice in plan.choices:
        if choice.start != position:
            raise ModelError(f"plan of {plan.model}: no choice starts at position {position}")
        if choice.kind == "keep":
            same = choice.operators == (chain.blocks[position].operator,)
            wrong = None if same else "another block"
        elif choice.kind == "merge":
            wrong = chain.why_unmergeable(choice.start, choice.end)
        else:
            wrong = chain.why_illegal(choice.start, choice.end)
        if wrong is not None:
            raise ModelError(
                f"plan of {plan.model} does not fit {chain.model}: {choice.key} {wrong}"
            )
        position = choice.end
    if position != len(chain.blocks) or plan.input_size != chain.input_size:
        raise ModelError(
            f"plan of {plan.model} covers {position} blocks at {plan.input_size}, "
            f"{chain.model} has {len(chain.blocks)} at {chain.input_size}"
        )


class _Builder:
    """Installs one replacement after the other.

    Replaced nodes stay in the graph, unread, until all is done: what reads them is
    rerouted, so a replaced block's convolution still tells where its input comes from.
    """

    def __init__(self, graph_module: fx.GraphModule, chain: Chain, form: Form) -> None:
        self._graph_module = graph_module
        self._graph = graph_module.graph
        self._chain = chain
        self._form = form
        self._nodes = nodes_by_name(graph_module)
        self._modules = dict(graph_module.named_modules())
        self._conv_nodes = {
            node.target: node for node in graph_module.graph.nodes if node.op == "call_module"
        }

    def install(self, choice: Candidate) -> New | None:
        """Put one replacement in place; its new convolution, if any."""
        ending = self._chain.ending(choice.start, choice.end)
        old, new = self._nodes[ending.preactivation], None
        with self._graph.inserting_before(old):
            if choice.kind == "drop":
                node = self._dropped(choice)
            else:
                new, node = self._added(choice)
            for skip in self._chain.open_skips(choice.start, choice.end):
                node = self._graph.call_function(operator.add, (node, self._operand(skip)))
            if choice.activation is not None and ending.activation is None:
                inserted = f"activation_{choice.start}_{choice.end}"
                self._graph_module.add_submodule(inserted, InsertedActivation(choice.activation))
                node = self._graph.call_module(inserted, (node,))
        if choice.activation is None:
            old = self._nodes[ending.output]
        reroute(old, node)
        return new

    def _added(self, choice: Candidate) -> tuple[New, fx.Node]:
        """A new convolution in the place of a segment, and the node of what it gives."""
        name = f"segment_{choice.start}_{choice.end}"
        module = self._module(choice)
        self._graph_module.add_submodule(name, module)
        node = self._graph.call_module(name, (self._tensor_at(choice.start),))
        norm = (
            self._norm(choice) if choice.kind == "fit" and isinstance(module, nn.Conv2d) else None
        )
        if norm is None:
            return New(name), node
        new = New(name, f"{name}_norm")
        module.register_parameter("bias", None)
        self._graph_module.add_submodule(new.last, norm)
        return new, self._graph.call_module(new.last, (node,))

    def _module(self, choice: Candidate) -> nn.Module:
        new = choice.convolution
        if choice.kind == "merge":
            segment, composed = (choice.start, choice.end), composed_blocks(choice)
            expanded = ExpandedSegment(self._graph_module, self._chain, segment, composed, new)
            return expanded.eval() if self._form == "expanded" else expanded.eval().merged()
        return make_conv(new).to(next(self._graph_module.parameters())).eval()

    def _norm(self, choice: Candidate) -> nn.BatchNorm2d | None:
        """A norm for behind a fitted convolution, where the segment's last block has one.

        It trains as the layers around it do, and is folded in the end as theirs are.
        """
        last = self._nodes[self._chain.blocks[choice.end - 1].linear]
        norm = self._modules.get(str(last.target))
        if not isinstance(norm, nn.BatchNorm2d) or not norm.affine:
            return None
        own = nn.BatchNorm2d(choice.convolution.out_channels, norm.eps, norm.momentum)
        return own.to(next(self._graph_module.parameters())).eval()

    def _dropped(self, choice: Candidate) -> fx.Node:
        (skip,) = (s for s in self._chain.skips_to(choice.end) if s.source == choice.start)
        return self._operand(skip)

    def _operand(self, skip: Skip) -> fx.Node:
        """The node that a skip adds, as things stand now."""
        if skip.branch:
            return self._nodes[skip.operand]
        return self._tensor_at(skip.source)

    def _tensor_at(self, position: int) -> fx.Node:
        """The node of the tensor at a position, as things stand now."""
        node: fx.Node = self._conv_nodes[self._chain.blocks[position].name].all_input_nodes[0]
        return node
