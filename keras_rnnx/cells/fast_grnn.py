"""The fast gated recurrent network (Kusupati et al., 2018)."""

import keras
from keras import ops

from keras_rnnx.arguments import positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.base.projecting import known_features
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class FastGRNNCell(Cell):
    r"""One step of FastGRNN: a gate and a candidate that share their matrices.

    $$ z_t = \sigma(x_t W + h_{t-1} U + b_z) \tag{1} $$
    $$ \tilde h_t = \tanh(x_t W + h_{t-1} U + b_h) \tag{2} $$
    $$ h_t = (\sigma(\zeta) (1 - z_t) + \sigma(\nu)) \odot \tilde h_t + z_t \odot h_{t-1} \tag{3} $$

    zeta and nu are two trained numbers. FastGRNN-LSQ has matrices of low rank: \(W = W^1 W^2\) with `kernel_rank`, and
    \(U = U^1 U^2\) with `recurrent_structure="low_rank"` and `recurrent_rank`.

    Differs from the paper: no thresholding to sparse matrices and no quantization, which are ways to train; where the
    paper is silent, the starts of zeta, nu and the biases are those of the authors' code.

    Args:
        units: int > 0, H.
        activation: of h~ in (2). Default tanh.
        recurrent_activation: of the gate z. Default sigmoid.
        use_bias: bool, whether there are b_z and b_h.
        kernel_rank: int > 0 or None, R, the rank of W; None for a full matrix.
        zeta_initializer: of zeta, before the sigmoid. None: 1.
        nu_initializer: of nu, before the sigmoid. None: -4.
        bias_initializer: None: ones.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, H), recurrent_kernel (H, H), bias (2H: z h), zeta (1,), nu (1,). With `kernel_rank` W is
        kernel_left (D, R) times kernel (R, H).
    Raises:
        ValueError: if `kernel_rank` is no integer > 0.
    Cost per step: 2 B H (D + H) flops, one recurrent product; with ranks R and S 2 B (D R + R H + 2 S H).
    Reference: A. Kusupati, M. Singh, K. Bhatia, A. Kumar, P. Jain and M. Varma, FastGRNN: a fast, accurate, stable and
        tiny kilobyte sized gated recurrent neural network, NeurIPS 2018, arXiv:1901.02358.
    """

    GATES, STATES = "a", "h"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        kernel_rank=None,
        zeta_initializer=None,
        nu_initializer=None,
        bias_initializer=None,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer or "ones",
            **kwargs,
        )
        self.kernel_rank = None if kernel_rank is None else positive("kernel_rank", kernel_rank)
        self.zeta_initializer = keras.initializers.get(zeta_initializer or keras.initializers.Constant(1.0))
        self.nu_initializer = keras.initializers.get(nu_initializer or keras.initializers.Constant(-4.0))

    def build(self, input_shape):
        """Makes W in one or two parts, and zeta and nu."""
        features = known_features(input_shape)
        if self.kernel_rank:
            self.kernel_left = self.new_weight("kernel_left", (features, self.kernel_rank), role="kernel")
            input_shape = (*input_shape[:-1], self.kernel_rank)
        super().build(input_shape)
        self.features = features
        self.add_vector("zeta", (1,), self.zeta_initializer)
        self.add_vector("nu", (1,), self.nu_initializer)

    def build_bias(self, width):
        """Two biases for the one product."""
        self.bias = self.new_weight("bias", (2 * width,)) if self.use_bias else None

    def input_bias(self):
        """None: `step` adds b_z and b_h."""
        return None

    def values_of_vectors(self):
        """The sigmoids of zeta and nu, which are the same at every step, and the biases."""
        vectors = super().values_of_vectors()
        vectors.update({name: ops.sigmoid(vectors[name]) for name in ("zeta", "nu")})
        if self.use_bias:
            bias = ops.cast(self.bias, self.state_dtype)
            vectors.update(b_z=bias[: self.units], b_h=bias[self.units :])
        return vectors

    def project(self, x):
        """x W."""
        if self.kernel_rank:
            x = self.times(x, self.kernel_left)
        return super().project(x)

    def step(self, x, u, h):
        """Equations (1) to (3)."""
        a = x.a + u.a(h)
        b_z, b_h = (u.b_z, u.b_h) if self.use_bias else (0.0, 0.0)
        z = self.recurrent_activation(a + b_z)
        candidate = self.activation(a + b_h)
        return (u.zeta * (1 - z) + u.nu) * candidate + z * h


@keras.saving.register_keras_serializable(package="keras_rnnx")
class FastGRNN(CellLayer):
    """The FastGRNN layer.

    Equations and cell arguments: `FastGRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = FastGRNNCell
