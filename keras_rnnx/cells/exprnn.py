"""The orthogonal recurrent network by the matrix exponential (Lezcano-Casado and Martinez-Rubio, 2019)."""

import keras
from keras import ops

from keras_rnnx.arguments import choice
from keras_rnnx.base import orthogonal
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer

STARTS = {"henaff": orthogonal.Henaff, "cayley": orthogonal.Cayley}


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ExpRNNCell(Cell):
    r"""One step of expRNN: a recurrent network whose recurrent matrix stays orthogonal.

    $$ U = e^{A - A^\top} \tag{1} $$
    $$ v_t = x_t T + h_{t-1} U \tag{2} $$
    $$ h_t = \operatorname{sign}(v_t) \odot \max(|v_t| + b, 0) \tag{3} $$

    (3) is modReLU. The exponential is taken once for each call, in float32 or float64, with a gradient.

    Differs from the paper: A is a full matrix of which only \(A - A^\top\) counts; the authors' program takes the
    entries above the diagonal, so that a step of training at the same rate turns U by half as much there.

    Args:
        units: int > 0, H.
        use_bias: bool, whether modReLU has its b; without it (3) is h = v.
        kernel_initializer: of T. Default `"he_normal"`, in the authors' program without truncation.
        recurrent_initializer: of A: `"henaff"`, the default, `"cayley"` or any initializer. The two make A - A^T of
            2 x 2 blocks (0, s; -s, 0): s is uniform in (-pi, pi), or -sqrt((1 - cos v) / (1 + cos v)) with v uniform in
            (0, pi / 2).
        **kwargs: see `Cell`. `recurrent_structure` is `"dense"` or `"block"` and says the form of A.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, H): T, recurrent_kernel (H, H): A, modrelu_bias (H,), which starts uniform in (-0.01, 0.01).
    Cost per step: 2 B H (D + H) flops, one recurrent product; about 20 H^3 flops more for each call.
    Raises:
        ValueError: if `recurrent_structure` is another one.
    Reference: M. Lezcano-Casado and D. Martinez-Rubio, Cheap orthogonal constraints in neural networks: a simple
        parametrization of the orthogonal and unitary group, ICML 2019, arXiv:1901.08428.
    """

    GATES, STATES = "h", "h"
    LANES = True

    def __init__(
        self, units, use_bias=True, *, kernel_initializer="he_normal", recurrent_initializer="henaff", **kwargs
    ):
        if isinstance(recurrent_initializer, str) and recurrent_initializer in STARTS:
            recurrent_initializer = STARTS[recurrent_initializer]()
        super().__init__(
            units,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            **kwargs,
        )
        choice("recurrent_structure", self.recurrent_structure, orthogonal.FORMS)

    def build_bias(self, width):
        """The bias of modReLU; x T has none."""
        self.bias = None
        if self.use_bias:
            self.add_vector("modrelu_bias", initializer=keras.initializers.RandomUniform(-0.01, 0.01))

    def weights_of_products(self):
        """Equation (1)."""
        weights = super().weights_of_products()
        for key, a in self._products["recurrent"].items():
            exponential = orthogonal.expm(orthogonal.skew(ops.cast(self.value_of(a), self.state_dtype)))
            weights["recurrent"][key] = ops.cast(exponential, self.compute_dtype)
        return weights

    def step(self, x, u, h):
        """Equations (2) and (3)."""
        v = x.h + u.h(h)
        return ops.sign(v) * ops.relu(ops.abs(v) + u.modrelu_bias) if self.use_bias else v


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ExpRNN(CellLayer):
    """The orthogonal recurrent layer by the matrix exponential.

    Equations and cell arguments: `ExpRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = ExpRNNCell
