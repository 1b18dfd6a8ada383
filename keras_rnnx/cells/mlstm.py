"""The mLSTM: the matrix memory of xLSTM, with exponential gates (Beck et al., 2024)."""

import keras
from keras import ops

from keras_rnnx.arguments import choice
from keras_rnnx.base.interface import Shape
from keras_rnnx.base.matrix import MatrixCell
from keras_rnnx.engine import memory
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MLSTMCell(MatrixCell):
    r"""One step of the mLSTM: a matrix memory with exponential gates and a normalizer, computed chunk by chunk.

    For each head, with keys of size K and values of size V = H / heads,
    $$ q_t = x_t W_q + b_q, \qquad k_t = \tfrac{1}{\sqrt K} x_t W_k + b_k, \qquad v_t = x_t W_v + b_v \tag{1} $$
    $$ i_t = \exp(\tilde i_t), \qquad \tilde i_t = x_t w_i + b_i \tag{2} $$
    $$ f_t = \sigma(\tilde f_t) \ \text{or}\ \exp(\tilde f_t), \qquad \tilde f_t = x_t w_f + b_f \tag{3} $$
    $$ C_t = f_t C_{t-1} + i_t\, k_t^\top v_t \tag{4} $$
    $$ n_t = f_t n_{t-1} + i_t k_t \tag{5} $$
    $$ \tilde h_t = q_t C_t / \max(|n_t \cdot q_t|, 1) \tag{6} $$
    and for all heads side by side
    $$ h_t = o_t \odot \tilde h_t, \qquad o_t = \sigma(x_t W_o + b_o) . \tag{7} $$

    So that no exponential overflows, C and n are kept divided by \(e^{m_t}\), where
    $$ m_t = \max(\log f_t + m_{t-1},\ \tilde i_t,\ 0) . \tag{8} $$
    It cancels in (6), whose 1 becomes \(e^{-m_t}\): h is that of (1) to (7).

    Differs from the paper: C is its transpose. The stabilizer (8) is at least 0, which keeps an empty memory at its own
    scale; h is the same. The paper normalizes each head in the block around this layer, not here.

    Args:
        units: int > 0, H.
        use_bias: bool. The bias starts by `bias_initializer`; the authors' code spreads b_f evenly from 3 to 6 over the
            heads.
        heads: int > 0 that divides `units`. Default 1. (Paper: 4.)
        key_units: int > 0, K. Default: H / heads.
        forget_gate: `"sigmoid"` or `"exp"`, f in (3). Default `"sigmoid"`.
        **kwargs: see `ProjectingCell`. There is no `learn_initial_state`.

    Inputs and outputs: inputs (B, D), states [C (B, heads, K, V) and n (B, heads, K), both divided by exp(m), and m
        (B, heads)] -> output h (B, H), new states. All states start at zero. At a masked step before any valid one of
        the document h is zero.
    Weights: kernel (D, 2 heads K + 2 H + 2 heads: q k v o i f), bias of as many; within q, k, v and o head by head.
    Cost per step: 2 B D times the columns of the kernel before the recurrence, in chunks of L steps about
        2 B heads (L K + L V + 2 K V) flops in it.
    Raises:
        ValueError: if an argument is out of range, or with `learn_initial_state`.
    Reference: M. Beck et al., xLSTM: extended long short-term memory, NeurIPS 2024, arXiv:2405.04517.
    """

    GATES, STATES = "q k v o i f", "C n m"
    MEMORY = memory.ExponentialGates

    def __init__(self, units, use_bias=True, *, heads=1, key_units=None, forget_gate="sigmoid", **kwargs):
        super().__init__(units, use_bias=use_bias, heads=heads, key_units=key_units, **kwargs)
        self.forget_gate = choice("forget_gate", forget_gate, ("sigmoid", "exp"))

    def columns(self):
        """The widths of q, k, v, o, i and f."""
        keys = self.heads * self.keys
        return {"q": keys, "k": keys, "v": self.units, "o": self.units, "i": self.heads, "f": self.heads}

    def state_sizes(self):
        """The shapes of C, n and m."""
        return [*super().state_sizes(), Shape((self.heads, self.keys)), Shape((self.heads,))]

    def scaled(self, a):
        """The product of the keys in (1)."""
        return {**a, "k": a["k"] * self.keys**-0.5}

    def inputs(self, a):
        """Equations (1) to (3)."""
        f_log = ops.log_sigmoid(a["f"]) if self.forget_gate == "sigmoid" else a["f"]
        parts = {name: self.in_heads(a[name], self.keys) for name in ("q", "k")}
        parts["v"] = self.in_heads(a["v"], self.values)
        parts |= {"log_decay": f_log, "log_input": a["i"], "writes": ops.ones_like(f_log)}
        return parts, ops.sigmoid(a["o"])

    def readout(self, y, beside):
        """Equation (7)."""
        return beside * y


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MLSTM(CellLayer):
    """The mLSTM layer.

    Equations and cell arguments: `MLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = MLSTMCell
