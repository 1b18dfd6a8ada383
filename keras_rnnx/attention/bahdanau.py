"""Additive attention (Bahdanau, Cho and Bengio, 2015)."""

import keras
from keras import ops

from keras_rnnx.arguments import positive
from keras_rnnx.attention.mechanism import Mechanism


@keras.saving.register_keras_serializable(package="keras_rnnx")
class BahdanauAttention(Mechanism):
    r"""Additive attention: the energy is a network of one hidden layer.

    $$ e_s = v^\top \tanh(q W_q + m_s W_m + b) \tag{1} $$

    With `normalized=True` (Salimans and Kingma, 2016) \(g\, v / \lVert v \rVert\) takes the place of v.

    Differs from the paper: it has no b, which is there with `use_bias=True`.

    Args:
        units: int > 0, A, the size of the hidden layer.
        normalized: bool, whether the length of v is a weight g of its own; starts at \(\sqrt{1/A}\).
        use_bias: bool, whether there is a b. Default: as `normalized`.
        normalizer: see `Mechanism`, as the rest.

    Weights: `query_kernel` (Q, A), `memory_kernel` (M, A), `v` (A,); `g` (1,); `bias` (A,).
    Cost: B S M A for a memory, once; B (Q A + S A) a step.

    Example:
        contexts = keras_rnnx.attention.BahdanauAttention(64)(queries, memory)

    Reference: D. Bahdanau, K. Cho and Y. Bengio, Neural machine translation by jointly learning to align and translate,
        ICLR 2015, arXiv:1409.0473. T. Salimans and D. P. Kingma, Weight normalization, NeurIPS 2016, arXiv:1602.07868.
    """

    def __init__(self, units, normalized=False, use_bias=None, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units)
        self.normalized = bool(normalized)
        self.use_bias = self.normalized if use_bias is None else bool(use_bias)

    def build_weights(self, query_size, memory_size):
        """See `Mechanism`."""
        self.add_matrix("query", query_size, self.units)
        self.add_matrix("memory", memory_size, self.units)
        self.add_vector("v", (self.units,), "glorot_uniform")
        if self.normalized:
            self.add_vector("g", (1,), keras.initializers.Constant(self.units**-0.5))
        if self.use_bias:
            self.add_vector("bias", (self.units,), "zeros")

    def energies(self, look):
        """Equation (1)."""
        return self.energies_of(self.hidden(look), look)

    def hidden(self, look):
        """The sum inside tanh, (B, T, S, A)."""
        hidden = look.query[:, :, None] + look.memory["keys"][:, None]
        return hidden + look.vectors["bias"] if self.use_bias else hidden

    def energies_of(self, hidden, look):
        """v^T tanh(...)."""
        v = look.vectors["v"]
        if self.normalized:
            v = look.vectors["g"] * v / ops.sqrt(ops.sum(ops.square(v)))
        return ops.sum(v * ops.tanh(hidden), axis=-1)
