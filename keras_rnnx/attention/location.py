"""Location-sensitive attention (Chorowski et al., 2015)."""

import keras

from keras_rnnx.arguments import positive
from keras_rnnx.attention.bahdanau import BahdanauAttention
from keras_rnnx.engine import products


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LocationAttention(BahdanauAttention):
    r"""Additive attention that also reads where it looked one step before.

    $$ f = F * \alpha_{t-1} \tag{1} $$
    $$ e_s = v^\top \tanh(q W_q + m_s W_m + f_s W_f + b) \tag{2} $$

    \(*\) is a convolution along the memory that keeps its length. With `cumulative=True` (Shen et al., 2018) it reads
    the sum of all alignments so far in place of the last ones. Before the first step, both are zero.

    Differs from the paper: in nothing. With `normalizer="sigmoid"` it is the smoothed one, for training; the paper's
    sharpening and windowing are not part of it.

    Args:
        units: int > 0, A.
        filters: int > 0, C, the number of convolution filters.
        kernel_size: int > 0, K, their width.
        cumulative: bool, see above.
        normalized: see `BahdanauAttention`.
        use_bias: bool. Default True.
        normalizer: see `Mechanism`, as the rest.

    Weights: those of `BahdanauAttention`; `location_filters` (K, 1, C), `location_kernel` (C, A).
    Cost: that of `BahdanauAttention`; B S (K C + C A) a step.

    Example:
        attention = keras_rnnx.attention.LocationAttention(64, filters=16, kernel_size=15)
        decoder = keras_rnnx.RNN(keras_rnnx.attention.AttentionCell(keras_rnnx.LSTMCell(128), attention))

    Reference: J. Chorowski, D. Bahdanau, D. Serdyuk, K. Cho and Y. Bengio, Attention-based models for speech
        recognition, NeurIPS 2015, arXiv:1506.07503. J. Shen et al., Natural TTS synthesis by conditioning WaveNet on
        mel spectrogram predictions, ICASSP 2018, arXiv:1712.05884.
    """

    def __init__(self, units, filters=32, kernel_size=31, cumulative=False, normalized=False, use_bias=True, **kwargs):
        super().__init__(units, normalized, use_bias, **kwargs)
        self.filters = positive("filters", filters)
        self.kernel_size = positive("kernel_size", kernel_size)
        self.cumulative = bool(cumulative)

    @property
    def CARRIED(self):  # noqa: N802, in place of the class attribute
        """The alignments, and their sum where it is read."""
        return ("alignments", "cumulated") if self.cumulative else ("alignments",)

    def build_weights(self, query_size, memory_size):
        """See `Mechanism`."""
        super().build_weights(query_size, memory_size)
        self.add_vector("location_filters", (self.kernel_size, 1, self.filters))
        self.add_vector("location_kernel", (self.filters, self.units))

    def energies(self, look):
        """Equations (1) and (2)."""
        before = look.carried[-1][:, :, None]
        features = products.convolve(before, look.vectors["location_filters"], before.dtype, padding="same")
        located = products.apply({"kernel": look.vectors["location_kernel"]}, features, features.dtype)
        return self.energies_of(self.hidden(look) + located[:, None], look)

    def align(self, energies, look):
        """See `Mechanism`."""
        alignments, carried = super().align(energies, look)
        return alignments, [carried[0], look.carried[1] + carried[0]] if self.cumulative else carried
