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


def product(left, right, transpose=()):
    """A product of the last two axes, in the dtype of the left side; `transpose` names sides, "left" or "right"."""
    left = ops.swapaxes(left, -1, -2) if "left" in transpose else left
    right = ops.swapaxes(right, -1, -2) if "right" in transpose else right
    return backend.matmul(left, right, left.dtype)


def sums(a, axis):
    """The sums up to each step; a product, which keeps the dtype (Keras' cumsum leaves float64 on torch)."""
    count = ops.arange(a.shape[axis])
    upto = ops.cast(count[:, None] >= count[None, :], a.dtype)
    return product(a, upto, "right") if axis == -1 else product(upto, a)


class Chunk:
    """Which steps of a chunk see which: earlier ones of the same document, or the state from before the chunk.

    Args:
        documents: (B, L) integers, how many documents have begun in the chunk up to each step.
    """

    def __init__(self, documents):
        count = documents.shape[-1]
        here, there = documents[:, None, :, None], documents[:, None, None, :]
        earlier = ops.arange(count)[:, None] >= ops.arange(count)[None, :]
        self.sees = ops.logical_and(here == there, earlier)  # (B, 1, L, L)
        self.first = (documents == 0)[:, None, :, None]  # (B, 1, L, 1)
        self.last = (documents == documents[:, -1:])[:, None, :, None]

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


def _solved(held, right):
    """x with x_t + sum_{s<t} held_ts x_s = right_t."""
    count = held.shape[-1]
    below = ops.arange(count)[:, None] > ops.arange(count)[None, :]
    unit = ops.where(below, held, ops.zeros_like(held)) + ops.eye(count, dtype=held.dtype)
    return ops.solve_triangular(unit, right, lower=True)
