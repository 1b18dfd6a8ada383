"""GRU-D, a gated recurrent unit for missing values (Che et al., 2018)."""

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import choice
from keras_rnnx.base.cell import Cell
from keras_rnnx.base.projecting import known_features
from keras_rnnx.engine.gates import split
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class GRUDCell(Cell):
    r"""One step of GRU-D: a missing value decays from its last observation to its mean, and so does the state.

    \(m_t\) is 1 where a feature is observed, else 0. \(\delta_t\) is the time since each feature was last observed,
    $$ \delta_t = \Delta_t + (1 - m_{t-1}) \odot \delta_{t-1} \tag{1} $$
    with the time \(\Delta_t\) since the step before. With the last observation \(x_{t'}\) of each feature before t and
    the empirical mean \(\tilde x\)
    $$ \gamma^x_t = \exp(-\max(0, w_\gamma \odot \delta_t + b^x_\gamma)) \tag{2} $$
    $$ \gamma^h_t = \exp(-\max(0, \delta_t W_\gamma + b^h_\gamma)) \tag{3} $$
    $$ \hat x_t = m_t \odot x_t + (1 - m_t) \odot (\gamma^x_t \odot x_{t'} + (1 - \gamma^x_t) \odot \tilde x) \tag{4} $$
    $$ \hat h_{t-1} = \gamma^h_t \odot h_{t-1} \tag{5} $$
    $$ z_t = \sigma(\hat x_t W_z + \hat h_{t-1} U_z + m_t V_z + b_z) \tag{6} $$
    $$ r_t = \sigma(\hat x_t W_r + \hat h_{t-1} U_r + m_t V_r + b_r) \tag{7} $$
    $$ n_t = \tanh(\hat x_t W_n + (r_t \odot \hat h_{t-1}) U_n + m_t V_n + b_n) \tag{8} $$
    $$ h_t = (1 - z_t) \odot \hat h_{t-1} + z_t \odot n_t \tag{9} $$

    What was never observed is at its mean. Outputs and gradients are finite whatever stands at missing values.

    Differs from the paper: the candidate is written h~ there, here n; \(\delta\) of the first step is \(\Delta_1\)
    rather than 0, which changes nothing from a zero state.

    Args:
        units: int > 0, H.
        activation: tanh in (8).
        recurrent_activation: sigmoid in (6) and (7).
        use_bias: bool, whether there are b and the b_gamma.
        missing: `"nan"`: a missing value is NaN; `"mask"`: the inputs are (B, 2D), first the values, then m, where
            more than 0.5 is 1; what stands at missing values is not read.
        **kwargs: see `Cell`; no `normalization`. `dropout` acts on the values, not on m. `recurrent_dropout` acts on
            the left operands of W_gamma, W, U_z and U_r, and U_n in this order, with four masks. A zoneout is for h
            alone, and with `learn_initial_state` only the start of h is trained.

    Inputs and outputs: inputs (B, D) or (B, 2D), states [h (B, H), last (B, D), since (B, D)], `deltas` -> output h
        (B, H), new states. `last` is the last observation minus its mean, 0 before any; `since` is the time from that
        to this step: 0 where observed, delta of (1) otherwise.
    Weights: kernel (D, 3H: z r n), recurrent_kernel (H, 3H), bias (3H,), mask_kernel (D, 3H: z r n): V,
        input_decay_kernel (D,): w_gamma, input_decay_bias (D,), hidden_decay_kernel (D, H): W_gamma, hidden_decay_bias
        (H,), and mean (D,), which is not trained. The decay kernels start uniform in [0, 0.1], where (2) and (3) have
        a gradient; the paper is silent. mean starts at 0: `adapt` sets it.
    Cost per step: 2 B H (7 D + 3 H) flops; four products in the loop, of which three wait for each other.
    Raises:
        ValueError: if `missing` is unknown, the inputs cannot be halved with `"mask"`, or an option is given that has
            no meaning here.
    Reference: Z. Che, S. Purushotham, K. Cho, D. Sontag and Y. Liu, Recurrent neural networks for multivariate time
        series with missing values, Scientific Reports 8, 2018, arXiv:1606.01865.
    """

    GATES, STATES, CANDIDATES = "z r n", "h last since", "n"
    TIMED, LANES = True, True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        missing="nan",
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.missing = choice("missing", missing, ("nan", "mask"))
        if self.normalization is not None:
            raise ValueError(
                "Expected normalization=None: the input of the gates is made in the loop. "
                f"Received: normalization={self.normalization!r}"
            )
        if isinstance(self.zoneout, (list, tuple)) and any(self.rates[1:]):
            raise ValueError(f"Expected `zoneout` of h alone. Received: zoneout={self.zoneout!r}")
        self.rates = (self.rates[0], 0.0, 0.0)
        self.values = None

    def state_sizes(self):
        """H, and D twice once the cell is built."""
        return [self.units, self.values, self.values]

    def build(self, input_shape):
        """Makes all weights from the number of values."""
        features = known_features(input_shape)
        if self.missing == "mask" and features % 2:
            raise ValueError(
                f'Expected as many features as mask entries with missing="mask". Received: shape {input_shape}'
            )
        self.values = features // 2 if self.missing == "mask" else features
        super().build((*input_shape[:-1], self.values))
        self.features = features
        for weight in self._initial[1:]:
            weight.trainable = False

    def build_own(self, width):
        """Adds V, the decays and the mean."""
        super().build_own(width)
        self.add_product("input", {"kernel": self.kernel}, self.gates)
        self.mask_kernel = self.new_weight("mask_kernel", (self.values, width), role="kernel")
        rate = keras.initializers.RandomUniform(0.0, 0.1, self.seed)
        self.add_vector("input_decay_kernel", (self.values,), rate)
        if self.use_bias:
            self.add_vector("input_decay_bias", (self.values,), self.bias_initializer)
        self._add_hidden_decay(rate)
        self.add_vector("mean", (self.values,))
        self.mean.trainable = False

    def _add_hidden_decay(self, rate):
        shape = (self.values, self.units)
        self.hidden_decay_kernel = self.add_kernel(name="hidden_decay_kernel", shape=shape, initializer=rate)
        self.add_product("hidden_decay", {"kernel": self.hidden_decay_kernel})
        if self.use_bias:
            self.hidden_decay_bias = self.add_weight(
                name="hidden_decay_bias", shape=(self.units,), initializer=self.bias_initializer
            )
            self._products["hidden_decay"]["bias"] = self.hidden_decay_bias

    def parted(self, x):
        """The values of rows (..., D) or (..., 2D), 0 where missing, and m."""
        if self.missing == "mask":
            x, mask = ops.split(x, 2, axis=-1)
            observed = mask > 0.5
        else:
            observed = ops.logical_not(ops.isnan(x))
        return ops.where(observed, x, ops.zeros_like(x)), ops.cast(observed, x.dtype)

    def project(self, m):
        """m V + b: what of the inputs is known before the walk."""
        return self.with_bias(split(self.times(m, self.mask_kernel), len(self.gates)))

    def inputs(self, x):
        """m V + b, the values and m."""
        values, m = self.parted(x)
        return {**super().inputs(m), "values": values, "m": m}

    def dropped(self, x, how):
        """Dropout of the values alone."""
        if self.missing == "nan":
            return super().dropped(x, how)
        values, mask = ops.split(x, 2, axis=-1)
        return ops.concatenate([super().dropped(values, how), mask], axis=-1)

    def step(self, x, u, h, last, since):
        """Equations (1) to (9)."""
        gates, (value, m) = x.split("z r n", "values m")
        delta = u.delta + since
        rate = u.input_decay_kernel * delta
        fade = _decay(rate + u.input_decay_bias if self.use_bias else rate)
        x_hat = m * value + (1 - m) * (u.mean + fade * last)
        h_hat = _decay(u.hidden_decay(delta)) * h
        a_zr, a_n = (gates + u.input(x_hat)).split("z r", "n")
        z, r = self.activate(a_zr + u.take("z", "r")(h_hat))
        n = self.activation(a_n.n + u.n(r * h_hat))
        h_new = (1 - z) * h_hat + z * n
        return h_new, m * (value - u.mean) + (1 - m) * last, (1 - m) * delta

    def adapt(self, sequences):
        """Sets the mean of each feature to that of its observed values, 0 where there are none.

        Args:
            sequences: array (..., D) or (..., 2D), as the cell takes them.
        """
        sequences = np.asarray(sequences, "float64")
        if not self.built:
            self.build((None, sequences.shape[-1]))
        x = sequences.reshape(-1, sequences.shape[-1])
        x, observed = np.split(x, 2, axis=-1) if self.missing == "mask" else (x, ~np.isnan(x))
        observed = observed > 0.5
        self.mean.assign(np.where(observed, x, 0.0).sum(0) / np.maximum(observed.sum(0), 1))


def _decay(rate):
    """(2) and (3)."""
    return ops.exp(-ops.relu(rate))


@keras.saving.register_keras_serializable(package="keras_rnnx")
class GRUD(CellLayer):
    """The GRU-D layer.

    Equations and cell arguments: `GRUDCell`. Layer arguments and call: `RNN`.
    """

    CELL = GRUDCell

    def adapt(self, sequences):
        """Sets the means: see `GRUDCell.adapt`.

        Args:
            sequences: array (B, T, D) or (B, T, 2D).
        """
        if not self.built:
            self.build(np.shape(sequences))
        self.cell.adapt(sequences)
