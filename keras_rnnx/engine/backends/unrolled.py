"""The loop written out in Python: the torch backend's only loop, and `unroll=True` everywhere."""

from keras import ops, tree


def scan(body, carry, slots, length=None, reverse=False, plain=False):
    """Runs `body` once for every index of the leading axis; see `engine.backends` for the interface."""
    del length, plain  # a loop written out always knows its length, and is none to a converter
    steps = range(tree.flatten(slots)[0].shape[0])
    results = []
    for t in reversed(steps) if reverse else steps:
        carry, result = body(carry, tree.map_structure(lambda a, t=t: a[t], slots))
        results.append(result)
    if reverse:
        results.reverse()
    return carry, tree.map_structure(lambda *rows: ops.stack(rows), *results)
