"""The LSTM of ordered neurons, ON-LSTM (Shen et al., 2019)."""

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.engine import products
from keras_rnnx.engine.gates import finite
from keras_rnnx.layers.rnn import CellLayer


def cumax(z):
    """The cumulative sum of the softmax over the last axis: rises from above 0 to 1."""
    # as a product: Keras' cumsum leaves float64 on torch
    ones = ops.cast(np.triu(np.ones((z.shape[-1], z.shape[-1]))), z.dtype)
    return products.apply({"kernel": ones}, ops.softmax(finite(z), axis=-1), z.dtype)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ONLSTMCell(Cell):
    r"""One step of the LSTM of ordered neurons: master gates decide how far up the order to erase and to write.

    $$ i_t, f_t, o_t = \sigma(x_t W + h_{t-1} U + b), \qquad g_t = \tanh(x_t W_g + h_{t-1} U_g + b_g) \tag{1} $$
    $$ \tilde f_t = \mathrm{cumax}(x_t W_{\tilde f} + h_{t-1} U_{\tilde f} + b_{\tilde f}) \tag{2} $$
    $$ \tilde i_t = 1 - \mathrm{cumax}(x_t W_{\tilde i} + h_{t-1} U_{\tilde i} + b_{\tilde i}) \tag{3} $$
    $$ \omega_t = \tilde f_t \odot \tilde i_t \tag{4} $$
    $$ \hat f_t = f_t \odot \omega_t + (\tilde f_t - \omega_t), \qquad
       \hat i_t = i_t \odot \omega_t + (\tilde i_t - \omega_t) \tag{5} $$
    $$ c_t = \hat f_t \odot c_{t-1} + \hat i_t \odot g_t \tag{6} $$
    $$ h_t = o_t \odot \tanh(c_t) \tag{7} $$

    cumax is the cumulative sum of the softmax. The master gates have H / C entries for a `chunk_size` C, and each
    stands for C neighbouring units: unit j belongs to chunk j // C. The paper writes c with a hat for g.

    Differs from the paper: in nothing. The authors regularize with dropout on U itself; see `recurrent_dropout`.

    Args:
        units: int > 0, H.
        activation: of g and of c in (7). Default tanh.
        recurrent_activation: of the gates i, f, o. Default sigmoid.
        use_bias: bool, whether there are the biases of (1) to (3).
        chunk_size: int that divides `units`, C.
        **kwargs: see `Cell`. `recurrent_structure` and `normalization` concern (1), not the master gates.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states.
    Weights: kernel (D, 4H: i f g o), recurrent_kernel (H, 4H), bias (4H,); for the master gates, first forget then
        input, master_input_kernel (D, 2H/C), which multiplies x, master_kernel (H, 2H/C), which multiplies h,
        master_bias (2H/C,). A step multiplies h by recurrent_kernel first, then by master_kernel.
    Cost per step: 8 B H (D + H) + 4 B (H / C) (D + H) flops, two recurrent products.
    Raises:
        ValueError: if `chunk_size` does not divide `units`.
    Reference: Y. Shen, S. Tan, A. Sordoni and A. Courville, Ordered neurons: integrating tree structures into recurrent
        neural networks, ICLR 2019, arXiv:1810.09536.
    """

    GATES, STATES, CANDIDATES = "i f g o", "h c", "g"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        chunk_size=1,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.chunk_size = positive("chunk_size", chunk_size)
        if self.units % self.chunk_size:
            raise ValueError(
                f"Expected `chunk_size` to divide the units. Received: chunk_size={chunk_size}, units={units}"
            )

    def build(self, input_shape):
        """Adds the weights of the master gates."""
        super().build(input_shape)
        width = 2 * self.units // self.chunk_size
        self.master_input_kernel = self.new_weight("master_input_kernel", (self.features, width), role="kernel")
        self.add_matrix("master", (self.units, width), bias=self.use_bias, gates=("erase", "write"))

    def inputs(self, x):
        """The gates, and the master gates behind them, (..., H/C) each."""
        erase, write = ops.split(self.times(x, self.master_input_kernel), 2, axis=-1)
        return {**super().inputs(x), "erase": erase, "write": write}

    def step(self, x, u, h, c):
        """Equations (1) to (7)."""
        gates, master = x.split("i f g o", "erase write")
        i, f, g, o = self.activate(gates + u(h))
        erase, write = master + u.master(h)
        master_f = ops.repeat(cumax(erase), self.chunk_size, axis=-1)
        master_i = ops.repeat(1 - cumax(write), self.chunk_size, axis=-1)
        overlap = master_f * master_i
        c_new = (f * overlap + (master_f - overlap)) * c + (i * overlap + (master_i - overlap)) * g
        return o * self.activation(c_new), c_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ONLSTM(CellLayer):
    """The ON-LSTM layer.

    Equations and cell arguments: `ONLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = ONLSTMCell
