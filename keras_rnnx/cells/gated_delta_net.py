"""Gated DeltaNet: the delta rule with a decay (Yang, Kautz and Hatamizadeh, 2025)."""

import keras
import numpy as np
from keras import ops

from keras_rnnx.base.diagonal import starting_at, uniform
from keras_rnnx.cells.delta_net import DeltaNetCell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class GatedDeltaNetCell(DeltaNetCell):
    r"""One step of Gated DeltaNet: the delta rule on a memory that also decays.

    q, k, v and beta are those of DeltaNet. With \(\bar x_t = \mathrm{conv}(x_t W)\), for each head,
    $$ q_t = \frac{\mathrm{SiLU}(\bar x_t^q)}{\|\mathrm{SiLU}(\bar x_t^q)\|}, \qquad
       k_t = \frac{\mathrm{SiLU}(\bar x_t^k)}{\|\mathrm{SiLU}(\bar x_t^k)\|}, \qquad
       v_t = \mathrm{SiLU}(\bar x_t^v) \tag{1} $$
    $$ \beta_t = \sigma(x_t w_\beta) \tag{2} $$
    $$ \alpha_t = \exp\bigl(-e^{A}\, \mathrm{softplus}(x_t w_a + b_{dt})\bigr) \tag{3} $$
    $$ S_t = \alpha_t S_{t-1} + \beta_t\, k_t^\top (v_t - \alpha_t k_t S_{t-1}) \tag{4} $$
    $$ o_t = q_t S_t \tag{5} $$
    and for all heads side by side
    $$ y_t = \bigl([\mathrm{RMSNorm}(o_t^1), \dots, \mathrm{RMSNorm}(o_t^{heads})]
       \odot \mathrm{SiLU}(x_t W_g)\bigr) W_O \tag{6} $$

    (4) is the paper's \(S_t = S_{t-1} \alpha_t (I - \beta_t k_t k_t^\top) + \beta_t v_t k_t^\top\), transposed. conv,
    the lengths and RMSNorm are as in `DeltaNetCell`. \(e^A\) starts uniform between 0 and 16, softplus(b_dt)
    log-uniform between 0.001 and 0.1, as in Mamba 2 and the authors' code.

    Differs from the paper: in nothing. The authors' models have V = 2 K; their code divides q by the root of K, which
    RMSNorm cancels.

    Args:
        units: int > 0, H.
        use_bias: bool, whether x W has a bias (before conv). Default False; b_dt is there in any case.
        heads: int > 0 that divides `units`. Default 1.
        key_units: int > 0, K. Default: H / heads.
        window: int > 0, W; 1 is without conv. Default 4.
        **kwargs: see `ProjectingCell`. There is no `learn_initial_state`.

    Inputs and outputs: inputs (B, D), states [S (B, heads, K, V), x (B, W - 1, 2 heads K + H: q k v, the oldest row
        first)] -> output y (B, H), new states. With W = 1 the only state is S. At a masked step before any valid one of
        the document y is zero.
    Weights: kernel (D, 2 heads K + 2 H + 2 heads: q k v beta a g); bias of as many without a, if any; head by head
        within each; conv_kernel (W, 2 heads K + H: q k v), the row of the oldest step first, if W > 1; A_log (heads,),
        A; dt_bias (heads,), b_dt; norm_gain (V,); output_kernel (H, H), W_O.
    Cost per step: 2 B D times the columns of the kernel and 2 B H H beside the recurrence; in it about 7 B heads K V
        flops step by step, 2 B heads (2 L K + 2 L V + 3 K V) in chunks of L steps.
    Raises:
        ValueError: if an argument is out of range, or with `learn_initial_state`.
    Reference: S. Yang, J. Kautz and A. Hatamizadeh, Gated delta networks: improving Mamba2 with delta rule, ICLR 2025,
        arXiv:2412.06464.
    """

    GATES, BIASED = "q k v beta a g", "q k v beta g"

    def columns(self):
        """The widths of q, k, v, beta, a and g."""
        return {**super().columns(), "a": self.heads, "g": self.units}

    def build_own(self, width):
        """The weights of DeltaNet, A and the bias of the decay."""
        shape = (self.heads,)
        rates, steps = uniform(shape, 1e-3, 16.0), np.exp(uniform(shape, np.log(0.001), np.log(0.1)))
        self.A_log = self.add_weight(name="A_log", shape=shape, initializer=starting_at(np.log(rates)))
        self.dt_bias = self.add_weight(
            name="dt_bias", shape=shape, initializer=starting_at(steps + np.log(-np.expm1(-steps)))
        )
        super().build_own(width)

    def log_decay(self, a):
        """The logarithm of (3)."""
        rate, bias = (ops.cast(w, self.state_dtype) for w in (self.A_log, self.dt_bias))
        return -ops.exp(rate) * ops.softplus(a["a"] + bias)

    def gate(self, a):
        """The gate in (6)."""
        return ops.silu(a["g"])


@keras.saving.register_keras_serializable(package="keras_rnnx")
class GatedDeltaNet(CellLayer):
    """The Gated DeltaNet layer.

    Equations and cell arguments: `GatedDeltaNetCell`. Layer arguments and call: `RNN`.
    """

    CELL = GatedDeltaNetCell
