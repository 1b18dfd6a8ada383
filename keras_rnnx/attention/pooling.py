"""A sequence as one vector, by attention."""

import keras
from keras import ops

from keras_rnnx.arguments import positive
from keras_rnnx.attention.mechanism import normalized
from keras_rnnx.engine import masks, products
from keras_rnnx.engine.backends import backend


@keras.saving.register_keras_serializable(package="keras_rnnx")
class AttentionPooling(keras.layers.Layer):
    r"""The mean of a sequence, weighted by what each step is worth.

    $$ e_t = v^\top \tanh(x_t W + b), \qquad \alpha = \text{softmax}(e), \qquad y = \sum_t \alpha_t x_t \tag{1} $$

    Masked steps get no weight; a row in which all are masked gives 0.

    Differs from the paper: in nothing; the paper has it over words, and again over sentences.

    Args:
        units: int > 0, A, the size of the hidden layer. Default: D.

    Call:
        sequences: (B, T, D).
        mask: (B, T) booleans, in any pattern.
        return_alignments: bool.

    Returns:
        (B, D), with `return_alignments` followed by the alignments (B, T).

    Weights: `kernel` (D, A), `bias` (A,), `v` (A,).
    Cost: B T D A.

    Example:
        y = keras_rnnx.attention.AttentionPooling()(keras_rnnx.GRU(32, return_sequences=True)(x))

    Reference: Z. Yang, D. Yang, C. Dyer, X. He, A. Smola and E. Hovy, Hierarchical attention networks for document
        classification, NAACL 2016.
    """

    def __init__(self, units=None, **kwargs):
        super().__init__(**kwargs)
        self.units = None if units is None else positive("units", units)
        self.supports_masking = True

    def build(self, input_shape):
        """Makes the weights."""
        if len(input_shape) != 3 or input_shape[-1] is None:
            raise ValueError(f"Expected sequences of shape (batch, time, features). Received: shape {input_shape}")
        units = self.units or input_shape[-1]
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], units), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(units,), initializer="zeros")
        self.v = self.add_weight(name="v", shape=(units,), initializer="glorot_uniform")

    def call(self, sequences, mask=None, return_alignments=False):
        """See the class."""
        mask = masks.checked("mask", mask, tuple(sequences.shape))
        if mask is not None:
            sequences = masks.quiet(sequences, mask)
        hidden = products.apply({"kernel": ops.cast(self.kernel, sequences.dtype)}, sequences, sequences.dtype)
        energies = ops.sum(self.v * ops.tanh(hidden + self.bias), axis=-1)
        alignments = normalized(energies[:, None], mask)
        pooled = backend.matmul(alignments, sequences, sequences.dtype)[:, 0]
        return (pooled, alignments[:, 0]) if return_alignments else pooled

    def compute_mask(self, sequences, mask=None):
        """None: there is no time left."""
        return None

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), "units": self.units}
