"""The three evolved units MUT1, MUT2 and MUT3 (Jozefowicz et al., 2015)."""

import keras

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


class Mutant(Cell):
    """What the three share: their arguments, and for MUT1 and MUT2 a gate that sees x itself (`BARE`).

    The bias of that gate is the last part of `bias`; it has no columns in `kernel`.
    """

    BARE = True
    LANES = True

    def build_bias(self, width):
        """The bias, with a part for the gate that sees x itself."""
        super().build_bias(width + self.units * self.BARE)

    def input_bias(self):
        """The part of the bias that belongs to x W."""
        bias = super().input_bias()
        return bias[: -self.units] if self.BARE and bias is not None else bias

    def with_bare_bias(self, x):
        """What the gate that sees x itself reads, with its bias."""
        return x if self.bias is None else x + self._cast(self.bias)[-self.units :]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MUT1Cell(Mutant):
    r"""One step of MUT1, whose update gate sees only the input and whose candidate sees x itself.

    $$ z_t = \sigma(x_t W_z + b_z) \tag{1} $$
    $$ r_t = \sigma(x_t W_r + h_{t-1} U_r + b_r) \tag{2} $$
    $$ h_t = z_t \odot \tanh((r_t \odot h_{t-1}) U_h + \tanh(x_t) + b_h) + (1 - z_t) \odot h_{t-1} \tag{3} $$

    x in (3) is x where D = H; x W_in otherwise.

    Differs from the paper: W_in, without which D = H would be needed. Its h_t and h_{t+1} are h_{t-1} and h_t here.

    Args:
        units: int > 0, H.
        activation: both tanh of (3).
        recurrent_activation: of the gates z and r. Default sigmoid.
        use_bias: bool.
        **kwargs: see `Cell`. `normalization` applies to x W and to the recurrent products, not to the x of (3).

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: z r), recurrent_kernel (H, 2H: r h), bias (3H: z r h); input_kernel (D, H), W_in, only
        where D is not H.
    Cost per step: 4 B H (D + H) flops, two recurrent products; 2 B H D more where D is not H.
    Reference: R. Jozefowicz, W. Zaremba and I. Sutskever, An empirical exploration of recurrent network architectures,
        ICML 2015.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "z r", "r h", "h", "h"

    def inputs(self, x):
        """The update gate, the input of the reset gate, and all that the candidate takes from x."""
        made = super().inputs(x)
        made["z"] = self.recurrent_activation(made["z"])
        return {**made, "h": self.with_bare_bias(self.activation(self.bare(x)))}

    def step(self, x, u, h):
        """Equations (2) and (3); `inputs` has made (1)."""
        z, x_r, x_h = x
        r = self.recurrent_activation(x_r + u.r(h))
        candidate = self.activation(u.h(r * h) + x_h)
        return z * candidate + (1 - z) * h


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MUT1(CellLayer):
    """The MUT1 layer.

    Equations and cell arguments: `MUT1Cell`. Layer arguments and call: `RNN`.
    """

    CELL = MUT1Cell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MUT2Cell(Mutant):
    r"""One step of MUT2, whose reset gate sees x itself.

    $$ z_t = \sigma(x_t W_z + h_{t-1} U_z + b_z) \tag{1} $$
    $$ r_t = \sigma(x_t + h_{t-1} U_r + b_r) \tag{2} $$
    $$ h_t = z_t \odot \tanh((r_t \odot h_{t-1}) U_h + x_t W_h + b_h) + (1 - z_t) \odot h_{t-1} \tag{3} $$

    x in (2) is x where D = H; x W_in otherwise.

    Differs from the paper: W_in, without which D = H would be needed. Its h_t and h_{t+1} are h_{t-1} and h_t here.

    Args:
        units: int > 0, H.
        activation: of the candidate in (3). Default tanh.
        recurrent_activation: of the gates z and r. Default sigmoid.
        use_bias: bool.
        **kwargs: see `Cell`. `normalization` applies to x W and to the recurrent products, not to the x of (2).

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: z h), recurrent_kernel (H, 3H: z r h), bias (3H: z h r); input_kernel (D, H), W_in, only
        where D is not H.
    Cost per step: 2 B H (2 D + 3 H) flops, two recurrent products; 2 B H D more where D is not H.
    Reference: R. Jozefowicz, W. Zaremba and I. Sutskever, An empirical exploration of recurrent network architectures,
        ICML 2015.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "z h", "z r h", "h", "h"

    def inputs(self, x):
        """The inputs of z, r and the candidate."""
        made = super().inputs(x)
        return {"z": made["z"], "r": self.with_bare_bias(self.bare(x)), "h": made["h"]}

    def step(self, x, u, h):
        """Equations (1) to (3)."""
        x_zr, x_h = x.split("z r", "h")
        z, r = self.activate(x_zr + u.take("z", "r")(h))
        candidate = self.activation(u.h(r * h) + x_h.h)
        return z * candidate + (1 - z) * h


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MUT2(CellLayer):
    """The MUT2 layer.

    Equations and cell arguments: `MUT2Cell`. Layer arguments and call: `RNN`.
    """

    CELL = MUT2Cell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MUT3Cell(Mutant):
    r"""One step of MUT3, whose update gate sees the squashed state.

    $$ z_t = \sigma(x_t W_z + \tanh(h_{t-1}) U_z + b_z) \tag{1} $$
    $$ r_t = \sigma(x_t W_r + h_{t-1} U_r + b_r) \tag{2} $$
    $$ h_t = z_t \odot \tanh((r_t \odot h_{t-1}) U_h + x_t W_h + b_h) + (1 - z_t) \odot h_{t-1} \tag{3} $$

    Differs from the paper: in nothing. Its h_t and h_{t+1} are h_{t-1} and h_t here.

    Args:
        units: int > 0, H.
        activation: both tanh, in (1) and (3).
        recurrent_activation: of the gates z and r. Default sigmoid.
        use_bias: bool.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 3H: z r h), recurrent_kernel (H, 3H: z r h), bias (3H,).
    Cost per step: 6 B H (D + H) flops, three recurrent products.
    Reference: R. Jozefowicz, W. Zaremba and I. Sutskever, An empirical exploration of recurrent network architectures,
        ICML 2015.
    """

    GATES, STATES, CANDIDATES = "z r h", "h", "h"
    BARE = False

    def step(self, x, u, h):
        """Equations (1) to (3)."""
        z = self.recurrent_activation(x.z + u.z(self.activation(h)))
        r = self.recurrent_activation(x.r + u.r(h))
        candidate = self.activation(u.h(r * h) + x.h)
        return z * candidate + (1 - z) * h


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MUT3(CellLayer):
    """The MUT3 layer.

    Equations and cell arguments: `MUT3Cell`. Layer arguments and call: `RNN`.
    """

    CELL = MUT3Cell
