"""Multiplicative attention (Luong, Pham and Manning, 2015)."""

import keras
from keras import ops

from keras_rnnx.arguments import choice
from keras_rnnx.attention.mechanism import Mechanism
from keras_rnnx.engine.backends import backend

SCORES = ("dot", "general")


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LuongAttention(Mechanism):
    r"""Multiplicative attention: the energy is a product of query and memory.

    $$ e_s = q^\top m_s \quad \texttt{"dot"}, \qquad e_s = q^\top (m_s W) \quad \texttt{"general"} \tag{1} $$

    With `scale="learned"` the energies are multiplied by a weight g that starts at 1; with `scale="fixed"` by
    \(1/\sqrt{Q}\) (Vaswani et al., 2017).

    Differs from the paper: in nothing; its third score, `concat`, is `BahdanauAttention`. The scales are not in it.

    Args:
        score: `"general"` or `"dot"`, for which M = Q.
        scale: None, `"learned"` or `"fixed"`.
        normalizer: see `Mechanism`, as the rest.

    Weights: `memory_kernel` (M, Q) of `"general"`; `g` (1,) of `scale="learned"`.
    Cost: B S M Q for a memory, once; B S Q a step.
    Raises:
        ValueError: if M is not Q with `score="dot"`.

    Example:
        contexts = keras_rnnx.attention.LuongAttention()(queries, memory)

    Reference: M.-T. Luong, H. Pham and C. D. Manning, Effective approaches to attention-based neural machine
        translation, EMNLP 2015, arXiv:1508.04025. A. Vaswani et al., Attention is all you need, NeurIPS 2017,
        arXiv:1706.03762.
    """

    IN_LOOP = ()

    def __init__(self, score="general", scale=None, **kwargs):
        super().__init__(**kwargs)
        self.score = choice("score", score, SCORES)
        self.scale = choice("scale", scale, (None, "learned", "fixed"))

    def build_weights(self, query_size, memory_size):
        """See `Mechanism`."""
        if self.score == "general":
            self.add_matrix("memory", memory_size, query_size)
        elif query_size != memory_size:
            raise ValueError(
                f'Expected a memory as wide as the query with score="dot". Received: {memory_size} and {query_size}'
            )
        if self.scale == "learned":
            self.add_vector("g", (1,), "ones")

    def energies(self, look):
        """Equation (1)."""
        keys = look.memory["keys"]
        energies = backend.matmul(look.query, ops.swapaxes(keys, 1, 2), look.query.dtype)
        if self.scale == "learned":
            return look.vectors["g"] * energies
        return energies * keys.shape[-1] ** -0.5 if self.scale == "fixed" else energies
