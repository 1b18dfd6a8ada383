r"""Matrix memories, chunk by chunk: nearly all work is done for all chunks at once, then a light loop joins them.

`engine.stepwise` walks some of them step by step instead, where there is a kernel for it.

The memory S (B, n, K, V) of n heads holds values v (V) under keys k (K):

$$ S_t = \alpha_t S_{t-1} + k_t w_t^\top, \qquad y_t = S_t^\top q_t , $$

with a decay \(\alpha_t\), a number or a vector (K), and the written value \(w_t = v_t\), or by the delta rule what the
key does not hold yet, \(w_t = \beta_t (v_t - \alpha_t S_{t-1}^\top k_t)\). Within a chunk that starts from S, with
\(G_t = \sum_{s \le t} \log \alpha_s\),

$$ y_t = e^{G_t} S^\top q_t + \sum_{s \le t} e^{G_t - G_s} (k_s \cdot q_t)\, w_s , \qquad
   S' = e^{G_L} S + \sum_s e^{G_L - G_s} k_s w_s^\top . $$

A memory does this in three parts: `write`, for all chunks at once, what does not wait for S; `carry`, chunk after
chunk, from S to S'; `read`, for all chunks at once, y from the S before each. The delta rule's w solve a triangular
system, whose solution is linear in S: \(w = u - W S\), with u and W from `write`. No exponent is positive where
\(\alpha \le 1\). Arrays are (N, B, n, L, ...) for N chunks of L steps.
"""

from keras import ops

from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.pieces import in_pieces, merged, padded

LOWEST = -1e30  # stands for a logarithm of zero: its exponential is zero, its differences are numbers


def in_chunks(a, size):
    """(T, B, heads, ...) as (T / size, B, heads, size, ...)."""
    a = in_pieces(padded(a, size), size)
    return ops.transpose(a, (0, 2, 3, 1, *range(4, len(a.shape))))


def in_time(a, steps):
    """The inverse of `in_chunks`."""
    a = ops.transpose(a, (0, 3, 1, 2, *range(4, len(a.shape))))
    return merged(a)[:steps]


def product(left, right, transpose=()):
    """A product of the last two axes, in the dtype of the left side; `transpose` names sides, "left" or "right"."""
    left = ops.swapaxes(left, -1, -2) if "left" in transpose else left
    right = ops.swapaxes(right, -1, -2) if "right" in transpose else right
    return backend.matmul(left, right, left.dtype)


def sums(a, axis):
    """The sums up to each step; a product, which keeps the dtype (Keras' cumsum leaves float64 on torch)."""
    step = ops.arange(ops.shape(a)[axis])
    upto = ops.cast(step[:, None] >= step[None, :], a.dtype)
    return product(a, upto, "right") if axis == -1 else product(upto, a)


class Chunks:
    """Which steps of a chunk see which: earlier ones of the same document, or the state from before the chunk.

    Args:
        documents: (N, B, L) integers, how many documents have begun in the chunk up to each step.
    """

    def __init__(self, documents):
        step = ops.arange(ops.shape(documents)[-1])
        here, there = documents[..., None, :, None], documents[..., None, None, :]
        earlier = step[:, None] >= step[None, :]
        self.sees = ops.logical_and(here == there, earlier)  # (N, B, 1, L, L)
        self.first = (documents == 0)[..., None, :, None]  # (N, B, 1, L, 1)
        self.last = (documents == documents[..., -1:])[..., None, :, None]
        before = ops.concatenate([ops.zeros_like(documents[..., :1]), documents[..., :-1]], axis=-1)
        self.begins = (documents > before)[..., None, :]  # (N, B, 1, L)

    def decays(self, total):
        """exp(G_t - G_s) where step t sees step s, else 0, for totals (N, B, n, L); (N, B, n, L, L)."""
        return self.exponential(total[..., :, None] - total[..., None, :])

    def exponential(self, exponent):
        """exp of (N, B, n, L, L) where a step sees another, else 0."""
        exponent = ops.where(self.sees, exponent, ops.zeros_like(exponent))
        return ops.where(self.sees, ops.exp(exponent), ops.zeros_like(exponent))

    def from_before(self, total):
        """exp(G_t) where step t sees the state from before the chunk, else 0, for totals (N, B, n, L, 1 or K)."""
        return ops.where(self.first, ops.exp(total), ops.zeros_like(total))

    def to_end(self, total):
        """exp(G_L - G_s) where the end of the chunk still sees step s, else 0."""
        rest = total[..., -1:, :] - total
        rest = ops.where(self.last, rest, ops.zeros_like(rest))
        return ops.where(self.last, ops.exp(rest), ops.zeros_like(rest))


class ScalarDecay:
    """A memory whose decay is one number a head and step.

    Parts: `q`, `k` (N, B, n, L, K), `v` (N, B, n, L, V), zero at masked steps, `log_decay` (N, B, n, L), zero at masked
    steps. State: S (B, n, K, V).
    """

    @staticmethod
    def shown(memory, size):
        """Arrays of the shapes of what `carry` shows `read`, for chunks of a size."""
        del size
        return [memory]

    @staticmethod
    def write(chunks, parts):
        """What `carry` and `read` need, for all chunks at once: arrays by name."""
        total = sums(parts["log_decay"], -1)
        before = chunks.from_before(total[..., None])
        stored = product(parts["k"] * chunks.to_end(total[..., None]), parts["v"], "left")
        return {"total": total, "before": before, "stored": stored}

    @staticmethod
    def carry(written, memory):
        """What `read` sees of the state before a chunk, and the state after it."""
        return [memory], [written["before"][..., -1:, :] * memory + written["stored"]]

    @staticmethod
    def read(chunks, parts, written, memory):
        """y (N, B, n, L, V) from the memories before all chunks (N, B, n, K, V)."""
        scores = product(parts["q"], parts["k"], "right") * chunks.decays(written["total"])
        return product(scores, parts["v"]) + written["before"] * product(parts["q"], memory)


class DeltaRule(ScalarDecay):
    """A memory with a decay of one number that a value is written to by the delta rule.

    Parts: those of `ScalarDecay`, where v may be anything at masked steps, and `beta` (N, B, n, L), zero there.
    """

    @staticmethod
    def write(chunks, parts):
        """The total decays and the solution of the triangular system, as u and W."""
        k, beta, total = parts["k"], parts["beta"][..., None], sums(parts["log_decay"], -1)
        decays, before = chunks.decays(total), chunks.from_before(total[..., None])
        held = product(k, k, "right") * decays * beta
        right = ops.concatenate([beta * parts["v"], beta * before * k], axis=-1)
        solved, width = _solved(held, right), parts["v"].shape[-1]
        keys = k * chunks.to_end(total[..., None])
        return {"total": total, "before": before, "u": solved[..., :width], "W": solved[..., width:], "keys": keys}

    @staticmethod
    def carry(written, memory):
        """See `ScalarDecay`."""
        w = written["u"] - product(written["W"], memory)
        return [memory], [written["before"][..., -1:, :] * memory + product(written["keys"], w, "left")]

    @staticmethod
    def read(chunks, parts, written, memory):
        """See `ScalarDecay`."""
        w = written["u"] - product(written["W"], memory)
        return ScalarDecay.read(chunks, {**parts, "v": w}, written, memory)


class VectorDecay(ScalarDecay):
    """A memory whose decay is a vector over the keys: `log_decay` (N, B, n, L, K); the rest as in `ScalarDecay`."""

    @staticmethod
    def shown(memory, size):
        """The memory and the scores of a chunk."""
        return [memory, ops.zeros((*ops.shape(memory)[:2], size, size), memory.dtype)]

    @staticmethod
    def write(chunks, parts):
        """See `ScalarDecay`; what a chunk's steps see of each other is left to `carry`, one chunk at a time."""
        total = sums(parts["log_decay"], -2)
        sees = ops.cast(chunks.sees, total.dtype) + ops.zeros_like(total[:, :, :1, :1, :1])
        written = {"total": total, "before": chunks.from_before(total), "sees": sees}
        written["stored"] = product(parts["k"] * chunks.to_end(total), parts["v"], "left")
        return {**written, "q": parts["q"], "k": parts["k"]}

    @staticmethod
    def carry(written, memory):
        """The scores of a chunk take (L, L, K) numbers a head, too many to hold for all chunks at once."""
        total, q, k, sees = written["total"], written["q"], written["k"], written["sees"][..., None] > 0
        exponent = total[..., :, None, :] - total[..., None, :, :]
        exponent = ops.where(sees, exponent, ops.zeros_like(exponent))
        decays = ops.where(sees, ops.exp(exponent), ops.zeros_like(exponent))
        scores = ops.sum(q[..., :, None, :] * k[..., None, :, :] * decays, axis=-1)
        last = ops.swapaxes(written["before"][..., -1:, :], -1, -2)
        return [memory, scores], [last * memory + written["stored"]]

    @staticmethod
    def read(chunks, parts, written, memory, scores):
        """See `ScalarDecay`."""
        del chunks
        return product(scores, parts["v"]) + product(parts["q"] * written["before"], memory)


class ExponentialGates:
    r"""A memory whose values are written with the weight \(e^{\tilde i}\), and read divided by a normalizer.

    With the decay f and the memory C, the normalizer n (K) and what is read are

    $$ C_t = f_t C_{t-1} + e^{\tilde i_t} k_t v_t^\top, \qquad n_t = f_t n_{t-1} + e^{\tilde i_t} k_t, \qquad
       y_t = \frac{C_t^\top q_t}{\max(|n_t^\top q_t|, 1)} . $$

    C and n are kept divided by \(e^{m_t}\), \(m_t = \max(\log f_t + m_{t-1}, \tilde i_t, 0)\), which cancels in y. The
    0 keeps a memory that holds little, or nothing, at its own scale.

    Parts: `q`, `k`, `v`, `log_decay` as in `ScalarDecay`; `log_input` (N, B, n, L), i~; `writes` (N, B, n, L), above
    zero at valid steps, zero at masked ones. States: C (B, n, K, V) and n (B, n, K), divided by exp(m), and m (B, n).
    """

    @staticmethod
    def shown(memory, normalizer, stabilizer, size):
        """C, n and m."""
        del size
        return [memory, normalizer, stabilizer]

    @staticmethod
    def write(chunks, parts):
        """What the chunk adds to C and n, divided by e to the highest exponent among its own, and that exponent."""
        total, writes = sums(parts["log_decay"], -1), parts["writes"] > 0
        log_input = ops.where(writes, parts["log_input"], ops.full_like(total, LOWEST))
        least = ops.where(ops.logical_and(writes, log_input < 0), ops.zeros_like(total), log_input)
        # A document that begins within the chunk starts from m = 0.
        begins = ops.logical_and(chunks.begins, parts["log_decay"] > least)
        least = ops.where(begins, parts["log_decay"], least)
        rest = total[..., :, None] - total[..., None, :]
        seen = ops.where(chunks.sees, rest + least[..., None, :], ops.full_like(rest, LOWEST))
        highest = ops.amax(seen, axis=-1)
        end = rest[..., -1, :] + log_input - highest[..., -1:]
        end = ops.where(chunks.last[..., 0], end, ops.full_like(end, LOWEST))
        keys = parts["k"] * ops.exp(end)[..., None]
        return {
            "log_input": log_input,
            "before": ops.where(chunks.first[..., 0], total, ops.full_like(total, LOWEST)),
            "highest": highest,
            "stored": product(keys, parts["v"], "left"),
            "keys": ops.sum(keys, axis=-2),
        }

    @staticmethod
    def carry(written, memory, normalizer, stabilizer):
        """See `ScalarDecay`."""
        before, own = written["before"][..., -1] + stabilizer, written["highest"][..., -1]
        m = ops.where(before > own, before, own)
        kept, added = ops.exp(before - m), ops.exp(own - m)
        memory_new = kept[..., None, None] * memory + added[..., None, None] * written["stored"]
        normalizer_new = kept[..., None] * normalizer + added[..., None] * written["keys"]
        return [memory, normalizer, stabilizer], [memory_new, normalizer_new, m]

    @staticmethod
    def read(chunks, parts, written, memory, normalizer, stabilizer):
        """See `ScalarDecay`."""
        total, q, writes = sums(parts["log_decay"], -1), parts["q"], parts["writes"] > 0
        before = written["before"] + stabilizer[..., None]
        m = ops.where(before > written["highest"], before, written["highest"])
        rest = total[..., :, None] - total[..., None, :]
        scores = product(q, parts["k"], "right")
        scores = scores * chunks.exponential(rest + written["log_input"][..., None, :] - m[..., None])
        kept = ops.exp(before - m)[..., None]
        read = product(scores, parts["v"]) + kept * product(q, memory)
        held = ops.sum(scores, axis=-1, keepdims=True) + kept * product(q, normalizer[..., None])
        size, one = ops.abs(held), ops.exp(-m)[..., None]
        size = ops.where(size > one, size, one)
        # At masked steps q is zero and exp(-m) may be, too, or its square, which the gradient divides by.
        size = ops.where(ops.logical_and(writes[..., None], size > 0), size, ops.ones_like(size))
        return read / size


def _solved(held, right):
    """x with x_t + sum_{s<t} held_ts x_s = right_t, for held (..., L, L) and right (..., L, M)."""

    def pull(args, dx):
        inverse = _inverse(args["held"])
        dright = product(inverse, dx, "left")
        return {"held": -product(dright, product(inverse, args["right"]), "right"), "right": dright}

    solve = backend.local_vjp(lambda args: product(_inverse(args["held"]), args["right"]), pull)
    return solve({"held": ops.where(_below(held), held, ops.zeros_like(held)), "right": right})


def _below(a):
    step = ops.arange(ops.shape(a)[-1])
    return step[:, None] > step[None, :]


def _inverse(below):
    r"""The inverse of 1 + A for A below the diagonal, in products alone, by halves.

    A diagonal block of 1 + A has the inverse \([[X_1, 0], [-X_2 A_{21} X_1, X_2]]\), where X_1 and X_2 are those of
    its halves. As stable as forward substitution, unlike powers of A.
    """
    length = below.shape[-1]
    whole = 1 << (length - 1).bit_length()
    below = ops.pad(below, [(0, 0)] * (len(below.shape) - 2) + [(0, whole - length)] * 2) if whole > length else below
    shape, below = ops.shape(below), ops.reshape(below, (-1, whole, whole))  # few axes: converters allow five
    found, size = ops.ones_like(below)[..., :1, None], 1
    while size < whole:
        pairs = whole // (2 * size)
        own = ops.eye(pairs, dtype=below.dtype)[:, None, :, None]
        lower = ops.reshape(below, (-1, pairs, 2 * size, whole))[:, :, size:]
        lower_left = ops.reshape(lower, (-1, pairs, size, pairs, 2 * size))[..., :size]
        halves = ops.reshape(found, (-1, pairs, 2, size, size))
        first, second = halves[:, :, 0], halves[:, :, 1]
        corner = -product(second, product(ops.sum(lower_left * own, axis=3), first))
        above = ops.concatenate([first, ops.zeros_like(first)], axis=-1)
        found = ops.concatenate([above, ops.concatenate([corner, second], axis=-1)], axis=-2)
        size *= 2
    return ops.reshape(found, shape)[..., :length, :length]
