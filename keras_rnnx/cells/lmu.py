"""The Legendre memory unit (Voelker, Kajić and Eliasmith, 2019)."""

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import choice, number, positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.engine.backends import backend
from keras_rnnx.layers.rnn import CellLayer


def legendre_system(order):
    """The matrices A (d, d) and B (d,) of the delay system theta dm/dt = A m + B u, for d = `order`."""
    i, j = np.arange(order)[:, None], np.arange(order)[None]
    a = (2 * i + 1) * np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
    return a, ((2 * i + 1) * (-1.0) ** i)[:, 0]


def discretized(a, b, theta, method):
    """The matrices of m_t = A m_{t-1} + B u_t, for steps of 1 in a window of theta.

    Args:
        a: (d, d), A of the continuous system.
        b: (d,), B of the continuous system.
        theta: float > 0.
        method: `"zoh"`, exact for an input that is held between steps, or `"euler"`.
    """
    a, b, size = a / theta, b / theta, len(b)
    if method == "euler":
        return a + np.eye(size), b
    joint = np.zeros((size + 1, size + 1))  # its exponential is [[A, B], [0, 1]]
    joint[:size, :size], joint[:size, size] = a, b
    result = _exponential(joint)
    return result[:size, :size], result[:size, size]


def _exponential(a):
    """exp(a) by scaling, a Taylor series to rounding, and squaring."""
    squarings = max(0, int(np.ceil(np.log2(max(np.abs(a).sum(1).max(), 1e-30)))) + 1)
    a = a / 2.0**squarings
    term = total = np.eye(len(a))
    for k in range(1, 20):
        term = term @ a / k
        total = total + term
    for _ in range(squarings):
        total = total @ total
    return total


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LMUCell(Cell):
    r"""One step of the Legendre memory unit: a linear memory of the last theta steps beside a nonlinear state.

    $$ u_t = x_t e_x + h_{t-1} e_h + m_{t-1} e_m \tag{1} $$
    $$ m_t = m_{t-1} \bar A^\top + u_t \bar B^\top \tag{2} $$
    $$ h_t = \tanh(x_t W_x + h_{t-1} W_h + m_t W_m + b) \tag{3} $$

    m holds the coefficients of the last theta values of u in the first d Legendre polynomials. \(\bar A\) and
    \(\bar B\) are fixed; they make discrete
    $$ \theta \dot m = A m + B u, \quad A_{ij} = (2 i + 1) \begin{cases} -1 & i < j \\ (-1)^{i - j + 1} & i \ge j
       \end{cases}, \quad B_i = (2 i + 1) (-1)^i, \quad i, j = 0..d-1 \tag{4} $$
    with steps of 1: by zero-order hold, \(\bar A = e^{A / \theta}\) and \(\bar B = A^{-1} (\bar A - I) B\), or by
    Euler's method, \(\bar A = I + A / \theta\) and \(\bar B = B / \theta\). In `ParallelLMUCell` the
    same memory sees the inputs alone, so that all steps are computed at once.

    Differs from the paper: in nothing; it has no bias b, which `use_bias=True` adds.

    Args:
        units: int > 0, H.
        activation: tanh in (3).
        use_bias: bool, whether there is b. Default False, as in the paper.
        order: int > 0, d.
        theta: float > 0, the length of the window in steps.
        discretization: `"zoh"`, as in the paper's experiments, or `"euler"`, which is stable only where theta is large
            against the square of `order`.
        kernel_initializer: of W_x. Default: normal of Glorot, as in the paper.
        recurrent_initializer: of W_h and W_m. Default: normal of Glorot, for W_h as in the paper and for W_m as in the
            authors' code.
        **kwargs: see `Cell`. `recurrent_dropout` acts on h_{t-1} and m_{t-1} in (1), on h_{t-1} and then m_t in (3), in
            this order, with four masks, never on the memory in (2). `recurrent_structure` and `normalization` act on
            h W_h.

    Inputs and outputs: inputs (B, D), states [h (B, H), m (B, d)] -> output h (B, H), new states.
    Weights: kernel (D, H): W_x, recurrent_kernel (H, H): W_h, memory_kernel (d, H): W_m, input_encoder (D, 1): e_x,
        hidden_encoder_kernel (H, 1): e_h, memory_encoder_kernel (d, 1): e_m, bias (H,). e_x and e_h start uniform after
        LeCun, e_m at zero, as in the paper.
    Cost per step: 2 B (H (D + H + d) + d^2 + D + H + d) flops; (3) waits for (2).
    Raises:
        ValueError: if `order` is no integer > 0, `theta` is not > 0, or `discretization` is unknown.
    Reference: A. R. Voelker, I. Kajić and C. Eliasmith, Legendre memory units: continuous-time representation in
        recurrent neural networks, NeurIPS 2019.
    """

    GATES, STATES, CANDIDATES = "h", "h m", "h"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=False,
        *,
        order,
        theta,
        discretization="zoh",
        kernel_initializer="glorot_normal",
        recurrent_initializer="glorot_normal",
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            **kwargs,
        )
        self.order = positive("order", order)
        self.theta = number("theta", theta, "(0, inf)")
        self.discretization = choice("discretization", discretization, ("zoh", "euler"))

    def state_sizes(self):
        """H and d."""
        return [self.units, self.order]

    def build_own(self, width):
        """Adds W_m and the encoders."""
        super().build_own(width)
        self.system = discretized(*legendre_system(self.order), self.theta, self.discretization)
        self.add_matrix("memory", (self.order, self.units))
        self.input_encoder = self.new_weight("input_encoder", (self.features, 1), "lecun_uniform", "kernel")
        self._add_encoder("hidden", self.units, "lecun_uniform")
        self._add_encoder("memory", self.order, "zeros")

    def _add_encoder(self, name, size, start):
        name = f"{name}_encoder"
        kernel = self.new_weight(f"{name}_kernel", (size, 1), start)
        self.add_product(name, {"kernel": kernel})
        setattr(self, f"{name}_kernel", kernel)

    def inputs(self, x):
        """x W_x + b and x e_x."""
        return {**super().inputs(x), "u": self.times(x, self.input_encoder)}

    def step(self, x, u, h, m):
        """Equations (1) to (3)."""
        signal = x.u + u.hidden_encoder(h) + u.memory_encoder(m)
        a, b = (ops.cast(part, m.dtype) for part in self.system)
        m_new = backend.matmul(m, ops.transpose(a), m.dtype) + signal * b
        return self.activation(x.h + u.h(h) + u.memory(m_new)), m_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LMU(CellLayer):
    """The Legendre memory layer.

    Equations and cell arguments: `LMUCell`. Layer arguments and call: `RNN`.
    """

    CELL = LMUCell
