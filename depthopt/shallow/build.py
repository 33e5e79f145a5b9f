"""Build a shallow network: a traced model with a plan's replacements in place."""

import operator

from torch import fx, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain, Skip
from depthopt.core.plan import Plan
from depthopt.errors import ModelError
from depthopt.extraction.channel_mlp import find_channel_mlps
from depthopt.extraction.network import Network
from depthopt.extraction.transformer import find_residuals
from depthopt.graph.convolutions import operator_of, why_opaque
from depthopt.graph.network import TracedNetwork, reroute
from depthopt.graph.trace import nodes_by_name, trace
from depthopt.kinds.chained import as_fused, running
from depthopt.kinds.registry import kind_of
from depthopt.kinds.site import New, module_name
from depthopt.rewrite.inserted import InsertedActivation
from depthopt.rewrite.options import Form, check_form


def build(
    model: nn.Module, chain: Chain, plan: Plan, form: Form = "fused"
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
        UsageError: there is no such form.
    """
    check_form(form)
    graph_module = trace(model, chain.input_size)
    graph_module.meta["form"] = form
    if any(parameter.is_meta for parameter in graph_module.parameters()):
        raise ModelError(f"{plan.model} lies on the meta device, without weights; load them first")
    check_chain(graph_module, chain)
    check_plan(chain, plan)
    builder = _Builder(graph_module, chain, form)
    added = {choice: builder.install(choice) for choice in plan.replaced}
    graph_module.meta["joined"] = tuple(
        (tuple(map(module_name, group)), one.convolution)
        for group, one in zip(
            as_fused(chain, plan.choices), running(chain, plan.choices), strict=True
        )
        if len(group) > 1
    )
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module, {choice: new for choice, new in added.items() if new is not None}


def check_chain(graph_module: fx.GraphModule, chain: Chain) -> None:
    """Raise ``ModelError`` unless every block of ``chain`` is in the traced model."""
    modules, nodes = dict(graph_module.named_modules()), nodes_by_name(graph_module)
    network = Network.of(graph_module)
    branches = {each.block for each in find_residuals(network).found}
    mlps = find_channel_mlps(network).values()
    of_channels = {(mlp.operator, mlp.reader.name, mlp.output.name) for mlp in mlps}
    for block in chain.blocks:
        module = modules.get(block.name)
        is_known = block in branches or (block.operator, block.reader, block.linear) in of_channels
        same = is_known or (
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
    position = state = 0
    for choice in plan.choices:
        if choice.start != position:
            raise ModelError(f"plan of {plan.model}: no choice starts at position {position}")
        if choice.entry != state:
            raise ModelError(
                f"plan of {plan.model}: {choice.key} begins in state {choice.entry}, what comes "
                f"before it ends in state {state}"
            )
        if (wrong := kind_of(choice).why_not(chain, choice)) is not None:
            raise ModelError(
                f"plan of {plan.model} does not fit {chain.model}: {choice.key} {wrong}"
            )
        position, state = choice.end, choice.exit
    if position != len(chain.blocks) or plan.input_size != chain.input_size:
        raise ModelError(
            f"plan of {plan.model} covers {position} blocks at {plan.input_size}, "
            f"{chain.model} has {len(chain.blocks)} at {chain.input_size}"
        )
    if not any(choice.operators for choice in plan.choices):
        raise ModelError(f"plan of {plan.model} leaves no layer of the chain in place")


class _Builder:
    """Installs one replacement after the other; the ``Site`` that kinds install at.

    Replaced nodes stay in the graph, unread, until all is done: what reads them is
    rerouted, so a replaced block's convolution still tells where its input comes from.
    """

    def __init__(self, network: fx.GraphModule, chain: Chain, form: Form) -> None:
        self.network, self.chain, self.form = network, chain, form
        self._nodes = nodes_by_name(network)
        self._calls = {
            node.target: node for node in network.graph.nodes if node.op == "call_module"
        }

    def install(self, choice: Candidate) -> New | None:
        """Put one replacement in place; what was put in, if anything with weights was."""
        ending = self.chain.ending(choice.start, choice.end)
        old, graph = self._nodes[ending.preactivation], self.network.graph
        with graph.inserting_before(old):
            node, new = kind_of(choice).install(self, choice)
            if node is None:
                return new
            for skip in self.chain.open_skips(choice.start, choice.end):
                node = graph.call_function(operator.add, (node, self.operand(skip)))
            if choice.activation is not None and ending.activation is None:
                inserted = f"activation_{choice.start}_{choice.end}"
                node = self.call(inserted, InsertedActivation(choice.activation), node)
        if choice.activation is None:
            old = self._nodes[ending.output]
        reroute(old, node)
        return new

    def at(self, position: int) -> fx.Node:
        """The current node of the tensor at a position."""
        block = self.chain.blocks[position]
        reads = self._calls[block.name] if block.reader is None else self._nodes[block.reader]
        node: fx.Node = reads.all_input_nodes[0]
        return node

    def operand(self, skip: Skip) -> fx.Node:
        """The current node that a skip adds."""
        return self._nodes[skip.operand] if skip.branch else self.at(skip.source)

    def call(self, name: str, module: nn.Module, node: fx.Node) -> fx.Node:
        """Add a module under a name, and call it with a node's value."""
        self.network.add_submodule(name, module)
        return self.network.graph.call_module(name, (node,))
