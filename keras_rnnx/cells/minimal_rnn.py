"""MinimalRNN (Chen, 2017)."""

import keras

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MinimalRNNCell(Cell):
    r"""One step of MinimalRNN: the state is a gated mean of encoded inputs.

    $$ z_t = \Phi(x_t) = \tanh(x_t W_x + b_z) \tag{1} $$
    $$ u_t = \sigma(h_{t-1} U_h + z_t U_z + b_u) \tag{2} $$
    $$ h_t = u_t \odot h_{t-1} + (1 - u_t) \odot z_t \tag{3} $$

    Differs from the paper: in nothing. It allows any network for the map \(\Phi\) and uses (1), as here.

    Args:
        units: int > 0, H.
        activation: of the encoded input in (1). Default tanh.
        recurrent_activation: of the gate u. Default sigmoid.
        use_bias: bool, whether there are b_z and b_u.
        **kwargs: see `Cell`. `normalization` applies to x W_x and to h U_h, not to z U_z.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, H), W_x; update_kernel (H, H), U_z; recurrent_kernel (H, H), U_h; bias (2H: z u).
    Cost per step: 2 B H (D + 2 H) flops, one recurrent product.
    Reference: M. Chen, MinimalRNN: toward more interpretable and trainable recurrent neural networks, 2017,
        arXiv:1711.06788.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "z", "u", "h", "z"
    LANES = True

    def build(self, input_shape):
        """Adds U_z, which `inputs` uses."""
        super().build(input_shape)
        self.update_kernel = self.new_weight("update_kernel", (self.units, self.units), role="kernel")

    def build_bias(self, width):
        """b_z and b_u."""
        super().build_bias(2 * self.units)

    def input_bias(self):
        """b_z."""
        bias = super().input_bias()
        return None if bias is None else bias[: self.units]

    def inputs(self, x):
        """The encoded input (1), and what it gives to the gate."""
        z = self.activation(*self.project(x))
        u = self.times(z, self.update_kernel)
        return {"z": z, "u": u + self._cast(self.bias)[self.units :] if self.use_bias else u}

    def step(self, x, u, h):
        """Equations (2) and (3); `inputs` has made (1)."""
        z, x_u = x
        gate = self.recurrent_activation(u.u(h) + x_u)
        return gate * h + (1 - gate) * z


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MinimalRNN(CellLayer):
    """The MinimalRNN layer.

    Equations and cell arguments: `MinimalRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = MinimalRNNCell
