"""Antisymmetric recurrent networks (Chang et al., 2019), plain and gated."""

import keras

from keras_rnnx.arguments import choice, number
from keras_rnnx.base import orthogonal
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


class _AntisymmetricCell(Cell):
    """What both cells share: U = M - M^T - gamma I, and the step size."""

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        *,
        epsilon=0.01,
        gamma=0.01,
        recurrent_initializer="lecun_normal",
        **kwargs,
    ):
        super().__init__(
            units, activation=activation, use_bias=use_bias, recurrent_initializer=recurrent_initializer, **kwargs
        )
        choice("recurrent_structure", self.recurrent_structure, orthogonal.FORMS)
        self.epsilon = number("epsilon", epsilon, "(0, inf)")
        self.gamma = number("gamma", gamma, "[0, inf)")

    def weights_of_products(self):
        """M - M^T - gamma I in the place of M."""
        weights = super().weights_of_products()
        parts = weights["recurrent"].items()
        weights["recurrent"] = {key: orthogonal.shifted(orthogonal.skew(m), self.gamma) for key, m in parts}
        return weights


@keras.saving.register_keras_serializable(package="keras_rnnx")
class AntisymmetricRNNCell(_AntisymmetricCell):
    r"""One step of the antisymmetric recurrent network, a forward Euler step of a stable differential equation.

    $$ U = M - M^\top - \gamma I \tag{1} $$
    $$ h_t = h_{t-1} + \epsilon \tanh(x_t V + h_{t-1} U + b) \tag{2} $$

    The eigenvalues of U have the real part \(-\gamma\): the diffusion gamma makes up for the growth that Euler's
    method adds to a purely oscillating system.

    Differs from the paper: in nothing; states are rows here, so that M is the transpose of the paper's \(W_h\).

    Args:
        units: int > 0, H.
        activation: tanh in (2).
        use_bias: bool.
        epsilon: float > 0, the step size. The paper tunes it for each task. Default 0.01.
        gamma: float >= 0, the diffusion. The paper tunes it for each task. Default 0.01.
        recurrent_initializer: of M. Default: normal with variance 1/H.
        **kwargs: see `Cell`. `recurrent_structure` is `"dense"` or `"block"` and says the form of M.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, H), recurrent_kernel (H, H): M, bias (H,).
    Cost per step: 2 B H (D + H) flops, one recurrent product.
    Raises:
        ValueError: if `epsilon` or `gamma` is out of range, or `recurrent_structure` is another one.
    Reference: B. Chang, M. Chen, E. Haber and E. H. Chi, AntisymmetricRNN: a dynamical system view on recurrent neural
        networks, ICLR 2019, arXiv:1902.09689.
    """

    GATES, STATES, CANDIDATES = "h", "h", "h"
    LANES = True

    def step(self, x, u, h):
        """Equation (2)."""
        return h + self.epsilon * self.activation(x.h + u.h(h))


@keras.saving.register_keras_serializable(package="keras_rnnx")
class AntisymmetricRNN(CellLayer):
    """The antisymmetric recurrent layer.

    Equations and cell arguments: `AntisymmetricRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = AntisymmetricRNNCell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class GatedAntisymmetricRNNCell(_AntisymmetricCell):
    r"""One step of the gated antisymmetric recurrent network; gate and candidate share one recurrent matrix.

    $$ U = M - M^\top - \gamma I \tag{1} $$
    $$ z_t = \sigma(x_t V_z + h_{t-1} U + b_z) \tag{2} $$
    $$ h_t = h_{t-1} + \epsilon\, z_t \odot \tanh(x_t V_h + h_{t-1} U + b_h) \tag{3} $$

    Differs from the paper: in nothing; states are rows here, so that M is the transpose of the paper's \(W_h\).

    Args:
        units: int > 0, H.
        activation: tanh in (3).
        recurrent_activation: of the gate z. Default sigmoid.
        use_bias: bool.
        epsilon: float > 0, the step size. The paper tunes it for each task. Default 0.01.
        gamma: float >= 0, the diffusion. The paper tunes it for each task. Default 0.01.
        recurrent_initializer: of M. Default: normal with variance 1/H.
        **kwargs: see `Cell`. `recurrent_structure` is `"dense"` or `"block"` and says the form of M.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: z h), recurrent_kernel (H, H): M, bias (2H,).
    Cost per step: 2 B H (2 D + H) flops, one recurrent product.
    Raises:
        ValueError: if `epsilon` or `gamma` is out of range, or `recurrent_structure` is another one.
    Reference: B. Chang, M. Chen, E. Haber and E. H. Chi, AntisymmetricRNN: a dynamical system view on recurrent neural
        networks, ICLR 2019, arXiv:1902.09689.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "z h", "h", "h", "h"
    LANES = True

    def __init__(self, units, activation="tanh", recurrent_activation="sigmoid", use_bias=True, **kwargs):
        super().__init__(units, activation, use_bias, recurrent_activation=recurrent_activation, **kwargs)

    def step(self, x, u, h):
        """Equations (2) and (3)."""
        x_z, x_h = x
        product = u.h(h)
        z = self.recurrent_activation(x_z + product)
        return h + self.epsilon * z * self.activation(x_h + product)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class GatedAntisymmetricRNN(CellLayer):
    """The gated antisymmetric recurrent layer.

    Equations and cell arguments: `GatedAntisymmetricRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = GatedAntisymmetricRNNCell
