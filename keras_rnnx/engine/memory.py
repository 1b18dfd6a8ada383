r"""A chunk of a matrix memory: what several steps of it write, read and leave behind, in a few products.

The memory S (B, n, K, V) of n heads holds values v (V) under keys k (K):

$$ S_t = \alpha_t S_{t-1} + k_t w_t^\top, \qquad y_t = S_t^\top q_t , $$

with a decay \(\alpha_t\), a number or a vector (K), and the written value \(w_t = v_t\), or by the delta rule what the
key does not hold yet, \(w_t = \beta_t (v_t - \alpha_t S_{t-1}^\top k_t)\). Within a chunk that starts from S, with
\(G_t = \sum_{s \le t} \log \alpha_s\),

$$ y_t = e^{G_t} S^\top q_t + \sum_{s \le t} e^{G_t - G_s} (k_s \cdot q_t)\, w_s , $$

so that all steps are read at once. The delta rule's w solve a triangular system. No exponent is positive where
\(\alpha \le 1\). Arrays are (B, n, L, ...) for a chunk of L steps.
"""

from keras import ops

from keras_rnnx.engine.backends import backend

LOWEST = -1e30  # stands for a logarithm of zero: its exponential is zero, its differences are numbers


def product(left, right, transpose=()):
    """A product of the last two axes, in the dtype of the left side; `transpose` names sides, "left" or "right"."""
    left = ops.swapaxes(left, -1, -2) if "left" in transpose else left
    right = ops.swapaxes(right, -1, -2) if "right" in transpose else right
    return backend.matmul(left, right, left.dtype)


def sums(a, axis):
    """The sums up to each step; a product, which keeps the dtype (Keras' cumsum leaves float64 on torch)."""
    step = ops.arange(ops.shape(a)[axis])
    upto = ops.cast(step[:, None] >= step[None, :], a.dtype)
    return product(upto, a[..., None])[..., 0] if axis == -1 else product(upto, a)


class Chunk:
    """Which steps of a chunk see which: earlier ones of the same document, or the state from before the chunk.

    Args:
        documents: (B, L) integers, how many documents have begun in the chunk up to each step.
    """

    def __init__(self, documents):
        step = ops.arange(ops.shape(documents)[-1])
        here, there = documents[:, None, :, None], documents[:, None, None, :]
        earlier = step[:, None] >= step[None, :]
        self.sees = ops.logical_and(here == there, earlier)  # (B, 1, L, L)
        self.first = (documents == 0)[:, None, :, None]  # (B, 1, L, 1)
        self.last = (documents == documents[:, -1:])[:, None, :, None]
        before = ops.concatenate([ops.zeros_like(documents[:, :1]), documents[:, :-1]], axis=-1)
        self.begins = (documents > before)[:, None]  # (B, 1, L)

    def decays(self, total):
        """exp(G_t - G_s) where step t sees step s, else 0, for totals (B, n, L); (B, n, L, L)."""
        return self.exponential(total[..., :, None] - total[..., None, :])

    def exponential(self, exponent):
        """exp of (B, n, L, L) where a step sees another, else 0."""
        exponent = ops.where(self.sees, exponent, ops.zeros_like(exponent))
        return ops.where(self.sees, ops.exp(exponent), ops.zeros_like(exponent))

    def from_before(self, total):
        """exp(G_t) where step t sees the state from before the chunk, else 0, for totals (B, n, L, 1 or K)."""
        return ops.where(self.first, ops.exp(total), ops.zeros_like(total))

    def to_end(self, total):
        """exp(G_L - G_s) where the end of the chunk still sees step s, else 0."""
        rest = total[..., -1:, :] - total
        rest = ops.where(self.last, rest, ops.zeros_like(rest))
        return ops.where(self.last, ops.exp(rest), ops.zeros_like(rest))


def scalar_decay(chunk, memory, q, k, v, log_decay, beta=None):
    """A chunk whose decay is one number a head and step.

    Args:
        chunk: `Chunk`.
        memory: (B, n, K, V).
        q, k: (B, n, L, K).
        v: (B, n, L, V).
        log_decay: (B, n, L), zero at masked steps.
        beta: (B, n, L), zero at masked steps, for the delta rule; or None, v being zero at masked steps.

    Returns:
        y (B, n, L, V) and the memory after the chunk.
    """
    total = sums(log_decay, -1)
    decays, before = chunk.decays(total), chunk.from_before(total[..., None])
    written = v
    if beta is not None:
        held = product(k, k, "right") * decays * beta[..., None]
        known = v - before * product(k, memory)
        written = _solved(held, beta[..., None] * known)
    y = product(product(q, k, "right") * decays, written) + before * product(q, memory)
    kept = before[..., -1:, :] * memory + product(k * chunk.to_end(total[..., None]), written, "left")
    return y, kept


def vector_decay(chunk, memory, q, k, v, log_decay):
    """A chunk whose decay is a vector over the keys: log_decay (B, n, L, K); the rest as in `scalar_decay`."""
    total = sums(log_decay, -2)
    exponent = total[..., :, None, :] - total[..., None, :, :]
    sees = chunk.sees[..., None]
    exponent = ops.where(sees, exponent, ops.zeros_like(exponent))
    decays = ops.where(sees, ops.exp(exponent), ops.zeros_like(exponent))
    scores = ops.sum(q[..., :, None, :] * k[..., None, :, :] * decays, axis=-1)
    before = chunk.from_before(total)
    y = product(scores, v) + product(q * before, memory)
    last = ops.swapaxes(before[..., -1:, :], -1, -2)
    return y, last * memory + product(k * chunk.to_end(total), v, "left")


def exponential_gates(chunk, memory, normalizer, stabilizer, q, k, v, log_decay, log_input, writes):
    r"""A chunk whose values are written with the weight \(e^{\tilde i}\), and read divided by a normalizer.

    With the decay f and the memory C, the normalizer n (K) and what is read are

    $$ C_t = f_t C_{t-1} + e^{\tilde i_t} k_t v_t^\top, \qquad n_t = f_t n_{t-1} + e^{\tilde i_t} k_t, \qquad
       y_t = \frac{C_t^\top q_t}{\max(|n_t^\top q_t|, 1)} . $$

    C and n are kept divided by \(e^{m_t}\), \(m_t = \max(\log f_t + m_{t-1}, \tilde i_t, 0)\), which cancels in y. The
    0 keeps a memory that holds little, or nothing, at its own scale.

    Args:
        chunk: `Chunk`.
        memory: (B, n, K, V), C divided by exp(m).
        normalizer: (B, n, K), n divided by exp(m).
        stabilizer: (B, n), m.
        q, k: (B, n, L, K).
        v: (B, n, L, V).
        log_decay: (B, n, L), log f, zero at masked steps.
        log_input: (B, n, L), i~.
        writes: (B, n, L), above zero at valid steps, zero at masked ones.

    Returns:
        y (B, n, L, V), and memory, normalizer and stabilizer after the chunk.
    """
    total, none = sums(log_decay, -1), ops.full_like(log_input, LOWEST)
    log_input = ops.where(writes > 0, log_input, none)
    least = ops.where(ops.logical_and(writes > 0, log_input < 0), ops.zeros_like(none), log_input)
    # A document that begins within the chunk starts from m = 0.
    least = ops.where(ops.logical_and(chunk.begins, log_decay > least), log_decay, least)
    rest = total[..., :, None] - total[..., None, :]
    seen = ops.where(chunk.sees, rest + least[..., None, :], ops.full_like(rest, LOWEST))
    before = ops.where(chunk.first[..., 0], total + stabilizer[..., None], none)
    highest = ops.max(seen, axis=-1)
    m = ops.where(before > highest, before, highest)
    weights = chunk.exponential(rest + log_input[..., None, :] - m[..., None])
    before = chunk.from_before((before - m)[..., None])
    scores = product(q, k, "right") * weights
    read = product(scores, v) + before * product(q, memory)
    held = ops.sum(scores, axis=-1, keepdims=True) + before * product(q, normalizer[..., None])
    size, one = ops.abs(held), ops.exp(-m)[..., None]
    size = ops.where(size > one, size, one)
    # At masked steps q is zero and exp(-m) may be, too, or its square, which the gradient divides by.
    size = ops.where(ops.logical_and(writes[..., None] > 0, size > 0), size, ops.ones_like(size))
    written = k * weights[..., -1, :, None]
    last = before[..., -1:, :]
    memory = last * memory + product(written, v, "left")
    normalizer = last[..., 0] * normalizer + ops.sum(written, axis=-2)
    return read / size, memory, normalizer, m[..., -1]


def _solved(held, right):
    """x with x_t + sum_{s<t} held_ts x_s = right_t."""
    step = ops.arange(ops.shape(held)[-1])
    here, there = step[:, None], step[None, :]
    unit = ops.where(here > there, held, ops.cast(here == there, held.dtype))
    return ops.solve_triangular(unit, right, lower=True)
