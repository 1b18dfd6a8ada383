"""Formulas of a step: a graph of operations on rows of units, simplified as it grows, and its derivatives.

A node is an int. Equal formulas are one node, and a node is younger than its operands. A leaf is a kind and which one
of it: `constant` (its value), `vector`, `input`, `state`, `part` of a product, and on the way back `dnew`, the
cotangent of a new state, and `dleft`, that of the left operand of a product.
"""

import numpy as np

# What programs consist of, by number. Comparisons give 1 or 0; `select` takes its second operand where the first one
# is not 0, else the third; `round` is to nearest even.
OPERATIONS = (
    "negative absolute sign exp log log1p tanh sigmoid sqrt floor round sin cos add subtract multiply divide maximum "
    "minimum less less_equal equal select"
).split()
LEAVES = ("constant", "vector", "input", "state", "part", "dnew", "dleft")
# Rather stored than computed again.
EXPENSIVE = ("exp", "log", "log1p", "tanh", "sigmoid", "sqrt", "sin", "cos", "divide")
COMMUTATIVE = ("add", "multiply", "maximum", "minimum", "equal")

_FOLDED = {
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "round": np.rint,
    "select": lambda c, a, b: a if c else b,
}


class Untraceable(Exception):
    """A step is no program; the message says what it does, as in "its step ..."."""


class Formulas:
    """The nodes; see the module."""

    def __init__(self):
        self.nodes = []
        self._known = {}
        self._lowered = {}

    def leaf(self, kind, which):
        """The node of a leaf."""
        return self._node(kind, (which,))

    def constant(self, value):
        """The node of a number, rounded to float32."""
        return self._node("constant", (float(np.float32(value)),))

    def value(self, node):
        """The value of a constant; None of another node."""
        kind, operands = self.nodes[node]
        return operands[0] if kind == "constant" else None

    def operands(self, node):
        """The nodes that a node reads."""
        kind, operands = self.nodes[node]
        return () if kind in LEAVES else operands

    def _node(self, name, operands):
        key = (name, operands)
        if key not in self._known:
            self._known[key] = len(self.nodes)
            self.nodes.append(key)
        return self._known[key]

    def __call__(self, name, *operands):
        """The node of an operation, or of one that is composed of operations."""
        if name in COMPOSED:
            return COMPOSED[name](self, *operands)
        values = [self.value(a) for a in operands]
        if None not in values:
            if name in OWN_DERIVATIVE:
                return OWN_DERIVATIVE[name][0](self, *operands)
            with np.errstate(all="ignore"):
                function = _FOLDED.get(name) or getattr(np, name)
                return self.constant(function(*[np.float32(v) for v in values]))
        if name in COMMUTATIVE and (values[0] is not None or (values[1] is None and operands[0] > operands[1])):
            operands = operands[::-1]
        simpler = _SIMPLER.get(name, lambda *_: None)(self, *operands)
        return self._node(name, operands) if simpler is None else simpler

    def reached(self, roots, stop=()):
        """The nodes which roots consist of, the oldest first; nodes of `stop` are not looked into."""
        found, waiting = set(), list(roots)
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += () if node in stop else self.operands(node)
        return sorted(found)

    def lowered(self, root):
        """The node in `OPERATIONS` alone, without those that have a derivative of their own."""
        for node in self.reached([root], self._lowered):
            name, operands = self.nodes[node]
            if node not in self._lowered and name not in LEAVES:
                operands = [self._lowered[a] for a in operands]
                made = OWN_DERIVATIVE[name][0](self, *operands) if name in OWN_DERIVATIVE else self(name, *operands)
                self._lowered[node] = made
            self._lowered.setdefault(node, node)
        return self._lowered[root]

    def pulled(self, node, d):
        """Pairs of an operand and what the cotangent d of a node gives it."""
        name, operands = self.nodes[node]
        rule = OWN_DERIVATIVE[name][1] if name in OWN_DERIVATIVE else _RULES.get(name, lambda *_: ())
        pairs = zip(operands, rule(self, node, d, *operands), strict=False)
        return [(a, da) for a, da in pairs if da is not None and self.value(a) is None]


def _simpler_sum(f, a, b):
    """a + b in another form, or None. tanh(v / 2) / 2 + 1 / 2 is how `gates.activated` writes the sigmoid."""
    (name, operands), (other, others) = f.nodes[a], f.nodes[b]
    if f.value(b) == 0.0:
        return a
    if other == "negative":
        return f("subtract", a, others[0])
    if name == "negative":
        return f("subtract", b, operands[0])
    if name == "multiply" and f.value(b) == f.value(operands[1]) == 0.5:
        inner, angle = f.nodes[operands[0]]
        if inner == "tanh" and f.nodes[angle[0]][0] == "multiply" and f.value(f.operands(angle[0])[1]) == 0.5:
            return f("sigmoid", f.operands(angle[0])[0])
    return None


def _simpler_difference(f, a, b):
    if f.value(b) == 0.0:
        return a
    if f.value(a) == 0.0:
        return f("negative", b)
    name, operands = f.nodes[b]
    return f("add", a, operands[0]) if name == "negative" else None


def _simpler_product(f, a, b):
    return {1.0: lambda: a, -1.0: lambda: f("negative", a)}.get(f.value(b), lambda: None)()


def _simpler_quotient(f, a, b):
    """By a number it is a product, as in XLA."""
    value = f.value(b)
    return f("multiply", a, f.constant(1 / value)) if value and 1e-30 < abs(value) < 1e30 else None


def _simpler_negative(f, a):
    name, operands = f.nodes[a]
    if name == "negative":
        return operands[0]
    return f("subtract", *operands[::-1]) if name == "subtract" else None


def _simpler_choice(f, condition, a, b):
    chosen = f.value(condition)
    if a == b or chosen is not None:
        return a if chosen or a == b else b
    boolean = f.nodes[condition][0] in ("less", "less_equal", "equal")
    return condition if boolean and f.value(a) == 1.0 and f.value(b) == 0.0 else None


_SIMPLER = {
    "add": _simpler_sum,
    "subtract": _simpler_difference,
    "multiply": _simpler_product,
    "divide": _simpler_quotient,
    "negative": _simpler_negative,
    "select": _simpler_choice,
}


def _power(f, a, b):
    exponent = f.value(b)
    if exponent is None or 2 * exponent != int(2 * exponent) or abs(exponent) > 16:
        raise Untraceable(f"uses a power with the exponent {'that it computes' if exponent is None else exponent}")
    if exponent < 0:
        return f("reciprocal", f("power", a, f.constant(-exponent)))
    made = f("sqrt", a) if exponent % 1 else f.constant(1)
    for bit in format(int(exponent), "b") if exponent % 1 == 0 else ():
        made = f("multiply", made, made)
        made = f("multiply", made, a) if bit == "1" else made
    for _ in range(int(exponent) if exponent % 1 else 0):
        made = f("multiply", made, a)
    return made


def _expm1(f, a):
    """Without the digits that exp(a) - 1 loses near 0."""
    return f("multiply", f("tanh", f("multiply", a, f.constant(0.5))), f("add", f("exp", a), f.constant(1)))


def _softplus(f, a):
    return f("add", f("relu", a), f("log1p", f("exp", f("negative", f("absolute", a)))))


# Operations on nodes that are made of others, each with the derivative that follows.
COMPOSED = {
    "reciprocal": lambda f, a: f("divide", f.constant(1), a),
    "square": lambda f, a: f("multiply", a, a),
    "squared_difference": lambda f, a, b: f("square", f("subtract", a, b)),
    "rsqrt": lambda f, a: f("reciprocal", f("sqrt", a)),
    "ceil": lambda f, a: f("negative", f("floor", f("negative", a))),
    "power": _power,
    "relu": lambda f, a: f("maximum", a, f.constant(0)),
    "relu6": lambda f, a: f("minimum", f("relu", a), f.constant(6)),
    "leaky_relu": lambda f, a, slope: f("select", f("less", f.constant(0), a), a, f("multiply", a, slope)),
    "elu": lambda f, a: f("select", f("less", f.constant(0), a), a, f("expm1", f("minimum", a, f.constant(0)))),
    "selu": lambda f, a: f(
        "multiply",
        f("select", f("less", f.constant(0), a), a, f("multiply", f("elu", a), f.constant(1.6732632423543772))),
        f.constant(1.0507009873554805),
    ),
    "softsign": lambda f, a: f("divide", a, f("add", f("absolute", a), f.constant(1))),
    "silu": lambda f, a: f("multiply", a, f("sigmoid", a)),
    "log_sigmoid": lambda f, a: f("negative", f("softplus", f("negative", a))),
    "logaddexp": lambda f, a, b: f("add", f("softplus", f("subtract", a, b)), b),
    "greater": lambda f, a, b: f("less", b, a),
    "greater_equal": lambda f, a, b: f("less_equal", b, a),
    "not": lambda f, a: f("subtract", f.constant(1), a),
    "not_equal": lambda f, a, b: f("not", f("equal", a, b)),
    "and": lambda f, a, b: f("multiply", a, b),
    "or": lambda f, a, b: f("maximum", a, b),
    "boolean": lambda f, a: f("not_equal", a, f.constant(0)),
    "identity": lambda f, a: a,
}

# Likewise, but with a derivative of their own: what they are made of, and the rule as in `_RULES`.
OWN_DERIVATIVE = {
    "softplus": (_softplus, lambda f, y, d, a: (f("multiply", d, f("sigmoid", a)),)),
    "expm1": (_expm1, lambda f, y, d, a: (f("multiply", d, f("add", y, f.constant(1))),)),
    "stop": (lambda f, a: a, lambda f, y, d, a: ()),
}


def _pull_quotient(f, y, d, a, b):
    q = f("divide", d, b)
    return q, f("negative", f("multiply", q, y))


def _pull_choice(f, condition, d):
    none = f.constant(0)
    return f("select", condition, d, none), f("select", condition, none, d)


# The cotangents of the operands of a node y with the cotangent d. At a tie `maximum` and `minimum` are their second
# operand, which a constant always is: relu has the derivative 0 at 0. `absolute` has it too; steps have none.
_RULES = {
    "negative": lambda f, y, d, a: (f("negative", d),),
    "absolute": lambda f, y, d, a: (f("multiply", d, f("sign", a)),),
    "exp": lambda f, y, d, a: (f("multiply", d, y),),
    "log": lambda f, y, d, a: (f("divide", d, a),),
    "log1p": lambda f, y, d, a: (f("divide", d, f("add", a, f.constant(1))),),
    "tanh": lambda f, y, d, a: (f("multiply", d, f("subtract", f.constant(1), f("multiply", y, y))),),
    "sigmoid": lambda f, y, d, a: (f("multiply", d, f("multiply", y, f("subtract", f.constant(1), y))),),
    "sqrt": lambda f, y, d, a: (f("divide", f("multiply", d, f.constant(0.5)), y),),
    "sin": lambda f, y, d, a: (f("multiply", d, f("cos", a)),),
    "cos": lambda f, y, d, a: (f("negative", f("multiply", d, f("sin", a))),),
    "add": lambda f, y, d, a, b: (d, d),
    "subtract": lambda f, y, d, a, b: (d, f("negative", d)),
    "multiply": lambda f, y, d, a, b: (f("multiply", d, b), f("multiply", d, a)),
    "divide": _pull_quotient,
    "maximum": lambda f, y, d, a, b: _pull_choice(f, f("less", b, a), d),
    "minimum": lambda f, y, d, a, b: _pull_choice(f, f("less", a, b), d),
    "select": lambda f, y, d, condition, a, b: (None, *_pull_choice(f, condition, d)),
}
