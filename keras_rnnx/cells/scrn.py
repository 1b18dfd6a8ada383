"""The structurally constrained recurrent network (Mikolov et al., 2015)."""

import math

import keras
from keras import ops

from keras_rnnx.arguments import number, positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SCRNCell(Cell):
    r"""One step of the structurally constrained network: hidden units beside slow context units.

    $$ s_t = (1 - \alpha) \, x_t B + \alpha \, s_{t-1} \tag{1} $$
    $$ h_t = \sigma(s_t P + x_t A + h_{t-1} R + b) \tag{2} $$

    With `learn_alpha` each context unit has a rate of its own, \(\alpha = \sigma(\beta)\), which is trained: the
    paper's diagonal matrix Q.

    Differs from the paper: the bias b; the read-out y = f(h U + s V) is left to the layers above: the output is h, and
    `return_all_states=True` gives s too.

    Args:
        units: int > 0, H, the number of hidden units.
        activation: of h in (2). Default sigmoid, as in the paper.
        use_bias: bool, whether there is b.
        context_units: int > 0 or None, C, the number of context units. Default: H.
        alpha: float in (0, 1). Default 0.95.
        learn_alpha: bool, whether alpha is trained; then `alpha` is where it starts.
        **kwargs: see `Cell`. `recurrent_dropout` acts on s_t before P and then on h_{t-1} before R, with two masks in
            this order; `recurrent_structure` shapes R; `normalization` acts on x A and h R.

    Inputs and outputs: inputs (B, D), states [h (B, H), s (B, C)] -> output h (B, H), new states.
    Weights: kernel (D, H) is A, recurrent_kernel (H, H) is R, bias (H,) is b, context_kernel (D, C) is B,
        context_to_hidden_kernel (C, H) is P; alpha_logit (C,) is beta, with `learn_alpha`.
    Raises:
        ValueError: if `alpha` is not in (0, 1), or `context_units` is no integer > 0.
    Cost per step: 2 B (D + H + C) H + 2 B D C flops, in two recurrent products; the one with P waits for s_t.
    Reference: T. Mikolov, A. Joulin, S. Chopra, M. Mathieu and M. Ranzato, Learning longer memory in recurrent neural
        networks, ICLR 2015 workshop, arXiv:1412.7753.
    """

    GATES, STATES, CANDIDATES = "h", "h s", "h"
    LANES = True

    def __init__(
        self,
        units,
        activation="sigmoid",
        use_bias=True,
        *,
        context_units=None,
        alpha=0.95,
        learn_alpha=False,
        **kwargs,
    ):
        super().__init__(units, activation=activation, use_bias=use_bias, **kwargs)
        self.context_units = self.units if context_units is None else positive("context_units", context_units)
        self.alpha = number("alpha", alpha, "(0, 1)")
        self.learn_alpha = bool(learn_alpha)

    def state_sizes(self):
        """H and C."""
        return [self.units, self.context_units]

    def build(self, input_shape):
        """Adds B, P and the learned rate."""
        super().build(input_shape)
        self.context_kernel = self.new_weight("context_kernel", (self.features, self.context_units), role="kernel")
        self.add_matrix("context_to_hidden", (self.context_units, self.units))
        if self.learn_alpha:
            start = math.log(self.alpha / (1 - self.alpha))
            self.add_vector("alpha_logit", (self.context_units,), keras.initializers.Constant(start))

    def rate(self, dtype):
        """alpha: a number, or the learned rates (C,)."""
        return ops.sigmoid(ops.cast(self.alpha_logit, dtype)) if self.learn_alpha else self.alpha

    def values_of_vectors(self):
        """alpha itself in place of its logit: no sigmoid in the loop."""
        vectors = super().values_of_vectors()
        if self.learn_alpha:
            del vectors["alpha_logit"]
            vectors["alpha"] = self.rate(self.state_dtype)
        return vectors

    def inputs(self, x):
        """x A + b and (1 - alpha) x B."""
        return {**super().inputs(x), "s": (1 - self.rate(x.dtype)) * self.times(x, self.context_kernel)}

    def step(self, x, u, h, s):
        """Equations (1) and (2)."""
        s_new = x.s + (u.alpha if self.learn_alpha else self.alpha) * s
        return self.activation(u.context_to_hidden(s_new) + x.h + u.h(h)), s_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SCRN(CellLayer):
    """The structurally constrained recurrent layer.

    Equations and cell arguments: `SCRNCell`. Layer arguments and call: `RNN`.
    """

    CELL = SCRNCell
