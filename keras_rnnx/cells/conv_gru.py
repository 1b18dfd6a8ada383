"""The convolutional GRU (Ballas et al., 2016), over one, two or three axes of space."""

import keras

from keras_rnnx.base.conv import ConvCell
from keras_rnnx.layers.rnn import CellLayer


class ConvGRUCell(ConvCell):
    """One step of the convolutional GRU, over any number of axes; see `ConvGRU2DCell`."""

    GATES, STATES, CANDIDATES = "z r n", "h", "n"

    def step(self, x, u, h):
        """Equations (1) to (4)."""
        x_zr, x_n = x.split("z r", "n")
        z, r = self.activate(x_zr + u.take("z", "r")(h))
        n = self.activation(x_n.n + u.n(r * h))
        return (1 - z) * h + z * n


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ConvGRU1DCell(ConvGRUCell):
    r"""One step of the convolutional GRU over one axis of space.

    Equations and arguments: those of `ConvGRU2DCell`, with windows over one axis.

    Inputs and outputs: inputs (B, N, C), state [h (B, M, F)] -> output h (B, M, F), new state.
    Weights: kernel (k, C, 3F: z r n), recurrent_kernel (k, F, 3F), bias (3F,).
    Cost per step: 6 B M k F (C + F) flops, two recurrent products.
    Reference: N. Ballas, L. Yao, C. Pal and A. Courville, Delving deeper into convolutional networks for learning video
        representations, ICLR 2016, arXiv:1511.06432.
    """

    AXES = 1


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ConvGRU2DCell(ConvGRUCell):
    r"""One step of the convolutional GRU over two axes of space.

    With \(*\) for the convolution and maps for x and h:

    $$ z_t = \sigma(W_z * x_t + U_z * h_{t-1} + b_z) \tag{1} $$
    $$ r_t = \sigma(W_r * x_t + U_r * h_{t-1} + b_r) \tag{2} $$
    $$ n_t = \tanh(W_n * x_t + U_n * (r_t \odot h_{t-1}) + b_n) \tag{3} $$
    $$ h_t = (1 - z_t) \odot h_{t-1} + z_t \odot n_t \tag{4} $$

    z lets the new in, as in the paper; in `GRUCell` it keeps the old. W * x has the strides, the padding and the
    dilation that are asked for; U * h has stride 1 and zeros around the map, so that h keeps its size. The maps of a
    cell have one size, known when it is built.

    Differs from the paper: the biases; x may be padded, strided or dilated otherwise than h. The paper's candidate is
    written h~, here n.

    Args:
        filters: int > 0, F, the number of channels of the state.
        kernel_size: int > 0, or two: the size of the window, in both convolutions.
        strides: int > 0, or two, of W * x.
        padding: `"valid"` or `"same"`, of W * x: only whole windows, or zeros around the map. The paper's is `"same"`.
        data_format: `"channels_last"` or `"channels_first"`: where the channels stand in inputs, outputs and states.
            Default: `keras.config.image_data_format()`. The weights are the same in both.
        dilation_rate: int > 0, or two, of W * x; not together with strides.
        activation: of the candidate n. Default tanh.
        recurrent_activation: of the gates z and r. Default sigmoid.
        use_bias: bool.
        **kwargs: see `Cell`. Masks of dropout, recurrent dropout and zoneout have the shape of a map: each entry is
            dropped by itself. `normalization` and `recurrent_structure` are for products with matrices alone.

    Inputs and outputs: inputs (B, N, M, C), state [h (B, N', M', F)] -> output h (B, N', M', F), new state; with
        `"channels_first"` (B, C, N, M) and (B, F, N', M').
    Weights: kernel (k, l, C, 3F: z r n), recurrent_kernel (k, l, F, 3F), bias (3F,).
    Cost per step: 6 B N' M' k l F (C + F) flops, two recurrent products.
    Raises:
        ValueError: if an argument is out of range; at build if the size of the maps is unknown or smaller than the
            window.
    Reference: N. Ballas, L. Yao, C. Pal and A. Courville, Delving deeper into convolutional networks for learning video
        representations, ICLR 2016, arXiv:1511.06432.
    """

    AXES = 2


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ConvGRU3DCell(ConvGRUCell):
    r"""One step of the convolutional GRU over three axes of space.

    Equations and arguments: those of `ConvGRU2DCell`, with windows over three axes.

    Inputs and outputs: inputs (B, N, M, L, C), state [h (B, N', M', L', F)] -> output h (B, N', M', L', F), new state.
    Weights: kernel (k, l, m, C, 3F: z r n), recurrent_kernel (k, l, m, F, 3F), bias (3F,).
    Cost per step: 6 B N' M' L' k l m F (C + F) flops, two recurrent products.
    Reference: N. Ballas, L. Yao, C. Pal and A. Courville, Delving deeper into convolutional networks for learning video
        representations, ICLR 2016, arXiv:1511.06432.
    """

    AXES = 3


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ConvGRU1D(CellLayer):
    """The convolutional GRU layer over one axis of space.

    Sequences are (B, T, N, C). Equations and cell arguments: `ConvGRU2DCell`. Layer arguments and call: `RNN`.
    """

    CELL = ConvGRU1DCell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ConvGRU2D(CellLayer):
    """The convolutional GRU layer over two axes of space.

    Sequences are (B, T, N, M, C). Equations and cell arguments: `ConvGRU2DCell`. Layer arguments and call: `RNN`.
    """

    CELL = ConvGRU2DCell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ConvGRU3D(CellLayer):
    """The convolutional GRU layer over three axes of space.

    Sequences are (B, T, N, M, L, C). Equations and cell arguments: `ConvGRU2DCell`. Layer arguments and call: `RNN`.
    """

    CELL = ConvGRU3DCell
