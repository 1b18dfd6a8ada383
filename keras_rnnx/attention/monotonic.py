"""Monotonic attention (Raffel et al., 2017)."""

import keras
from keras import ops

from keras_rnnx.arguments import checked_seed, config_of, number
from keras_rnnx.attention.mechanism import Mechanism
from keras_rnnx.engine.backends import backend


def cumulated(a):
    """The sums of a (B, S) up to each position, as a product: `ops.cumsum` loses double precision under torch."""
    positions = ops.arange(ops.shape(a)[1])
    return backend.matmul(a, ops.cast(positions[:, None] <= positions[None], a.dtype), a.dtype)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MonotonicAttention(Mechanism):
    r"""Attention that only moves forwards along the memory.

    With the energies e of another mechanism, at step t a process starts where it stopped the step before, and stops at
    each position j, one after the other, with the probability
    $$ p_{t,j} = \sigma(e_{t,j} + r) \tag{1} $$

    In training the context is the expected one, by
    $$ \alpha_{t,j} = p_{t,j} \sum_{k \le j} \alpha_{t-1,k} \prod_{l=k}^{j-1} (1 - p_{t,l}) \tag{2} $$

    from \(\alpha_0 = (1, 0, \dots)\), with noise of the standard deviation `noise` added to the energies, which drives
    p to 0 and 1. What never stops looks at nothing: the sum of the alignments is then below 1. At inference with
    `hard=True` it stops at the first j from the old position on with \(p_{t,j} \ge 1/2\); with `hard=False` equation
    (2) holds there too.

    Differs from the paper: (2) is its recurrence (9) written out, and computed as such, in logarithms, by a triangular
    matrix (S, S); the paper's parallel form divides by products that vanish.

    Args:
        attention: the mechanism that makes the energies, one without alignments of its own, such as
            `BahdanauAttention(64, normalized=True)`.
        noise: float >= 0, in training only. Default 1.
        hard: bool, see above. Default True.
        score_bias: float, where r starts. Default -2, so that the process moves on at first.
        seed: int or None, for the noise.

    Weights: those of the mechanism, and `r` (1,).
    Cost: that of the mechanism, and B S^2 a step.

    Reference: C. Raffel, M.-T. Luong, P. J. Liu, R. J. Weiss and D. Eck, Online and linear-time attention by enforcing
        monotonic alignments, ICML 2017, arXiv:1704.00784.
    """

    CARRIED = ("alignments",)

    def __init__(self, attention, noise=1.0, hard=True, score_bias=-2.0, seed=None, **kwargs):
        if "normalizer" in kwargs:
            raise ValueError(f"Expected no `normalizer`, as nothing is normalized. Received: {kwargs['normalizer']!r}")
        plain = isinstance(attention, Mechanism) and type(attention).contexts is Mechanism.contexts
        if not plain or attention.CARRIED:
            raise ValueError(
                "Expected `attention` to be a mechanism of one head that does not read earlier alignments. "
                f"Received: {attention!r}"
            )
        super().__init__(**{"dtype": attention.dtype_policy, **kwargs})
        self.attention = attention
        self.noise = number("noise", noise, "[0, inf)")
        self.hard = bool(hard)
        self.score_bias = number("score_bias", score_bias)
        self.seed = checked_seed(seed)

    @property
    def draws(self):
        """Whether there is noise in training."""
        return self.noise > 0

    @property
    def IN_LOOP(self):  # noqa: N802, in place of the class attribute
        """As the mechanism."""
        return self.attention.IN_LOOP

    @property
    def context_size(self):
        """As the mechanism."""
        return self.attention.context_size

    def build(self, query_shape, memory_shape):
        """Builds the mechanism too."""
        if not self.attention.built:
            self.attention.build(query_shape, memory_shape)
        super().build(query_shape, memory_shape)

    def build_weights(self, query_size, memory_size):
        """See `Mechanism`."""
        self.add_vector("r", (1,), keras.initializers.Constant(self.score_bias))
        if self.draws:
            self.seed_generator = keras.random.SeedGenerator(self.seed)

    def matrices(self):
        """Those of the mechanism."""
        return self.attention.matrices()

    def vectors(self):
        """Those of the mechanism, and r."""
        return {**super().vectors(), **self.attention.vectors()}

    def project(self, query, multiply):
        """As the mechanism."""
        return self.attention.project(query, multiply)

    def keys_and_values(self, memory):
        """As the mechanism."""
        return self.attention.keys_and_values(memory)

    def energies(self, look):
        """What (1) is made of: e + r, with noise in training."""
        energies = self.attention.energies(look) + look.vectors["r"]
        return energies if look.noise is None else energies + ops.cast(look.noise, energies.dtype)[:, None]

    def draw(self, shape):
        """See `Mechanism`."""
        if self.draws:
            return keras.random.normal(shape, stddev=self.noise, dtype=self.state_dtype, seed=self.seed_generator)
        return None

    def initial(self, batch, steps, dtype):
        """One at the first position."""
        return [ops.tile(ops.one_hot(ops.zeros((1,), "int32"), steps, dtype=dtype), (batch, 1))]

    def align(self, energies, look):
        """Equation (2), or the position where the process stops."""
        energies, before = energies[:, 0], look.carried[0]
        stops, passes = ops.sigmoid(energies), ops.log_sigmoid(-energies)  # p and log(1 - p)
        if self.hard and not look.training:
            stops = ops.cast(energies >= 0, energies.dtype)
        if look.valid is not None:
            stops = ops.where(look.valid, stops, ops.zeros_like(stops))
            passes = ops.where(look.valid, passes, ops.zeros_like(passes))
        if self.hard and not look.training:
            candidates = stops * ops.cast(cumulated(before) > 0.5, stops.dtype)
            alignments = candidates * ops.cast(cumulated(candidates) < 1.5, stops.dtype)
        else:
            passed = cumulated(passes) - passes
            positions = ops.arange(ops.shape(passed)[1])
            forwards = positions[:, None] <= positions[None]  # from k to j
            between = passed[:, None] - passed[:, :, None]
            between = ops.exp(ops.where(forwards, between, ops.full_like(between, -1e30)))
            alignments = stops * backend.matmul(before[:, None], between, before.dtype)[:, 0]
        return alignments[:, None], [alignments]

    def get_config(self):
        """The arguments; what makes the energies is the mechanism's."""
        return {**keras.layers.Layer.get_config(self), **config_of(self, Mechanism)}
