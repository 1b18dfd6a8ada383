"""The convolutional LSTM (Shi et al., 2015), over one, two or three axes of space."""

import keras

from keras_rnnx.base.conv import ConvCell
from keras_rnnx.cells.lstm import LSTMCell
from keras_rnnx.cells.peephole_lstm import PeepholeLSTMCell
from keras_rnnx.layers.rnn import CellLayer


class ConvLSTMCell(ConvCell, LSTMCell):
    """One step of the convolutional LSTM, over any number of axes; see `ConvLSTM2DCell`."""

    LACKS = (*ConvCell.LACKS, "projection_units")

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        peepholes=False,
        **kwargs,
    ):
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            recurrent_activation,
            use_bias,
            **kwargs,
        )
        self.peepholes = bool(peepholes)

    def build_own(self, width):
        """Adds the peepholes, a weight at each place of the map."""
        super().build_own(width)
        for name in PeepholeLSTMCell.VECTORS.split() if self.peepholes else ():
            self.add_vector(name, self.state_sizes()[0])

    def step(self, x, u, h, c):
        """Equations (1) to (5): those of the LSTM, with convolutions for products."""
        return (PeepholeLSTMCell if self.peepholes else LSTMCell).step(self, x, u, h, c)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ConvLSTM1DCell(ConvLSTMCell):
    r"""One step of the convolutional LSTM over one axis of space.

    Equations and arguments: those of `ConvLSTM2DCell`, with windows over one axis.

    Inputs and outputs: inputs (B, N, C), states [h (B, M, F), c (B, M, F)] -> output h (B, M, F), new states.
    Weights: kernel (k, C, 4F: i f g o), recurrent_kernel (k, F, 4F), bias (4F,): as in `keras.layers.ConvLSTM1D`; with
        `peepholes` also p_i, p_f, p_o (M, F).
    Cost per step: 8 B M k F (C + F) flops, one recurrent product.
    Reference: X. Shi, Z. Chen, H. Wang, D.-Y. Yeung, W.-K. Wong and W.-C. Woo, Convolutional LSTM network: a machine
        learning approach for precipitation nowcasting, NIPS 2015, arXiv:1506.04214.
    """

    AXES = 1


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ConvLSTM2DCell(ConvLSTMCell):
    r"""One step of the convolutional LSTM over two axes of space.

    With \(*\) for the convolution and maps for x, h and c:

    $$ i_t = \sigma(W_i * x_t + U_i * h_{t-1} + p_i \odot c_{t-1} + b_i) \tag{1} $$
    $$ f_t = \sigma(W_f * x_t + U_f * h_{t-1} + p_f \odot c_{t-1} + b_f) \tag{2} $$
    $$ c_t = f_t \odot c_{t-1} + i_t \odot \tanh(W_g * x_t + U_g * h_{t-1} + b_g) \tag{3} $$
    $$ o_t = \sigma(W_o * x_t + U_o * h_{t-1} + p_o \odot c_t + b_o) \tag{4} $$
    $$ h_t = o_t \odot \tanh(c_t) \tag{5} $$

    W * x has the strides, the padding and the dilation that are asked for; U * h has stride 1 and zeros around the
    map, so that h keeps its size. The terms with p are there with `peepholes=True`. The maps of a cell have one size,
    known when it is built.

    Differs from the paper: peepholes are an option; x may be padded, strided or dilated otherwise than h. The paper
    writes W_x for W, W_h for U and W_c for p, a weight for each place and channel of c.

    Args:
        filters: int > 0, F, the number of channels of every state.
        kernel_size: int > 0, or two: the size of the window, in both convolutions.
        strides: int > 0, or two, of W * x.
        padding: `"valid"` or `"same"`, of W * x: only whole windows, or zeros around the map. The paper's is `"same"`.
        data_format: `"channels_last"` or `"channels_first"`: where the channels stand in inputs, outputs and states.
            Default: `keras.config.image_data_format()`. The weights are the same in both.
        dilation_rate: int > 0, or two, of W * x; not together with strides.
        activation: of the candidate in (3) and of c in (5). Default tanh.
        recurrent_activation: of the gates i, f, o. Default sigmoid.
        use_bias: bool.
        unit_forget_bias: bool, whether b_f starts at 1.
        peepholes: bool, whether the gates see c.
        **kwargs: see `Cell`. Masks of dropout, recurrent dropout and zoneout have the shape of a map: each entry is
            dropped by itself. `normalization` and `recurrent_structure` are for products with matrices alone.

    Inputs and outputs: inputs (B, N, M, C), states [h (B, N', M', F), c (B, N', M', F)] -> output h (B, N', M', F), new
        states; with `"channels_first"` (B, C, N, M) and (B, F, N', M').
    Weights: kernel (k, l, C, 4F: i f g o), recurrent_kernel (k, l, F, 4F), bias (4F,): as in `keras.layers.ConvLSTM2D`;
        with `peepholes` also p_i, p_f, p_o (N', M', F), started at zero.
    Cost per step: 8 B N' M' k l F (C + F) flops, one recurrent product.
    Raises:
        ValueError: if an argument is out of range; at build if the size of the maps is unknown or smaller than the
            window.
    Reference: X. Shi, Z. Chen, H. Wang, D.-Y. Yeung, W.-K. Wong and W.-C. Woo, Convolutional LSTM network: a machine
        learning approach for precipitation nowcasting, NIPS 2015, arXiv:1506.04214.
    """

    AXES = 2


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ConvLSTM3DCell(ConvLSTMCell):
    r"""One step of the convolutional LSTM over three axes of space.

    Equations and arguments: those of `ConvLSTM2DCell`, with windows over three axes.

    Inputs and outputs: inputs (B, N, M, L, C), states [h (B, N', M', L', F), c (B, N', M', L', F)] -> output h
        (B, N', M', L', F), new states.
    Weights: kernel (k, l, m, C, 4F: i f g o), recurrent_kernel (k, l, m, F, 4F), bias (4F,): as in
        `keras.layers.ConvLSTM3D`; with `peepholes` also p_i, p_f, p_o (N', M', L', F).
    Cost per step: 8 B N' M' L' k l m F (C + F) flops, one recurrent product.
    Reference: X. Shi, Z. Chen, H. Wang, D.-Y. Yeung, W.-K. Wong and W.-C. Woo, Convolutional LSTM network: a machine
        learning approach for precipitation nowcasting, NIPS 2015, arXiv:1506.04214.
    """

    AXES = 3


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ConvLSTM1D(CellLayer):
    """The convolutional LSTM layer over one axis of space; a drop-in for `keras.layers.ConvLSTM1D`.

    Sequences are (B, T, N, C). Equations and cell arguments: `ConvLSTM2DCell`. Layer arguments and call: `RNN`.
    """

    CELL = ConvLSTM1DCell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ConvLSTM2D(CellLayer):
    """The convolutional LSTM layer over two axes of space; a drop-in for `keras.layers.ConvLSTM2D`.

    Sequences are (B, T, N, M, C). Equations and cell arguments: `ConvLSTM2DCell`. Layer arguments and call: `RNN`.
    """

    CELL = ConvLSTM2DCell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ConvLSTM3D(CellLayer):
    """The convolutional LSTM layer over three axes of space; a drop-in for `keras.layers.ConvLSTM3D`.

    Sequences are (B, T, N, M, L, C). Equations and cell arguments: `ConvLSTM2DCell`. Layer arguments and call: `RNN`.
    """

    CELL = ConvLSTM3DCell
