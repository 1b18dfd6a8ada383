"""The quasi-recurrent network (Bradbury et al., 2017)."""

import keras
from keras import ops

from keras_rnnx.arguments import choice, positive
from keras_rnnx.base.linear import LinearCell
from keras_rnnx.layers.rnn import CellLayer

POOLINGS = {"f": "z f", "fo": "z f o", "ifo": "z f o i"}


@keras.saving.register_keras_serializable(package="keras_rnnx")
class QRNNCell(LinearCell):
    r"""One step of the quasi-recurrent network: gates by a convolution over the last W inputs, then a linear pooling.

    With \(\bar x_t = [x_{t-W+1}, \dots, x_t]\), the last W inputs,
    $$ z_t = \tanh(\bar x_t W_z + b_z) \tag{1} $$
    $$ f_t = \sigma(\bar x_t W_f + b_f) \tag{2} $$
    $$ o_t = \sigma(\bar x_t W_o + b_o) \tag{3} $$
    $$ i_t = \sigma(\bar x_t W_i + b_i) \tag{4} $$

    and by `pooling`
    $$ h_t = c_t = f_t \odot c_{t-1} + (1 - f_t) \odot z_t \tag{f} $$
    $$ c_t = f_t \odot c_{t-1} + (1 - f_t) \odot z_t, \qquad h_t = o_t \odot c_t \tag{fo} $$
    $$ c_t = f_t \odot c_{t-1} + i_t \odot z_t, \qquad h_t = o_t \odot c_t \tag{ifo} $$

    Inputs from before the first step of a sequence or document are zero; the state x carries the last W - 1 inputs,
    so that a sequence may be read in chunks. "Before" is in the order of reading, masked steps left out.

    Differs from the paper: there is a bias, off by `use_bias=False`. Its zoneout of f and its dense connections between
    layers are not here.

    Args:
        units: int > 0, H.
        activation: of z. Default tanh.
        use_bias: bool.
        window: int > 0, W, the width of the convolution. Default 2.
        pooling: `"f"`, `"fo"` or `"ifo"`. Default `"fo"`.
        **kwargs: see `ProjectingCell`. `learn_initial_state` learns c.

    Inputs and outputs: inputs (B, D), states [c (B, H), x (B, (W - 1) D), the oldest input first] -> output h (B, H),
        new states. With W = 1 the only state is c. At a masked step before any valid one h is zero (fo, ifo) or c (f).
    Weights: kernel (W D, G H), the D rows of the oldest input first; bias (G H,). Columns: z f (pooling f), z f o (fo),
        z f o i (ifo).
    Cost per step: 2 G B W D H flops in one product before the recurrence, and 3 B H in it.
    Raises:
        ValueError: if `window` or `pooling` is another one; if the state is asked for before the features are known.
    Reference: J. Bradbury, S. Merity, C. Xiong and R. Socher, Quasi-recurrent neural networks, ICLR 2017,
        arXiv:1611.01576.
    """

    GATES, STATES = "z f o i", "c x"

    def __init__(self, units, activation="tanh", use_bias=True, *, window=2, pooling="fo", **kwargs):
        super().__init__(units, use_bias=use_bias, **kwargs)
        self.activation = keras.activations.get(activation)
        self.window = positive("window", window)
        self.pooling = choice("pooling", pooling, tuple(POOLINGS))
        self.gates = tuple(POOLINGS[self.pooling].split())
        self.states = self.states if self.window > 1 else self.states[:1]

    def state_sizes(self):
        """H, and (W - 1) D for the last inputs."""
        if self.window == 1:
            return [self.units]
        if self.features is None:
            raise ValueError("Expected a cell that is built, since its state holds inputs. Received: no features yet")
        return [self.units, (self.window - 1) * self.features]

    @property
    def output_size(self):
        """H."""
        return self.units

    def build_kernel(self, width):
        """The kernel (W D, G H) of the convolution."""
        self.kernel = self.new_weight("kernel", (self.window * self.features, width))

    def coefficients(self, x):
        """Equations (1) to (4), and the pooling up to c."""
        z, f, *rest = self.project(x)
        z, f, *rest = [self.activation(z), *[ops.sigmoid(gate) for gate in (f, *rest)]]
        i = rest[1] if self.pooling == "ifo" else 1 - f
        return [f], [i * z], *rest[:1]

    def readout(self, h, beside):
        """The output from c, and from o where there is one."""
        return h[0] if beside is None else ops.cast(beside, h[0].dtype) * h[0]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class QRNN(CellLayer):
    """The quasi-recurrent layer, parallel over time.

    Equations and cell arguments: `QRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = QRNNCell
