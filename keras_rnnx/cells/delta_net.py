"""DeltaNet: a matrix memory written by the delta rule (Schlag et al., 2021; Yang et al., 2024)."""

import keras
from keras import ops

from keras_rnnx.arguments import positive
from keras_rnnx.base.matrix import MatrixCell
from keras_rnnx.engine import memory
from keras_rnnx.layers.rnn import CellLayer

EPSILON = 1e-6  # beside the squared length of a key, as in the authors' code


def unit(a):
    """a (..., K) divided by its length."""
    return a * ops.rsqrt(ops.sum(a * a, axis=-1, keepdims=True) + EPSILON)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class DeltaNetCell(MatrixCell):
    r"""One step of DeltaNet, which writes under a key what differs from what it holds.

    With \(\bar x_t = \mathrm{conv}(x_t W)\), for each head, with keys of size K and values of size V = H / heads,
    $$ q_t = \frac{\mathrm{SiLU}(\bar x_t^q)}{\|\mathrm{SiLU}(\bar x_t^q)\|}, \qquad
       k_t = \frac{\mathrm{SiLU}(\bar x_t^k)}{\|\mathrm{SiLU}(\bar x_t^k)\|}, \qquad
       v_t = \mathrm{SiLU}(\bar x_t^v) \tag{1} $$
    $$ \beta_t = \sigma(x_t w_\beta) \tag{2} $$
    $$ S_t = S_{t-1} + \beta_t\, k_t^\top (v_t - k_t S_{t-1}) \tag{3} $$
    $$ o_t = q_t S_t \tag{4} $$
    and for all heads side by side
    $$ y_t = [\mathrm{RMSNorm}(o_t^1), \dots, \mathrm{RMSNorm}(o_t^{heads})]\, W_O \tag{5} $$

    conv is a convolution of each column over the last W steps, \(\bar x_t = \sum_{j < W} c_j \odot x_{t-j} W\). What is
    from before the first step of a sequence or document is zero; the state x carries the last W - 1 rows of x W, so
    that a sequence may be read in chunks. "Before" is in the order of reading, masked steps left out. A length is
    \(\|a\| = \sqrt{\sum a^2 + 10^{-6}}\), a root mean square \(\sqrt{\tfrac 1 V \sum o^2 + 10^{-5}}\), both as in the
    authors' code. RMSNorm has a gain (V), which the heads share.

    Differs from the paper: in nothing; S is its transpose. The authors' code divides q by the root of K, which RMSNorm
    cancels.

    Args:
        units: int > 0, H.
        use_bias: bool, whether x W (before conv) and beta have a bias. Default False.
        heads: int > 0 that divides `units`. Default 1.
        key_units: int > 0, K. Default: H / heads.
        window: int > 0, W; 1 is without conv. Default 4.
        **kwargs: see `ProjectingCell`. There is no `learn_initial_state`.

    Inputs and outputs: inputs (B, D), states [S (B, heads, K, V), x (B, W - 1, 2 heads K + H: q k v, the oldest row
        first)] -> output y (B, H), new states. With W = 1 the only state is S. At a masked step before any valid one of
        the document y is zero.
    Weights: kernel (D, 2 heads K + H + heads: q k v beta), bias of as many, if any; head by head within each;
        conv_kernel (W, 2 heads K + H: q k v), the row of the oldest step first, uniform within 1 / sqrt(W) at first, if
        W > 1; norm_gain (V,); output_kernel (H, H), W_O.
    Cost per step: 2 B D times the columns of the kernel and 2 B H H beside the recurrence; in it about 7 B heads K V
        flops step by step, 2 B heads (2 L K + 2 L V + 3 K V) in chunks of L steps.
    Raises:
        ValueError: if an argument is out of range, or with `learn_initial_state`.
    Reference: I. Schlag, K. Irie and J. Schmidhuber, Linear transformers are secretly fast weight programmers, ICML
        2021, arXiv:2102.11174; S. Yang, B. Wang, Y. Zhang, Y. Shen and Y. Kim, Parallelizing linear transformers with
        the delta rule over sequence length, NeurIPS 2024, arXiv:2406.06484.
    """

    GATES, STATES = "q k v beta", "S x"
    MEMORY = memory.DeltaRule

    def __init__(self, units, use_bias=False, *, heads=1, key_units=None, window=4, **kwargs):
        super().__init__(units, use_bias=use_bias, heads=heads, key_units=key_units, **kwargs)
        self.window = positive("window", window)
        self.states = self.states if self.window > 1 else self.states[:1]

    def columns(self):
        """The widths of q, k, v and beta."""
        keys = self.heads * self.keys
        return {"q": keys, "k": keys, "v": self.units, "beta": self.heads}

    def build_own(self, width):
        """The bias, the kernel of the convolution, and the weights of the output."""
        super().build_own(width)
        self.build_output()

    def inputs(self, a):
        """Equations (1) and (2)."""
        parts = {name: unit(self.in_heads(ops.silu(a[name]), self.keys)) for name in ("q", "k")}
        parts |= {"v": self.in_heads(ops.silu(a["v"]), self.values), "beta": ops.sigmoid(a["beta"])}
        return {**parts, "log_decay": self.log_decay(a)}, self.gate(a)

    def log_decay(self, a):
        """The logarithm of what stays of the memory at each step, (T, B, heads)."""
        return ops.zeros_like(a["beta"])

    def gate(self, a):
        """What the normalized output is multiplied with, (T, B, H), or None."""
        del a

    def readout(self, y, beside):
        """Equation (5)."""
        normed = self.normed(y)
        return self.projected_output(normed if beside is None else beside * normed)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class DeltaNet(CellLayer):
    """The DeltaNet layer.

    Equations and cell arguments: `DeltaNetCell`. Layer arguments and call: `RNN`.
    """

    CELL = DeltaNetCell
