"""The time loop: what masks, resets, zoneout and reverse reading mean."""

import numpy as np


def processing_order(walked, start, valid):
    """States of a reversed walk, aligned to time, in the order in which they were made.

    At the j-th valid position stands the result after the j last valid steps; a masked position
    repeats the position before it, or `start`: valid 1 0 1 1 gives the results 3 3 2 0 of the walk.
    """
    made = iter(walked[valid][::-1])
    ordered = np.empty_like(walked)
    for t in range(len(valid)):
        ordered[t] = next(made) if valid[t] else start if t == 0 else ordered[t - 1]
    return ordered


def intervals(deltas, valid, starts, go_backwards):
    """{t: the interval that the walk reads at t} for the valid steps of one row.

    A document is a list of times s_1 s_2 ... s_n with the intervals d_1 ... d_n before each. Backwards its
    steps are s_n ... s_1 and the intervals between them d_n ... d_2; d_1 stays the first one.
    """
    documents = [[]]
    for t in range(len(deltas)):
        if starts[t]:
            documents.append([])
        if valid[t]:
            documents[-1].append(t)
    read = {}
    for steps in documents:
        before = [deltas[t] for t in steps]
        if go_backwards:
            steps, before = steps[::-1], before[:1] + before[1:][::-1]
        read.update(zip(steps, before, strict=True))
    return read


def zone_out(old, new, p, keep, training):
    """Training: the old value where `keep` is True. Inference: p old + (1 - p) new."""
    if p == 0:
        return new
    if training:
        if keep is None:
            raise ValueError(f"Expected zoneout_draws for zoneout={p} in training. Received: None")
        return np.where(keep, old, new)
    return p * old + (1 - p) * new


def run(
    step,
    x,
    state,
    *,
    mask=None,
    resets=None,
    reset_state=None,
    left_masks=None,
    zoneout=(),
    zoneout_draws=None,
    training=False,
    go_backwards=False,
    deltas=None,
):
    """Walk `step` over a batch of sequences, one row and one step at a time.

    At each time step t of a row, in this order:
        reset:   where a document starts (forwards: the mark of t; backwards: the mark of t + 1, for
                 the document before it is entered at its last step), every state becomes its value
                 in `reset_state`, whether step t is valid or not
        step:    new states from x_t and the old states
        zoneout: each state keeps part of its old value
        mask:    where mask is False, the states stay as they were (after the reset, if any)
    The history records the states after each step, backwards in processing order.
    S, the shape of a state, is one number or several.

    Args:
        step: function (x_t (D,), *states (S,)) -> tuple of new states.
        x: (B, T, D).
        state: list of initial states (B, S).
        mask: (B, T) bool, True is a valid step; `None` is all valid.
        resets: (B, T) bool, True marks the first step of a document.
        reset_state: list of (S,), the cell's own initial state; `None` is zeros.
        left_masks: list of (B, T, S) multipliers (recurrent dropout), passed to `step` as
            `left_masks=[(S,), ...]`; `None` entries stay `None`. Indexed by time, also backwards.
        zoneout: one probability a state; `()` is none.
        zoneout_draws: list of (B, T, S) bool, one a state, True keeps the old value; needed
            in training. Indexed by time, also backwards.
        training: whether zoneout draws (True) or mixes (False).
        go_backwards: read the valid steps last to first.
        deltas: (B, T), the time since the valid step before; passed to `step` as `delta=`, see `intervals`.

    Returns:
        Histories, a list of (B, T, S), and final states, a list of (B, S).
    """
    x = np.asarray(x, np.float64)
    B, T = x.shape[:2]
    final = [np.array(s, np.float64) for s in state]
    history = [np.zeros((B, T, *s.shape[1:])) for s in final]
    mask = np.ones((B, T), bool) if mask is None else np.asarray(mask, bool)
    resets = np.zeros((B, T), bool) if resets is None else np.asarray(resets, bool)
    if reset_state is None:
        reset_state = [np.zeros(s.shape[1:]) for s in final]
    zoneout = tuple(zoneout) or (0.0,) * len(final)
    if zoneout_draws is None:
        zoneout_draws = [None] * len(final)

    for row in range(B):
        states = start = [s[row].copy() for s in final]
        if deltas is not None:
            read = intervals(deltas[row], mask[row], resets[row], go_backwards)
        for t in range(T)[:: -1 if go_backwards else 1]:
            mark = t + 1 if go_backwards else t
            if mark < T and resets[row, mark]:
                states = [np.array(s, np.float64) for s in reset_state]
            if mask[row, t]:
                options = {}
                if deltas is not None:
                    options["delta"] = read[t]
                if left_masks is not None:
                    options["left_masks"] = [at(m, row, t) for m in left_masks]
                new = step(x[row, t], *states, **options)
                states = [
                    zone_out(s, s_new, p, at(draws, row, t), training)
                    for s, s_new, p, draws in zip(states, new, zoneout, zoneout_draws, strict=True)
                ]
            for s, s_history in zip(states, history, strict=True):
                s_history[row, t] = s
        for s, s_final in zip(states, final, strict=True):
            s_final[row] = s
        if go_backwards:
            for s_history, s_start in zip(history, start, strict=True):
                s_history[row] = processing_order(s_history[row], s_start, mask[row])
    return history, final


def at(draws, row, t):
    return None if draws is None else draws[row, t]
