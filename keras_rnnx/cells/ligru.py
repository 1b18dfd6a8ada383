"""The light gated recurrent unit (Ravanelli et al., 2018)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.engine.gates import joined, split
from keras_rnnx.layers.rnn import CellLayer

EPSILON, MOMENTUM = 1e-5, 0.95  # of the batch normalization in the authors' code


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LiGRUCell(Cell):
    r"""One step of the light gated recurrent unit: a GRU without reset gate, whose candidate is rectified.

    $$ z_t = \sigma(\mathrm{BN}(x_t W_z) + h_{t-1} U_z + b_z) \tag{1} $$
    $$ \tilde h_t = \mathrm{ReLU}(\mathrm{BN}(x_t W_h) + h_{t-1} U_h + b_h) \tag{2} $$
    $$ h_t = z_t \odot h_{t-1} + (1 - z_t) \odot \tilde h_t \tag{3} $$
    $$ \mathrm{BN}(a) = \gamma \odot \frac{a - \mu}{\sqrt{\nu + 10^{-5}}} \tag{4} $$

    In training \(\mu\) and \(\nu\) are the mean and the variance of each column over all valid steps of the batch, and
    `moving_mean` and `moving_variance` move a twentieth of the way to them; at inference they are these. Gradients
    cross the cuts of `("tbptt", k)` through them. The state is not bounded: without (4) it can grow.

    Differs from the paper: in nothing. b is the shift of its batch normalization.

    Args:
        units: int > 0, H.
        activation: of the candidate in (2). Default relu.
        recurrent_activation: of the gate z. Default sigmoid.
        use_bias: bool.
        batch_normalization: bool. False leaves (4) out: BN(a) = a. Default True. A cell that is fed by another one, or
            trained one step at a time, needs False. A frozen cell (`trainable=False`) uses the moving mean and
            variance in training, too.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: z h), recurrent_kernel (H, 2H: z h), bias (2H,), and of (4) batch_gain, moving_mean and
        moving_variance (2H,), of which the last two are not trained.
    Cost per step: 4 B H (D + H) flops, one recurrent product.
    Raises:
        ValueError: with `batch_normalization`, if another cell feeds it, or in a single training step.
    Reference: M. Ravanelli, P. Brakel, M. Omologo and Y. Bengio, Light gated recurrent units for speech recognition,
        IEEE Transactions on Emerging Topics in Computational Intelligence 2(2), 2018, arXiv:1803.10225.
    """

    GATES, STATES, CANDIDATES = "z h", "h", "h"
    LANES = True

    def __init__(
        self,
        units,
        activation="relu",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        batch_normalization=True,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.batch_normalization = bool(batch_normalization)

    @property
    def measures(self):
        """Whether there is a batch normalization that is not frozen."""
        return self.batch_normalization and self.trainable

    def build_own(self, width):
        """Makes the weights of (4) after all others."""
        super().build_own(width)
        if self.batch_normalization:
            wide = {"shape": (width,), "dtype": self.state_dtype}
            self.batch_gain = self.add_weight(name="batch_gain", initializer="ones", **wide)
            moving = {**wide, "trainable": False, "aggregation": "mean"}
            self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **moving)
            self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **moving)

    def project(self, x):
        """BN(x W) + b by the moving mean and variance."""
        gates = self.product(x)
        if not self.batch_normalization:
            return self.with_bias(gates)
        moving = (split(ops.cast(w, self.state_dtype), len(gates)) for w in (self.moving_mean, self.moving_variance))
        return self._normalized(gates, list(zip(*moving, strict=True)))

    def inputs_of_sequence(self, x, how):
        """By the mean and variance of the batch in training, which the moving ones follow."""
        if not (how.training and self.measures):
            return super().inputs_of_sequence(x, how)
        gates = self.product(self.dropped(x, how))
        valid = ops.ones(ops.shape(x)[:2], "bool") if how.mask is None else how.mask
        moments = [_moments(ops.cast(gate, self.state_dtype), valid[:, :, None]) for gate in gates]
        rate = ops.cast(ops.any(valid), self.state_dtype) * (1 - MOMENTUM)
        for moving, now in zip((self.moving_mean, self.moving_variance), zip(*moments, strict=True), strict=True):
            change = ops.stop_gradient(joined(list(now))) - moving
            moving.assign(moving + rate * change)
        return dict(zip(self.gates, self._normalized(gates, moments), strict=True))

    def _normalized(self, gates, moments):
        """Equation (4) of a list of gates, and the bias."""
        gains = split(ops.cast(self.batch_gain, self.state_dtype), len(gates))
        made = [
            (ops.cast(gate, self.state_dtype) - mean) * (ops.rsqrt(variance + EPSILON) * gain)
            for gate, gain, (mean, variance) in zip(gates, gains, moments, strict=True)
        ]
        return self.with_bias([ops.cast(gate, self.compute_dtype) for gate in made])

    def step(self, x, u, h):
        """Equations (1) to (3)."""
        z, candidate = self.activate(x + u(h))
        return z * h + (1 - z) * candidate


def _moments(a, valid):
    """Mean and variance of the columns of a (T, B, H) over the valid steps (T, B, 1); 0 and 0 where there is none."""
    count = ops.sum(ops.cast(valid, a.dtype))
    count = ops.where(count > 0, count, ops.ones_like(count))
    mean = ops.sum(ops.where(valid, a, ops.zeros_like(a)), axis=(0, 1)) / count
    apart = ops.where(valid, a - mean, ops.zeros_like(a))
    return mean, ops.sum(apart * apart, axis=(0, 1)) / count


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LiGRU(CellLayer):
    """The light gated recurrent layer.

    Equations and cell arguments: `LiGRUCell`. Layer arguments and call: `RNN`.
    """

    CELL = LiGRUCell
