"""Formulas as code: what the way back keeps of the way forwards, and in which stage each formula is computed."""

import collections

from keras_rnnx.native.formulas import EXPENSIVE, OPERATIONS


def stages_of(formulas, nodes, stages):
    """For each of some nodes and of what they consist of, the first stage that has all it reads.

    Args:
        formulas: `Formulas`.
        nodes: the nodes.
        stages: those of leaves by node; the others are there from stage 0 on.
    """
    found = {}
    for node in formulas.reached(nodes):
        found[node] = stages.get(node, max([found[a] for a in formulas.operands(node)], default=0))
    return found


def kept(formulas, wanted, live):
    """The fewest formulas from which all wanted ones can be had by cheap operations, the nearest to these.

    They are a smallest set of nodes that cuts the wanted ones off from the inputs, the products and the expensive
    operations: by Menger's theorem as many as there are paths without a common node. Old states, vectors and constants
    are there anyway.

    Args:
        formulas: `Formulas`.
        wanted: nodes.
        live: the nodes that the way forwards computes.
    """
    depends, sources = set(), set()
    for node in formulas.reached(wanted):
        name, operands = formulas.nodes[node][0], formulas.operands(node)
        if name in ("input", "part", "state") or depends.intersection(operands):
            depends.add(node)
        if name in ("input", "part") or (name in EXPENSIVE and node in live and node in depends):
            sources.add(node)
    inside = [node for node in formulas.reached(wanted, sources) if node in depends]
    endless = len(inside) + 1
    ahead = collections.defaultdict(lambda: collections.defaultdict(int))  # the edges, and what they still let through
    for node in inside:
        ahead["in", node]["out", node] = 1 if node in live or node in sources else endless
        if node in sources:
            ahead["source"]["in", node] = endless
        else:
            for a in depends.intersection(formulas.operands(node)):
                ahead["out", a]["in", node] = endless
        if node in wanted:
            ahead["out", node]["end"] = endless
    while path := _path(ahead, "source", "end"):
        for a, b in zip(path, path[1:], strict=False):
            ahead[a][b] -= 1
            ahead[b][a] += 1
    behind = collections.defaultdict(dict)
    for a, edges in ahead.items():
        for b, left in edges.items():
            behind[b][a] = left
    near = _from(behind, "end")
    return [node for node in inside if ("out", node) in near and ("in", node) not in near]


def _from(edges, start):
    """What can be reached, each with the node before it."""
    found, waiting = {start: None}, collections.deque([start])
    while waiting:
        a = waiting.popleft()
        for b, left in edges[a].items():
            if left and b not in found:
                found[b] = a
                waiting.append(b)
    return found


def _path(edges, start, end):
    found, path = _from(edges, start), [end]
    if end not in found:
        return None
    while path[-1] != start:
        path.append(found[path[-1]])
    return path[::-1]


class Schedule:
    """The code of one way, each formula in the first stage that needs it.

    A cheap formula of leaves alone is computed again in each stage instead of being stored for all rows.

    Args:
        formulas: `Formulas`.
        leaves: the nodes that are there, in the order of their slots after the constants.
        due: for each stage the nodes that must be there after it.

    Attributes:
        constants: the numbers in the first slots.
        stages: for each the instructions.
        due: for each the slots of what was due.
        crossing: the slots of temporaries that a later stage reads.
        temporaries: the first slot of a temporary.
        read: the leaves that the code reads.
    """

    def __init__(self, formulas, leaves, due):
        self._formulas = formulas
        roots = [node for nodes in due for node in nodes]
        reached = formulas.reached(roots, set(leaves))
        constants = [node for node in reached if formulas.value(node) is not None]
        self.constants = tuple(formulas.value(node) for node in constants)
        self._slots = {node: i for i, node in enumerate([*constants, *leaves])}
        self._leaves = frozenset(self._slots)
        self._last = self.temporaries = len(self._slots)
        self.read = self._leaves.intersection(reached)
        self.stages, self.due, crossing = [], [], set()
        made = set()
        for nodes in due:
            given = self._leaves | {node for node in made if not self._is_cheap(node)}
            needed = formulas.reached(nodes, given)
            crossing |= {self._slots[node] for node in needed if node in given and node not in self._leaves}
            self.stages.append(tuple(self._instruction(node) for node in needed if node not in given))
            self.due.append(tuple(self._slots[node] for node in nodes))
            made.update(needed)
        self.crossing = tuple(sorted(crossing))

    def _is_cheap(self, node):
        name, operands = self._formulas.nodes[node]
        return name not in EXPENSIVE and self._leaves.issuperset(operands)

    def _instruction(self, node):
        name, operands = self._formulas.nodes[node]
        slots = [self._slots[a] for a in operands]
        self._slots[node] = self._last
        self._last += 1
        return (OPERATIONS.index(name), self._slots[node], *slots, *[-1] * (3 - len(slots)))
