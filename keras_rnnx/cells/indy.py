"""LSTM and GRU whose units are independent of each other (Gonnet & Deselaers, 2020)."""

import keras

from keras_rnnx.arguments import choice
from keras_rnnx.cells.gru import GRUCell
from keras_rnnx.cells.lstm import LSTMCell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class IndyLSTMCell(LSTMCell):
    r"""One step of long short-term memory in which each unit sees its own past alone.

    $$ f_t = \sigma(x_t W_f + u_f \odot h_{t-1} + b_f) \tag{1} $$
    $$ i_t = \sigma(x_t W_i + u_i \odot h_{t-1} + b_i) \tag{2} $$
    $$ o_t = \sigma(x_t W_o + u_o \odot h_{t-1} + b_o) \tag{3} $$
    $$ g_t = \tanh(x_t W_g + u_g \odot h_{t-1} + b_g) \tag{4} $$
    $$ c_t = f_t \odot c_{t-1} + i_t \odot g_t \tag{5} $$
    $$ h_t = o_t \odot \tanh(c_t) \tag{6} $$

    Differs from the paper: in nothing; u starts uniform in [-1, 1] as in the authors' code.

    Args:
        units: int > 0, H.
        activation: of the candidate g and of c in (6). Default tanh.
        recurrent_activation: of the gates i, f, o. Default sigmoid.
        use_bias: bool.
        recurrent_initializer: None for uniform values in [-1, 1].
        recurrent_structure: `"diagonal"`, which is what the network is.
        **kwargs: see `LSTMCell` and `Cell`.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states.
    Weights: kernel (D, 4H: i f g o), recurrent_kernel (4H,), bias (4H,).
    Raises:
        ValueError: if another `recurrent_structure` is given.
    Cost per step: 8 B H (D + 1) flops, of which 8 B H are in the loop.
    Reference: P. Gonnet and T. Deselaers, IndyLSTMs: independently recurrent LSTMs, ICASSP 2020, arXiv:1903.08023.
    """

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        recurrent_initializer=None,
        recurrent_structure="diagonal",
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            recurrent_initializer=recurrent_initializer or keras.initializers.RandomUniform(-1.0, 1.0),
            recurrent_structure=choice("recurrent_structure", recurrent_structure, ("diagonal",)),
            **kwargs,
        )


@keras.saving.register_keras_serializable(package="keras_rnnx")
class IndyLSTM(CellLayer):
    """The long short-term memory layer of independent units.

    Equations and cell arguments: `IndyLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = IndyLSTMCell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class IndyGRUCell(GRUCell):
    r"""One step of the gated recurrent unit in which each unit sees its own past alone.

    $$ z_t = \sigma(x_t W_z + u_z \odot h_{t-1} + b_z) \tag{1} $$
    $$ r_t = \sigma(x_t W_r + u_r \odot h_{t-1} + b_r) \tag{2} $$
    $$ n_t = \tanh(x_t W_n + u_n \odot r_t \odot h_{t-1} + b_n) \tag{3} $$
    $$ h_t = z_t \odot h_{t-1} + (1 - z_t) \odot n_t \tag{4} $$

    Differs from the paper: the paper is about the LSTM; the GRU is from its first author's code in tf.contrib.rnn,
    whose b_z and b_r start at 1, not 0. `reset_after=True` adds the second bias of `GRUCell`.

    Args:
        units: int > 0, H.
        activation: of the candidate n. Default tanh.
        recurrent_activation: of the gates z and r. Default sigmoid.
        use_bias: bool.
        reset_after: bool, see `GRUCell`. Default False.
        recurrent_initializer: None for uniform values in [-1, 1].
        recurrent_structure: `"diagonal"`, which is what the network is.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 3H: z r n), recurrent_kernel (3H,), bias (3H,) or, with `reset_after=True`, (2, 3H).
    Raises:
        ValueError: if another `recurrent_structure` is given.
    Cost per step: 6 B H (D + 1) flops, of which 6 B H are in the loop.
    Reference: P. Gonnet and T. Deselaers, IndyLSTMs: independently recurrent LSTMs, ICASSP 2020, arXiv:1903.08023.
    """

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        reset_after=False,
        recurrent_initializer=None,
        recurrent_structure="diagonal",
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            reset_after=reset_after,
            recurrent_initializer=recurrent_initializer or keras.initializers.RandomUniform(-1.0, 1.0),
            recurrent_structure=choice("recurrent_structure", recurrent_structure, ("diagonal",)),
            **kwargs,
        )


@keras.saving.register_keras_serializable(package="keras_rnnx")
class IndyGRU(CellLayer):
    """The gated recurrent layer of independent units.

    Equations and cell arguments: `IndyGRUCell`. Layer arguments and call: `RNN`.
    """

    CELL = IndyGRUCell
