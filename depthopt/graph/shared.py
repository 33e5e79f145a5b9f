"""Find weights that more than one part of a traced network reads."""

from collections import defaultdict
from itertools import chain

from torch import fx

from depthopt.graph.in_place import statement


def shared_weights(network: fx.GraphModule) -> dict[str, str]:
    """For each module that shares weights, by its path: with what it shares them.

    Another module may hold the same tensor, as tied weights are, or a statement may read it.
    Such weights can neither be folded nor set: what else reads them would change too.
    """
    owners: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for path, module in network.named_modules(remove_duplicate=False):
        own = chain(
            module.named_parameters(recurse=False, remove_duplicate=False),
            module.named_buffers(recurse=False, remove_duplicate=False),
        )
        for name, tensor in own:
            owners[id(tensor)].append((path, f"{path}.{name}"))
    reasons: dict[str, str] = {}
    for held in owners.values():
        for path, name in held if len(held) > 1 else ():
            other = next((other for _, other in held if other != name), name)
            reasons.setdefault(path, f"shares its {name.rpartition('.')[2]} with {other}")
    for node in network.graph.nodes:
        path, _, name = str(node.target).rpartition(".")
        if node.op == "get_attr" and path:
            readers = ", ".join(statement(user) for user in node.users)
            reasons.setdefault(path, f"its {name} is also read by {readers}")
    return reasons
