"""Attention of several heads (Vaswani et al., 2017)."""

import keras
from keras import ops

from keras_rnnx.arguments import positive
from keras_rnnx.attention.mechanism import Mechanism
from keras_rnnx.engine.backends import backend


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MultiHeadAttention(Mechanism):
    r"""Scaled dot products in N heads, each with its own view of query and memory.

    $$ e^{(n)}_s = \frac{(q W_q^{(n)})^\top (m_s W_k^{(n)})}{\sqrt{K}} \tag{1} $$
    $$ c = \big[\textstyle\sum_s \alpha^{(1)}_s\, m_s W_v^{(1)}; \dots; \sum_s \alpha^{(N)}_s\, m_s W_v^{(N)}\big] W_o
       \tag{2} $$

    The alignments that are returned are the mean over the heads.

    Differs from the paper: in nothing. `keras.layers.MultiHeadAttention` cannot be stepped in an `AttentionCell`.

    Args:
        heads: int > 0, N.
        key_dim: int > 0, K, the size of query and key in each head.
        value_dim: int > 0, the size of a value in each head. Default K.
        output_dim: int > 0, the size of a context. Default M.
        normalizer: see `Mechanism`, as the rest.

    Weights: `query_kernel` (Q, N K), `key_kernel` (M, N K), `value_kernel` (M, N V), `output_kernel` (N V, M).
    Cost: B S M N (K + V) for a memory, once; B N (Q K + S (K + V) + V M) a step.

    Reference: A. Vaswani et al., Attention is all you need, NeurIPS 2017, arXiv:1706.03762.
    """

    IN_LOOP = ("query", "output")

    def __init__(self, heads, key_dim, value_dim=None, output_dim=None, **kwargs):
        super().__init__(**kwargs)
        self.heads = positive("heads", heads)
        self.key_dim = positive("key_dim", key_dim)
        self.value_dim = positive("value_dim", key_dim if value_dim is None else value_dim)
        self.output_dim = None if output_dim is None else positive("output_dim", output_dim)

    @property
    def context_size(self):
        """See `Mechanism`."""
        return self.output_dim or self.memory_size

    def build_weights(self, query_size, memory_size):
        """See `Mechanism`."""
        self.add_matrix("query", query_size, self.heads * self.key_dim)
        self.add_matrix("key", memory_size, self.heads * self.key_dim)
        self.add_matrix("value", memory_size, self.heads * self.value_dim)
        self.add_matrix("output", self.heads * self.value_dim, self.context_size)

    def keys_and_values(self, memory):
        """Keys (B, N, S, K) and values (B, S, N V)."""
        keys = self._in_heads(self.of_memory("key", memory), self.key_dim)
        return {"keys": keys, "values": self.of_memory("value", memory)}

    def energies(self, look):
        """Equation (1), with the heads among the steps: (B, N T, S)."""
        query = self._in_heads(look.query, self.key_dim)
        energies = backend.matmul(query, ops.swapaxes(look.memory["keys"], 2, 3), query.dtype) * self.key_dim**-0.5
        return ops.reshape(energies, (ops.shape(energies)[0], -1, ops.shape(energies)[3]))

    def contexts(self, alignments, look, multiply):
        """Equation (2), and the mean of the alignments."""
        batch, _, steps = ops.shape(alignments)
        alignments = ops.reshape(alignments, (batch, self.heads, -1, steps))
        values = self._in_heads(look.memory["values"], self.value_dim)
        made = ops.swapaxes(backend.matmul(alignments, values, values.dtype), 1, 2)
        made = ops.reshape(made, (batch, -1, self.heads * self.value_dim))
        return multiply("output", made), ops.sum(alignments, axis=1) / self.heads

    def _in_heads(self, a, size):
        batch, steps = ops.shape(a)[:2]
        return ops.swapaxes(ops.reshape(a, (batch, steps, self.heads, size)), 1, 2)
