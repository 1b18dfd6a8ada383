"""The last few inputs of each step, for cells that read a window: over masked steps, documents and chunks alike."""

from keras import ops

from keras_rnnx.engine.masks import held, places, rows, taken


def window(x, before, mask=None, resets=None):
    """Each valid step's own input and the valid ones before it, in its document; zeros where there are none.

    Args:
        x: (T, B, D).
        before: (W - 1, B, D), the inputs before the first step, the oldest first.
        mask: (T, B) bool or None.
        resets: (T, B) bool, True at the first step of a document, or None.

    Returns:
        A list of W arrays (T, B, D), the step's own input first, and the inputs (W - 1, B, D) to carry on.
        What stands at masked steps means nothing.
    """
    steps, back = ops.shape(x)[0], before.shape[0]
    if mask is None and resets is None:
        read = ops.concatenate([before, x])
        return [read[back - j : back - j + steps] for j in range(back + 1)], read[ops.shape(read)[0] - back :]
    none = ops.zeros(ops.shape(x)[:2], "bool")
    mask = ops.logical_not(none) if mask is None else mask
    resets = none if resets is None else resets
    count = ops.cumsum(ops.cast(mask, "int32"), axis=0)
    documents = ops.cumsum(ops.cast(resets, "int32"), axis=0)
    order = ops.transpose(places(ops.transpose(mask)))
    read = ops.concatenate([before, taken(x, order)])
    owner = ops.concatenate([ops.zeros_like(documents[:1] + ops.zeros((back, 1), "int32")), taken(documents, order)])

    def at(index, document):
        """What was read `index` places into `read`, where it belongs to the document."""
        found = taken(read, index)
        same = ops.equal(taken(owner, index), document)[:, :, None]  # TensorFlow's == forgets the rank
        return ops.where(same, found, ops.zeros_like(found))

    shifts = [at(ops.maximum(count - 1, 0) + back - j, documents) for j in range(back + 1)]
    ends = count[-1:] + ops.arange(back, dtype="int32")[:, None]
    return shifts, at(ends, documents[-1:])


def truncated(shifts, cut, mask=None, resets=None):
    """What `window` gives, where no gradient flows to an input from before a cut.

    Args:
        shifts: a list of W arrays (T, B, D), the step's own input first.
        cut: (T,) bool, the steps before which the gradient stops.
        mask, resets: as in `window`.
    """
    parts = ops.cumsum(ops.cast(cut, "int32"))[:, None, None] + ops.zeros_like(shifts[0][..., :1], dtype="int32")
    none = ops.zeros((len(shifts) - 1, *ops.shape(parts)[1:]), "int32")
    owners, _ = window(parts, none, mask, resets)
    return [
        ops.where(owner == parts, shift, ops.stop_gradient(shift)) for owner, shift in zip(owners, shifts, strict=True)
    ]


def handed(carried, before, mask=None, resets=None):
    """What each step hands on to the next: at a masked step what it was handed itself, or zeros at a reset.

    Args:
        carried: (T, B, ...), what valid steps hand on.
        before: (B, ...), what the first step was handed.
        mask: (T, B) bool or None.
        resets: (T, B) bool or None.
    """
    if mask is None:
        return carried
    carried = ops.where(rows(mask, carried), carried, ops.zeros_like(carried))
    known = mask if resets is None else ops.logical_or(mask, resets)
    known = ops.concatenate([ops.ones_like(known[:1]), known])
    return held(ops.concatenate([before[None], carried]), known)[1:]
