"""The stackable recurrent cell (Turkoglu et al., 2021)."""

import keras
from keras import ops

from keras_rnnx.arguments import number
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class STARCell(Cell):
    r"""One step of the stackable recurrent cell, made to keep gradients alike along time and depth.

    $$ k_t = \sigma(x_t W_k + h_{t-1} U_k + b_k) \tag{1} $$
    $$ z_t = \tanh(x_t W_z + b_z) \tag{2} $$
    $$ h_t = \tanh((1 - k_t) \odot h_{t-1} + k_t \odot z_t) \tag{3} $$

    Differs from the paper: in nothing. The authors' code starts W orthogonal, as U here: give `kernel_initializer`.
    It also adds 1 to the argument of the gate before z, which the paper does not write.

    Args:
        units: int > 0, H.
        activation: both tanh, of (2) and (3).
        recurrent_activation: of the gate k. Default sigmoid.
        use_bias: bool.
        t_max: float > 2 or None, the longest dependency expected, T. With it the gate starts by the chrono rule of
            Tallec and Ollivier (2018): b_k = -log(s) with s uniform in (1, T - 1). Default None.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: k z), recurrent_kernel (H, H: k), bias (2H: k z).
    Cost per step: 2 B H (2 D + H) flops, one recurrent product.
    Raises:
        ValueError: if `t_max` is not above 2.
    Reference: M. O. Turkoglu, S. D'Aronco, J. D. Wegner and K. Schindler, Gating revisited: deep multi-layer RNNs that
        can be trained, IEEE Transactions on Pattern Analysis and Machine Intelligence, 2021, arXiv:1911.11033.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "k z", "k", "h", "z"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        t_max=None,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.t_max = None if t_max is None else number("t_max", t_max, "(2, inf)")

    def build_bias(self, width):
        """The bias, with the chrono start of b_k where there is a `t_max`."""
        if not (self.use_bias and self.t_max):
            return super().build_bias(width)

        def start(shape, dtype):
            k, z = ops.split(self.bias_initializer(shape, dtype=dtype), 2)
            times = keras.initializers.RandomUniform(1.0, self.t_max - 1.0, seed=self.seed)(k.shape, dtype=dtype)
            return ops.concatenate([-ops.log(times), z])

        self.bias = self.new_weight("bias", (width,), start)

    def inputs(self, x):
        """The input of the gate, and z (2)."""
        made = super().inputs(x)
        return {**made, "z": self.activation(made["z"])}

    def step(self, x, u, h):
        """Equations (1) and (3); `inputs` has made (2)."""
        x_k, z = x
        k = self.recurrent_activation(x_k + u.k(h))
        return self.activation((1 - k) * h + k * z)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class STAR(CellLayer):
    """The stackable recurrent layer.

    Equations and cell arguments: `STARCell`. Layer arguments and call: `RNN`.
    """

    CELL = STARCell
