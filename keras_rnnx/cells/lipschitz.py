"""The Lipschitz recurrent network (Erichson et al., 2021)."""

import keras
from keras import ops

from keras_rnnx.arguments import choice, number
from keras_rnnx.base import orthogonal
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


def _pair(name, value, interval):
    """`value` for A and for W, from one number or two."""
    pair = value if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"Expected `{name}` to be one number or one each for A and W. Received: {name}={value!r}")
    return tuple(number(name, v, interval) for v in pair)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LipschitzRNNCell(Cell):
    r"""One step of the Lipschitz recurrent network: a stable linear part plus a Lipschitz nonlinearity.

    $$ A = (1 - \beta_A)(M_A + M_A^\top) + \beta_A (M_A - M_A^\top) - \gamma_A I \tag{1} $$
    $$ W = (1 - \beta_W)(M_W + M_W^\top) + \beta_W (M_W - M_W^\top) - \gamma_W I \tag{2} $$
    $$ F_t(h) = h A + \tanh(x_t U + h W + b) \tag{3} $$

    A step of size epsilon by forward Euler, `solver="euler"`, or by the midpoint rule, `solver="rk2"`:
    $$ h_t = h_{t-1} + \epsilon\, F_t(h_{t-1}) \tag{4a} $$
    $$ h_t = h_{t-1} + \epsilon\, F_t(h_{t-1} + \tfrac{\epsilon}{2} F_t(h_{t-1})) \tag{4b} $$

    Differs from the paper: in nothing; states are rows here, as in the authors' program, so that M is the transpose of
    the paper's.

    Args:
        units: int > 0, H.
        activation: tanh in (3). The paper asks for a Lipschitz function that does not decrease.
        use_bias: bool.
        beta: float in [0, 1], 0 for symmetric and 1 for skew-symmetric; one number, or a pair for A and W. The
            defaults of `beta`, `gamma` and `epsilon` are those of the authors' program for ordered MNIST.
        gamma: float >= 0, the shift of the eigenvalues to the left; one number, or a pair for A and W.
        epsilon: float > 0, the step size.
        solver: `"euler"` or `"rk2"`.
        recurrent_initializer: of M_A and M_W. Default, as in the paper: normal with variance 0.1 / H.
        **kwargs: see `Cell`. `recurrent_structure` is `"dense"` or `"block"` and says the form of M_A and M_W.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, H), recurrent_kernel (H, 2H: M_A M_W), bias (H,).
    Cost per step: 2 B H (D + 2 H) flops and one recurrent product, which gives h A and h W; with `"rk2"`
        2 B H (D + 4 H) and two.
    Raises:
        ValueError: if an argument is out of range, or `recurrent_structure` is another one.
    Reference: N. B. Erichson, O. Azencot, A. Queiruga, L. Hodgkinson and M. W. Mahoney, Lipschitz recurrent neural
        networks, ICLR 2021, arXiv:2006.12070.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "w", "a w", "h", "w"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        *,
        beta=0.75,
        gamma=0.001,
        epsilon=0.03,
        solver="euler",
        recurrent_initializer=None,
        **kwargs,
    ):
        recurrent_initializer = recurrent_initializer or keras.initializers.VarianceScaling(
            0.1, "fan_in", "untruncated_normal"
        )
        super().__init__(
            units, activation=activation, use_bias=use_bias, recurrent_initializer=recurrent_initializer, **kwargs
        )
        choice("recurrent_structure", self.recurrent_structure, orthogonal.FORMS)
        self.betas = _pair("beta", beta, "[0, 1]")
        self.gammas = _pair("gamma", gamma, "[0, inf)")
        self.beta = beta
        self.gamma = gamma
        self.epsilon = number("epsilon", epsilon, "(0, inf)")
        self.solver = choice("solver", solver, ("euler", "rk2"))

    def weights_of_products(self):
        """A and W, side by side, in the place of M_A and M_W."""
        weights = super().weights_of_products()
        weights["recurrent"] = {key: self._formed(m) for key, m in weights["recurrent"].items()}
        return weights

    def _formed(self, m):
        """Equations (1) and (2)."""
        made = []
        for part, beta, gamma in zip(ops.split(m, 2, axis=-1), self.betas, self.gammas, strict=True):
            flipped = orthogonal.transposed(part)
            made.append(orthogonal.shifted((1 - beta) * (part + flipped) + beta * (part - flipped), gamma))
        return ops.concatenate(made, axis=-1)

    def step(self, x, u, h):
        """Equations (3) and (4)."""

        def slope(left):
            product = u(left)
            return product.a + self.activation(x.w + product.w)

        if self.solver == "rk2":
            return h + self.epsilon * slope(h + self.epsilon / 2 * slope(h))
        return h + self.epsilon * slope(h)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LipschitzRNN(CellLayer):
    """The Lipschitz recurrent layer.

    Equations and cell arguments: `LipschitzRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = LipschitzRNNCell
