"""Attention over a memory, and the step of a recurrent cell that attends.

A mechanism is a function

    (w, query (B, Q), memory (B, S, M), mask (B, S) or None, previous (B, S) or None)
        -> context (B, M), alignments (B, S), energies (B, S)

`w` is a dict of float64 arrays. `mask` is True where the memory holds something; elsewhere the alignment is 0, and a
row that is masked throughout has the context zero. `previous` is what the mechanism has kept of the step before: its
alignments, or their sum over all steps before. Energies are those before any normalization, also where masked.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from .activations import sigmoid
from .heads import in_heads, joined
from .loop import run


def valid(memory, mask):
    return np.ones(memory.shape[:2], bool) if mask is None else np.asarray(mask, bool)


def normalized(energies, mask, kind="softmax"):
    """Alignments over the positions where `mask` is True, one row at a time.

    softmax: alpha_s = exp(e_s) / sum_r exp(e_r)
    sigmoid: alpha_s = sigma(e_s) / sum_r sigma(e_r), the smoothing of Chorowski et al. 2015
    """
    alignments = np.zeros_like(energies)
    for row in range(len(energies)):
        here = mask[row]
        if not here.any():
            continue
        e = energies[row, here]
        weight = sigmoid(e) if kind == "sigmoid" else np.exp(e - e.max())
        alignments[row, here] = weight / weight.sum()
    return alignments


def attended(alignments, memory):
    """c = sum_s alpha_s m_s."""
    return np.einsum("bs,bsm->bm", alignments, memory)


# Energies


def additive_energies(w, query, memory, features=0.0):
    """e_s = v^T tanh(q W + m_s U + f_s + b); with `g`, g v / |v| is in place of v.

    Bahdanau et al. 2015, arXiv:1409.0473, A.1.2: W is query_kernel (Q, A), U is memory_kernel (M, A), v is (A,).
    g (1,), after Salimans & Kingma 2016, and b (A,) are in Raffel et al. 2017, "Modified energy function".
    """
    v = w["v"]
    if "g" in w:
        v = w["g"] * v / np.sqrt((v**2).sum())
    query_part = query @ w["query_kernel"]
    hidden = np.tanh(query_part[:, None, :] + memory @ w["memory_kernel"] + features + w.get("bias", 0.0))
    return hidden @ v


def dot_energies(w, query, memory, scaled=False):
    """Luong et al. 2015, arXiv:1508.04025, section 3.1: dot e_s = q . m_s, general e_s = q . (m_s W).

    W is memory_kernel (M, Q), where it is there. `scaled` divides by sqrt(Q); `g` (1,) multiplies.
    """
    keys = memory @ w["memory_kernel"] if "memory_kernel" in w else memory
    energies = np.einsum("bq,bsq->bs", query, keys) * w.get("g", 1.0)
    return energies / np.sqrt(query.shape[-1]) if scaled else energies


def location_features(w, previous):
    """f_s = sum_k F_k alpha_{s + k - left}, then f_s L; zeros stand beyond both ends.

    Chorowski et al. 2015, arXiv:1506.07503. F is location_filters (K, 1, C), L is location_kernel (C, A). The
    window is centred: of K - 1 neighbours (K - 1) // 2 are on the left, so an even K looks one further to the right.
    """
    filters = w["location_filters"]
    B, S = previous.shape
    K, _, C = filters.shape
    left = (K - 1) // 2
    f = np.zeros((B, S, C))
    for s in range(S):
        for k in range(K):
            source = s + k - left
            if 0 <= source < S:
                f[:, s] += previous[:, source, None] * filters[k, 0]
    return f @ w["location_kernel"]


# Mechanisms


def additive(w, query, memory, mask=None, previous=None, kind="softmax"):
    energies = additive_energies(w, query, memory)
    alignments = normalized(energies, valid(memory, mask), kind)
    return attended(alignments, memory), alignments, energies


def dot(w, query, memory, mask=None, previous=None, *, scaled=False, kind="softmax"):
    energies = dot_energies(w, query, memory, scaled)
    alignments = normalized(energies, valid(memory, mask), kind)
    return attended(alignments, memory), alignments, energies


def location(w, query, memory, mask=None, previous=None, kind="softmax"):
    """e_s = v^T tanh(q W + m_s U + f_s L + b), f = F * previous (Chorowski et al. 2015).

    `previous` is alpha_{i-1} there, and sum_{j < i} alpha_j in Tacotron 2 (arXiv:1712.05884, section 2.2). The sum is
    zero at the first step. Of alpha_0 the first paper says nothing: here it is zero too, as no position has been read,
    and so the first step attends by content alone. (The authors' own program begins with all weight on position 0.)
    """
    if previous is None:
        previous = np.zeros(memory.shape[:2])
    energies = additive_energies(w, query, memory, location_features(w, previous))
    alignments = normalized(energies, valid(memory, mask), kind)
    return attended(alignments, memory), alignments, energies


def first_position(memory):
    """alpha_0 of monotonic attention: all weight on position 0, from where the reading starts."""
    start = np.zeros(memory.shape[:2])
    start[:, 0] = 1.0
    return start


def monotonic(w, query, memory, mask=None, previous=None, *, energy=additive_energies, hard=False, noise=0.0):
    """Raffel et al. 2017, arXiv:1704.00784. p_s = sigma(e_s + r), r is (1,); p_s = 0 where masked.

    soft ("Training in expectation"): alpha_s = p_s ((1 - p_{s-1}) alpha_{s-1} / p_{s-1} + alpha'_s), alpha' of the
        step before. Without the division: alpha_s = p_s q_s, q_s = (1 - p_{s-1}) q_{s-1} + alpha'_s. The rows of
        alpha may sum to less than 1, and are not normalized.
    hard (algorithm 1): from the position of the step before on, that one included, the first position with p_s >= 0.5
        is attended alone. If there is none, the context and the alignments are zero, and so are they ever after: the
        memory has been read to its end. It is the recurrence above with every p rounded.

    The noise is added to e + r; the paper draws it from a normal distribution in training.
    """
    energies = energy(w, query, memory)
    mask = valid(memory, mask)
    previous = first_position(memory) if previous is None else previous
    p = np.where(mask, sigmoid(energies + w["r"] + noise), 0.0)
    alignments = np.zeros_like(p)
    for row in range(len(p)):
        if hard:
            alignments[row] = first_chosen(p[row], previous[row])
        else:
            alignments[row] = expected_choice(p[row], previous[row])
    return attended(alignments, memory), alignments, energies


def expected_choice(p, previous):
    alignments = np.zeros_like(p)
    passed_on = 0.0  # (1 - p_{s-1}) q_{s-1}
    for s in range(len(p)):
        q = passed_on + previous[s]
        alignments[s] = p[s] * q
        passed_on = (1 - p[s]) * q
    return alignments


def first_chosen(p, previous):
    alignments = np.zeros_like(p)
    if previous.any():
        for s in range(int(previous.argmax()), len(p)):
            if p[s] >= 0.5:
                alignments[s] = 1.0
                break
    return alignments


def multi_head(w, query, memory, mask=None, previous=None, *, heads):
    """Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2, with one query; no bias.

    head_n = sum_s softmax_s(q W^Q_n . m_s W^K_n / sqrt(K)) m_s W^V_n,  context = [head_1; ...; head_N] W^O

    query_kernel (Q, N K), key_kernel (M, N K), value_kernel (M, N V), output_kernel (N V, M); the columns of a head
    are side by side. Alignments and energies are the means over the heads.
    """
    queries = in_heads(query @ w["query_kernel"], heads)
    keys = in_heads(memory @ w["key_kernel"], heads)
    values = in_heads(memory @ w["value_kernel"], heads)
    energies = np.einsum("bnk,bsnk->bns", queries, keys) / np.sqrt(queries.shape[-1])
    mask = valid(memory, mask)
    alignments = np.stack([normalized(energies[:, n], mask) for n in range(heads)], axis=1)
    read = np.einsum("bns,bsnv->bnv", alignments, values)
    return joined(read) @ w["output_kernel"], alignments.mean(axis=1), energies.mean(axis=1)


def pooling(w, memory, mask=None):
    """e_s = v^T tanh(m_s W + b), softmax, weighted sum: context and alignments. kernel (M, A), bias (A,), v (A,)."""
    energies = np.tanh(memory @ w["kernel"] + w.get("bias", 0.0)) @ w["v"]
    alignments = normalized(energies, valid(memory, mask))
    return attended(alignments, memory), alignments


# The cell


class Mechanism(NamedTuple):
    """A mechanism in a cell.

    Attributes:
        attend: (query, memory, mask, previous) -> context, alignments, energies.
        carries: what it hands to the next step: "nothing", "alignments", or "sum" of all alignments so far.
        start: alpha_0, or the sum before the first step: "zeros", or "first" for all weight on position 0.
    """

    attend: object
    carries: str = "nothing"
    start: str = "zeros"

    def first(self, memory):
        """What it carries into the first step, as a list of none or one."""
        if self.carries == "nothing":
            return []
        return [first_position(memory) if self.start == "first" else np.zeros(memory.shape[:2])]


def read_all(mechanisms, query, memories, masks, carried):
    """Contexts [c_1; c_2; ...], the alignments of each mechanism, and what those that carry something carry on."""
    contexts, alignments, carried_new = [], [], []
    carried = iter(carried)
    for mechanism, memory, mask in zip(mechanisms, memories, masks, strict=True):
        previous = None if mechanism.carries == "nothing" else next(carried)
        c, alpha, _ = mechanism.attend(query, memory, mask, previous)
        contexts.append(c)
        alignments.append(alpha)
        if mechanism.carries == "alignments":
            carried_new.append(alpha)
        elif mechanism.carries == "sum":
            carried_new.append(previous + alpha)
    return np.concatenate(contexts, axis=-1), alignments, carried_new


def attentional(w, c, h):
    """a = tanh([c; h] W_a), Luong et al. 2015, eq. 5; W_a is attention_kernel (M + H, A). The paper has no bias."""
    return np.tanh(np.concatenate([c, h], axis=-1) @ w["attention_kernel"] + w.get("attention_bias", 0.0))


def luong_step(w, cell, mechanisms, x, memories, masks, a, states, carried, *, input_feeding=True):
    """Luong et al. 2015, section 3: the new state asks.

    z_t = [x_t; a_{t-1}]  (input feeding, section 3.3; otherwise z_t = x_t)
    h_t = cell(z_t, h_{t-1}),  c_t = attention(h_t),  a_t = tanh([c_t; h_t] W_a)
    """
    z = np.concatenate([x, a], axis=-1) if input_feeding else x
    states_new = cell(z, *states)
    h_new = states_new[0]
    c, alignments, carried_new = read_all(mechanisms, h_new, memories, masks, carried)
    return attentional(w, c, h_new), states_new, carried_new, alignments


def bahdanau_step(w, cell, mechanisms, x, memories, masks, a, states, carried):
    """Bahdanau et al. 2015, section 3.1: the old state asks, and the context is input of the cell.

    c_t = attention(h_{t-1}),  h_t = cell([x_t; c_t], h_{t-1}),  a_t = tanh([c_t; h_t] W_a)
    """
    c, alignments, carried_new = read_all(mechanisms, states[0], memories, masks, carried)
    states_new = cell(np.concatenate([x, c], axis=-1), *states)
    return attentional(w, c, states_new[0]), states_new, carried_new, alignments


def walk(step, w, cell, mechanisms, x, memories, state, *, memory_masks=None, reset_state=None, **options):
    """A cell with attention over sequences x (B, T, D); its output is a.

    Args:
        step: `luong_step`, `bahdanau_step`, or a partial of them.
        w: the weights of `attentional`.
        cell: the inner cell's step (z, *states) -> states, the first of them h.
        mechanisms: list of `Mechanism`.
        memories: list of (B, S, M), one a mechanism.
        state: [a, inner states..., what the mechanisms that carry something carry...].
        memory_masks: list of (B, S) or None, one a mechanism.
        reset_state: what a and the inner states become where a document starts, a list of (S,); zeros by default.
            What is carried becomes what it is before the first step.
        options: those of `run`: mask, resets, go_backwards, deltas.

    Returns:
        Histories and final states like `run`, in the order of `state`; then the alignments of each mechanism at every
        step, a list of (B, T, S), and after the last, (B, S): at a masked step those of the step before, or zeros.
    """
    memory_masks = [None] * len(mechanisms) if memory_masks is None else memory_masks
    carrying = sum(m.carries != "nothing" for m in mechanisms)
    inner = len(state) - 1 - carrying
    if reset_state is None:
        reset_state = [np.zeros(s.shape[1:]) for s in state[: 1 + inner]]
    histories, finals = [], []
    for row in range(len(x)):
        this = slice(row, row + 1)
        memory = [m[this] for m in memories]
        mask = [None if m is None else m[this] for m in memory_masks]
        none = [np.zeros(m.shape[:2]) for m in memory]
        fresh = [s for mechanism, m in zip(mechanisms, memory, strict=True) for s in mechanism.first(m)]

        def one(x, *old, memory=memory, mask=mask, **more):
            a, *old = (s[None] for s in old)
            states, carried = old[:inner], old[inner : inner + carrying]
            new = step(w, partial(cell, **more), mechanisms, x[None], memory, mask, a, states, carried)
            a_new, states_new, carried_new, alignments = new
            return [s[0] for s in (a_new, *states_new, *carried_new, *alignments)]

        history, final = run(
            one,
            x[this],
            [*[s[this] for s in state], *none],
            reset_state=[*reset_state, *[s[0] for s in (*fresh, *none)]],
            **{name: o[this] if isinstance(o, np.ndarray) else o for name, o in options.items()},
        )
        histories.append(history)
        finals.append(final)
    history, final = ([np.concatenate(each) for each in zip(*rows, strict=True)] for rows in (histories, finals))
    count = len(state)
    return history[:count], final[:count], history[count:], final[count:]
