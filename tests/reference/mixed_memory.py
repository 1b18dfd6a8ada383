"""Mixed memory (Lechner & Hasani 2020, arXiv 2006.04418), by the authors' program (ncps) and their ODE-LSTM."""

from . import lstm


def step(w, x, *states, cell, count=1, memory=lstm.step, timed=False, delta=1.0):
    """One step: (h, ..., c)_{t-1} -> the same of t.

    (h~_t, c_t) = LSTM(x_t, (h_{t-1}, c_{t-1}))     the memory, which no time acts on
    h_t = f(x_t, h~_t, delta_t)                     the cell in continuous time, which starts from h~

    Args:
        w: {"cell": weights of f, "memory": weights of the LSTM}.
        states: those of the cell, `count` of them, of which the memory makes the first anew; then c.
        cell: the step of f.
        count: the number of states of f.
        memory: the step of the LSTM, or of another cell whose first state has the size of h.
        timed: whether f reads delta.
    """
    (h, *others), kept = states[:count], states[count:]
    h, *kept = memory(w["memory"], x, h, *kept)
    h, *others = cell(w["cell"], x, h, *others, **({"delta": delta} if timed else {}))
    return h, *others, *kept
