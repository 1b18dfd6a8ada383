"""Gated linear attention (Yang et al., 2024)."""

import keras
from keras import ops

from keras_rnnx.arguments import number, positive
from keras_rnnx.base.matrix import MatrixCell
from keras_rnnx.engine import memory, products
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class GLACell(MatrixCell):
    r"""One step of gated linear attention: a matrix memory whose rows decay by gates.

    For each head, with keys of size K and values of size V = H / heads,
    $$ q_t = x_t W_q, \qquad k_t = x_t W_k, \qquad v_t = x_t W_v \tag{1} $$
    $$ \alpha_t = \sigma(x_t W_\alpha^1 W_\alpha^2 + b_\alpha)^{1 / \tau} \tag{2} $$
    $$ S_t = \alpha_t^\top \odot S_{t-1} + k_t^\top v_t \tag{3} $$
    $$ o_t = q_t S_t \tag{4} $$
    and for all heads side by side
    $$ r_t = \mathrm{swish}(x_t W_r + b_r) \tag{5} $$
    $$ y_t = \bigl(r_t \odot [\mathrm{LN}(o_t^1), \dots, \mathrm{LN}(o_t^{heads})]\bigr) W_O \tag{6} $$

    \(\alpha_t\) (K) has one number for each row of S (K, V). LN is the layer normalization with a gain and a bias (V),
    which the heads share, and 1e-5 beside the variance.

    Differs from the paper: in nothing. The paper's K is half of V, and it has 4 heads. The authors' first code
    multiplies k by the root of heads over units, which LN cancels up to its epsilon, and its LN has no gain and bias;
    their later one divides q by \(\sqrt K\), has a root mean square for LN, and no b_r.

    Args:
        units: int > 0, H.
        use_bias: bool, whether there are b_alpha and b_r.
        heads: int > 0 that divides `units`. Default 1. (Paper: 4.)
        key_units: int > 0, K. Default: H / heads.
        rank: int > 0, the rank R of (2). Default 16.
        tau: number > 0. Default 16.
        **kwargs: see `ProjectingCell`. There is no `learn_initial_state`.

    Inputs and outputs: inputs (B, D), state [S (B, heads, K, V)] -> output y (B, H), new state. At a masked step before
        any valid one of the document y is zero.
    Weights: kernel (D, 2 heads K + 2 H + R: q k v r a), W_q W_k W_v W_r W_alpha^1, within q, k, v and r head by head;
        bias (H,), b_r; alpha_kernel (R, heads K), W_alpha^2; alpha_bias (heads K,), b_alpha; norm_gain and norm_bias
        (V,); output_kernel (H, H), W_O.
    Cost per step: 2 B D times the columns of the kernel, 2 B R heads K and 2 B H H beside the recurrence; in it about
        5 B heads K V flops step by step, 2 B heads (2 L K + L V + 2 K V) in chunks of L steps.
    Raises:
        ValueError: if an argument is out of range, or with `learn_initial_state`.
    Reference: S. Yang, B. Wang, Y. Shen, R. Panda and Y. Kim, Gated linear attention transformers with
        hardware-efficient training, ICML 2024, arXiv:2312.06635.
    """

    GATES, STATES, BIASED = "q k v r a", "S", "r"
    MEMORY = memory.VectorDecay

    def __init__(self, units, use_bias=True, *, heads=1, key_units=None, rank=16, tau=16.0, **kwargs):
        super().__init__(units, use_bias=use_bias, heads=heads, key_units=key_units, **kwargs)
        self.rank = positive("rank", rank)
        self.tau = number("tau", tau, "(0, inf)")

    def columns(self):
        """The widths of q, k, v, r and of the low rank of alpha."""
        keys = self.heads * self.keys
        return {"q": keys, "k": keys, "v": self.units, "r": self.units, "a": self.rank}

    def build_own(self, width):
        """The bias, the second factor of alpha, and the weights of the output."""
        super().build_own(width)
        keys = self.heads * self.keys
        self.alpha_kernel = self.add_kernel(name="alpha_kernel", shape=(self.rank, keys), initializer="glorot_uniform")
        self.alpha_bias = None
        if self.use_bias:
            self.alpha_bias = self.add_weight(name="alpha_bias", shape=(keys,), initializer=self.bias_initializer)
        self.build_output(gain=True, bias=True)

    def inputs(self, a):
        """Equations (1), (2) and (5)."""
        weights = {"kernel": self._cast(self.alpha_kernel)}
        if self.alpha_bias is not None:
            weights["bias"] = self._cast(self.alpha_bias)
        alpha = ops.log_sigmoid(products.apply(weights, a["a"], a["a"].dtype)) / self.tau
        parts = {name: self.in_heads(part, self.keys) for name, part in (("q", a["q"]), ("k", a["k"]))}
        parts |= {"v": self.in_heads(a["v"], self.values), "log_decay": self.in_heads(alpha, self.keys)}
        return parts, ops.silu(a["r"])

    def readout(self, y, beside):
        """Equation (6)."""
        return self.projected_output(beside * self.normed(y, centered=True))


@keras.saving.register_keras_serializable(package="keras_rnnx")
class GLA(CellLayer):
    """The layer of gated linear attention.

    Equations and cell arguments: `GLACell`. Layer arguments and call: `RNN`.
    """

    CELL = GLACell
