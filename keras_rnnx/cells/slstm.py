"""The sLSTM: the scalar memory of xLSTM, with exponential gates (Beck et al., 2024)."""

import keras
from keras import ops

from keras_rnnx.arguments import choice, positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.engine.gates import finite
from keras_rnnx.layers.rnn import CellLayer

EXPONENT = 80.0  # e to this is finite in single precision


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SLSTMCell(Cell):
    r"""One step of the sLSTM: exponential gates, a normalizer, and a stabilizer that keeps the exponentials finite.

    With \(\tilde z, \tilde i, \tilde f, \tilde o = x_t W + h_{t-1} R + b\):
    $$ z_t = \tanh(\tilde z_t), \qquad o_t = \sigma(\tilde o_t) \tag{1} $$
    $$ m_t = \max(\log f_t + m_{t-1},\ \tilde i_t), \qquad
       f_t = \sigma(\tilde f_t) \ \text{or}\ \exp(\tilde f_t) \tag{2} $$
    $$ i'_t = \exp(\tilde i_t - m_t), \qquad f'_t = \exp(\log f_t + m_{t-1} - m_t) \tag{3} $$
    $$ c_t = f'_t c_{t-1} + i'_t z_t \tag{4} $$
    $$ n_t = f'_t n_{t-1} + i'_t \tag{5} $$
    $$ h_t = o_t\, c_t / n_t \tag{6} $$

    With `heads` the recurrent matrix R has that many blocks on its diagonal: units of different heads do not mix. c and
    n are kept divided by exp(m), which cancels in (6).

    Differs from the paper: a unit that has stored nothing yet, n = 0, takes the new gate as its stabilizer, m_t = i~_t
    instead of (2); the authors' code does so too, for whole arrays. h is the same, and n is never less than 1 after it.

    Args:
        units: int > 0, H.
        activation: of z. Default tanh.
        recurrent_activation: of the output gate o. Default sigmoid.
        use_bias: bool. The bias starts by `bias_initializer`; the authors' code spreads b_f from 5 down to -7.
        heads: int that divides `units`; more than 1 is `recurrent_structure="block"` with that many blocks.
        forget_gate: `"sigmoid"` or `"exp"`, f in (2).
        **kwargs: see `Cell`. `zoneout` holds each state by itself; c, n and m belong together, so prefer
            `zoneout=(rate, 0, 0, 0)`.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H), n (B, H), m (B, H)] -> output h (B, H), new states.
        All states start at zero.
    Weights: kernel (D, 4H: z i f o), recurrent_kernel (H, 4H), or (heads, H/heads, 4H/heads), bias (4H,).
    Cost per step: 8 B H (D + H / heads) flops, one recurrent product.
    Raises:
        ValueError: if `heads` does not divide `units`, or contradicts `recurrent_structure` or `recurrent_blocks`.
    Reference: M. Beck et al., xLSTM: extended long short-term memory, NeurIPS 2024, arXiv:2405.04517.
    """

    GATES, STATES, CANDIDATES = "z i f o", "h c n m", "z"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        heads=1,
        forget_gate="sigmoid",
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **{**kwargs, **_blocks(units, positive("heads", heads), kwargs)},
        )
        self.heads = heads
        self.forget_gate = choice("forget_gate", forget_gate, ("sigmoid", "exp"))

    def step(self, x, u, h, c, n, m):
        """Equations (1) to (6)."""
        a = x + u(h)
        i_log = finite(a.i)
        f_log = finite(ops.log_sigmoid(a.f) if self.forget_gate == "sigmoid" else a.f)
        kept = f_log + m
        m_new = ops.where(ops.logical_or(ops.equal(n, 0), i_log > kept), i_log, kept)
        # Above 0 only where n = 0, whose m_new leaves `kept` out: f times nothing is nothing, unless f is inf.
        i, f = ops.exp(i_log - m_new), ops.exp(finite(kept - m_new, EXPONENT))
        c_new = f * c + i * self.activation(a.z)
        n_new = f * n + i
        return self.recurrent_activation(a.o) * c_new / n_new, c_new, n_new, m_new


def _blocks(units, heads, kwargs):
    """The arguments of `Cell` that make `heads` blocks; raises where they contradict others."""
    structure = kwargs.get("recurrent_structure", "dense")
    given = kwargs.get("recurrent_blocks")
    if heads == 1:
        return {}
    if structure not in ("dense", "block") or given not in (None, heads):
        raise ValueError(
            "Expected `heads` > 1 alone or with recurrent_structure='block' and as many `recurrent_blocks`. "
            f"Received: heads={heads}, recurrent_structure={structure!r}, recurrent_blocks={given!r}"
        )
    if units % heads:
        raise ValueError(f"Expected `heads` to divide the units. Received: heads={heads}, units={units}")
    return {"recurrent_structure": "block", "recurrent_blocks": heads}


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SLSTM(CellLayer):
    """The sLSTM layer.

    Equations and cell arguments: `SLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = SLSTMCell
