"""The time loop: what masks, resets, zoneout and reverse reading mean."""

import numpy as np


def reading_order(valid, go_backwards):
    """The step that is read at each position: itself, or the valid steps last to first.

    Masked positions stay where they are: valid 1 0 1 1 reads 3 1 2 0.
    """
    order = np.arange(len(valid))
    if go_backwards:
        order[valid] = order[valid][::-1]
    return order


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
):
    """Walk `step` over a batch of sequences, one row and one step at a time.

    At each position of a row, in this order:
        reset:   where resets is True, every state becomes its value in `reset_state`
        step:    new states from the step read and the old states
        zoneout: each state keeps part of its old value
        mask:    where mask is False, the states stay as they were (after the reset, if any)
    The history records the states at the end of each position.

    Args:
        step: function (x_t (D,), *states (S,)) -> tuple of new states.
        x: (B, T, D).
        state: list of initial states (B, S).
        mask: (B, T) bool, True is a valid step; `None` is all valid.
        resets: (B, T) bool; a mark belongs to its step and is read with it, also backwards.
        reset_state: list of (S,), the cell's own initial state; `None` is zeros.
        left_masks: list of (B, T, S) multipliers (recurrent dropout), passed to `step` as
            `left_masks=[(S,), ...]`; `None` entries stay `None`.
        zoneout: one probability a state; `()` is none.
        zoneout_draws: list of (B, T, S) bool, one a state, True keeps the old value; needed
            in training.
        training: whether zoneout draws (True) or mixes (False).
        go_backwards: read the valid steps last to first. Histories, `left_masks` and
            `zoneout_draws` are in processing order.

    Returns:
        Histories, a list of (B, T, S), and final states, a list of (B, S).
    """
    x = np.asarray(x, np.float64)
    B, T = x.shape[:2]
    final = [np.array(s, np.float64) for s in state]
    history = [np.zeros((B, T, s.shape[-1])) for s in final]
    mask = np.ones((B, T), bool) if mask is None else np.asarray(mask, bool)
    resets = np.zeros((B, T), bool) if resets is None else np.asarray(resets, bool)
    if reset_state is None:
        reset_state = [np.zeros(s.shape[-1]) for s in final]
    zoneout = tuple(zoneout) or (0.0,) * len(final)
    if zoneout_draws is None:
        zoneout_draws = [None] * len(final)

    for row in range(B):
        states = [s[row] for s in final]
        for t, read in enumerate(reading_order(mask[row], go_backwards)):
            if resets[row, read]:
                states = [np.array(s, np.float64) for s in reset_state]
            if mask[row, t]:
                options = {}
                if left_masks is not None:
                    options["left_masks"] = [at(m, row, t) for m in left_masks]
                new = step(x[row, read], *states, **options)
                states = [
                    zone_out(s, s_new, p, at(draws, row, t), training)
                    for s, s_new, p, draws in zip(states, new, zoneout, zoneout_draws, strict=True)
                ]
            for s, s_history in zip(states, history, strict=True):
                s_history[row, t] = s
        for s, s_final in zip(states, final, strict=True):
            s_final[row] = s
    return history, final


def at(draws, row, t):
    return None if draws is None else draws[row, t]
