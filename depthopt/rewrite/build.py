"""The structure of a shallow network: a traced model with a plan's replacements in place."""

import operator
from typing import Literal

from torch import fx, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain, Skip
from depthopt.core.plan import Plan
from depthopt.errors import ModelError
from depthopt.graph.convolutions import layer_spec, make_conv, why_opaque
from depthopt.graph.network import TracedNetwork, reroute
from depthopt.graph.trace import nodes_by_name, trace
from depthopt.rewrite.expanded import ExpandedSegment
from depthopt.rewrite.inserted import InsertedActivation
from depthopt.rewrite.regression import Regression

Form = Literal["merged", "expanded"]

_MOST_BYTES = 2**29
"""Of a regression's sums: larger merged kernels stay as they are composed."""


def is_regressed(candidate: Candidate, form: Form) -> bool:
    """Whether the weights of what replaces a segment are regressed on data.

    Those of a ``merge`` are, from what is composed, if it is trained as one convolution.
    """
    if candidate.kind != "merge" or candidate.spec is None:
        return candidate.kind == "fit"
    spec = candidate.spec
    return form == "merged" and Regression.bytes_needed(spec, spec.out_channels) <= _MOST_BYTES


def norm_of(name: str) -> str:
    """The module name of the norm behind a new convolution, if there is one."""
    return f"{name}_norm"


def build(
    model: nn.Module, chain: Chain, plan: Plan, form: Form = "merged"
) -> tuple[TracedNetwork, dict[Candidate, str]]:
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
        The network in evaluation mode, and the module name of each replacement that is
        a new convolution.

    Raises:
        ModelError: chain or plan were made for another model.
    """
    graph_module = trace(model, chain.input_size)
    if any(parameter.is_meta for parameter in graph_module.parameters()):
        raise ModelError(f"{plan.model} lies on the meta device, without weights; load them first")
    check_chain(graph_module, chain)
    check_plan(chain, plan)
    builder = _Builder(graph_module, chain, form)
    names = {choice: builder.install(choice) for choice in plan.replaced}
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module, {choice: name for choice, name in names.items() if name is not None}


def check_chain(graph_module: fx.GraphModule, chain: Chain) -> None:
    """Raise ``ModelError`` unless every block of ``chain`` is in the traced model."""
    modules, nodes = dict(graph_module.named_modules()), nodes_by_name(graph_module)
    for block in chain.blocks:
        module = modules.get(block.name)
        same = (
            module is not None and why_opaque(module) is None and layer_spec(module) == block.spec
        )
        if not same or not {block.linear, block.preactivation, block.output} <= set(nodes):
            raise ModelError(
                f"the chain of {chain.model} does not fit this model: block {block.name} "
                f"({block.spec}) is not in it; extract the chain from the model at hand"
            )


def check_plan(chain: Chain, plan: Plan) -> None:
    """Raise ``ModelError`` unless the plan covers the chain with legal segments."""
    position = 0
    for choice in plan.choices:
        if choice.start != position:
            raise ModelError(f"plan of {plan.model}: no choice starts at position {position}")
        if choice.kind == "keep":
            wrong = None if choice.spec == chain.blocks[position].spec else "another block"
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

    def install(self, choice: Candidate) -> str | None:
        """Put one replacement in place; the name of its new convolution, if any."""
        ending = self._chain.ending(choice.start, choice.end)
        old = self._nodes[ending.preactivation]
        with self._graph.inserting_before(old):
            if choice.kind == "drop":
                name, new = None, self._dropped(choice)
            else:
                name = f"segment_{choice.start}_{choice.end}"
                self._graph_module.add_submodule(name, self._module(choice))
                new = self._graph.call_module(name, (self._tensor_at(choice.start),))
                if choice.kind == "fit":
                    new = self._normed(choice, name, new)
            for skip in self._chain.open_skips(choice.start, choice.end):
                new = self._graph.call_function(operator.add, (new, self._operand(skip)))
            if choice.activation is not None and ending.activation is None:
                inserted = f"activation_{choice.start}_{choice.end}"
                self._graph_module.add_submodule(inserted, InsertedActivation(choice.activation))
                new = self._graph.call_module(inserted, (new,))
        if choice.activation is None:
            old = self._nodes[ending.output]
        reroute(old, new)
        return name

    def _module(self, choice: Candidate) -> nn.Module:
        if choice.kind == "merge":
            expanded = ExpandedSegment(self._graph_module, self._chain, choice).eval()
            return expanded if self._form == "expanded" else expanded.merged()
        assert choice.spec is not None  # noqa: S101 - only a drop has none
        return make_conv(choice.spec).to(next(self._graph_module.parameters())).eval()

    def _normed(self, choice: Candidate, name: str, new: fx.Node) -> fx.Node:
        """A norm behind a fitted convolution, where the segment's last block has one.

        It trains as the layers around it do, and is folded in the end as theirs are.
        """
        last = self._nodes[self._chain.blocks[choice.end - 1].linear]
        norm = self._modules.get(str(last.target))
        if not isinstance(norm, nn.BatchNorm2d) or not norm.affine:
            return new
        conv = self._graph_module.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)  # noqa: S101 - what is fitted is one
        conv.register_parameter("bias", None)
        own = nn.BatchNorm2d(conv.out_channels, norm.eps, norm.momentum)
        self._graph_module.add_submodule(norm_of(name), own.to(conv.weight).eval())
        return self._graph.call_module(norm_of(name), (new,))

    def _dropped(self, choice: Candidate) -> fx.Node:
        (skip,) = (s for s in self._chain.skips_to(choice.end) if s.source == choice.start)
        return self._operand(skip)

    def _operand(self, skip: Skip) -> fx.Node:
        """The node that a skip adds, as things stand now."""
        if skip.projection is not None:
            return self._nodes[skip.branch]
        return self._tensor_at(skip.source)

    def _tensor_at(self, position: int) -> fx.Node:
        """The node of the tensor at a position, as things stand now."""
        node: fx.Node = self._conv_nodes[self._chain.blocks[position].name].all_input_nodes[0]
        return node
