"""The liquid time-constant network (Hasani et al., 2021)."""

import keras
from keras import ops

from keras_rnnx.arguments import positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer
from keras_rnnx.wirings import FullyConnected, Wiring

# The ranges of the authors' program.
RANGES = {"gleak": (0.001, 1.0), "cm": (0.4, 0.6), "w": (0.001, 1.0), "sensory_w": (0.001, 1.0)}
RANGES |= {"vleak": (-0.2, 0.2), "mu": (0.3, 0.8), "sigma": (3.0, 8.0)}
RANGES |= {"sensory_mu": (0.3, 0.8), "sensory_sigma": (3.0, 8.0)}
POSITIVE = ("gleak", "cm", "w", "sensory_w")


def checked_wiring(wiring, units):
    """A wiring, perhaps given as its configuration, for that many neurons."""
    if isinstance(wiring, dict):
        wiring = keras.saving.deserialize_keras_object(wiring)
    if wiring is not None and not isinstance(wiring, Wiring):
        raise ValueError(f"Expected `wiring` to be one of keras_rnnx.wirings or None. Received: wiring={wiring!r}")
    if wiring is not None and wiring.units != units:
        raise ValueError(f"Expected a `wiring` of {units} units. Received: one of {wiring.units}")
    return wiring


def refuse(cell, reason, **defaults):
    """Raises where an option of `Cell` that has no meaning in a cell is not at its default."""
    for name, default in defaults.items():
        if getattr(cell, name) != default:
            raise ValueError(f"Expected {name}={default!r}: {reason}. Received: {name}={getattr(cell, name)!r}")


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LTCCell(Cell):
    r"""One step of the liquid time-constant network: neurons whose time constants depend on what they read.

    Neuron i with the potential \(v_i\) obeys the differential equation
    $$ c_i \dot v_i = g_i (v^{leak}_i - v_i) + \sum_j w_{ji}\, \sigma_{ji}(v_j) (E_{ji} - v_i)
       + \sum_k \bar w_{ki}\, \bar\sigma_{ki}(x_k) (\bar E_{ki} - v_i) \tag{1} $$
    $$ \sigma_{ji}(v) = \frac{1}{1 + e^{-\gamma_{ji} (v - \mu_{ji})}} \tag{2} $$
    where j are the neurons and k the features that have a synapse to i, and barred letters belong to features. A step
    takes the time \(\Delta_t\) since the step before in n pieces of \(\delta = \Delta_t / n\) by the fused solver:
    $$ v_i \leftarrow \frac{c_i v_i + \delta \left( g_i v^{leak}_i + \sum_j w_{ji} \sigma_{ji}(v_j) E_{ji}
       + \sum_k \bar w_{ki} \bar\sigma_{ki}(x_k) \bar E_{ki} \right)}{c_i + \delta \left( g_i
       + \sum_j w_{ji} \sigma_{ji}(v_j) + \sum_k \bar w_{ki} \bar\sigma_{ki}(x_k) \right)} \tag{3} $$
    which changes nothing where \(\Delta_t = 0\). The features are scaled and shifted before, \(x \odot a + b\), and the
    output is made of the O motor neurons, the first ones: \(y = v_{1..O} \odot p + q\).

    c, g, w and \(\bar w\) are positive: they are \(\log(1 + e^\theta)\) of the weight \(\theta\) that is trained.

    Differs from the paper: (1) is the authors' program, which gives each synapse its own w, mu, gamma and E where the
    paper has one f for a neuron; numerator and denominator of (3) are multiplied by delta / c there.

    Args:
        units: int > 0, H, the number of neurons.
        use_bias: bool, whether there are the shifts b and q.
        wiring: a wiring of `units` neurons, see `keras_rnnx.wirings`: which synapses there are, the sign with which
            their E starts, and O. Default: all of them, `FullyConnected(units)`.
        ode_unfolds: int > 0, n. Default 6.
        **kwargs: see `Cell`; no `recurrent_dropout`, `normalization` and `recurrent_structure`.

    Inputs and outputs: inputs (B, D), state [v (B, H)], `deltas` -> output y (B, O), new state. A sum over synapses
        runs over those of the wiring alone.
    Weights: gleak, vleak, cm (H,): g, v^leak, c; w, mu, sigma, erev (H, H): w, mu, gamma, E from the row's neuron to
        the column's; sensory_w, sensory_mu, sensory_sigma, sensory_erev (D, H), the same from features; input_w,
        input_b (D,): a and b; output_w, output_b (O,): p and q. cm, gleak, w and sensory_w hold theta. They start in
        the ranges of the authors' program, erev and sensory_erev at the signs of the wiring.
    Cost per step: about 10 B H (D + n H) flops, no matrix product.
    Raises:
        ValueError: if the wiring is one of other units, `ode_unfolds` is no integer > 0, or an option is given that
            acts on matrix products.
    Reference: R. Hasani, M. Lechner, A. Amini, D. Rus and R. Grosu, Liquid time-constant networks, AAAI 2021,
        arXiv:2006.04439.
    """

    GATES, RECURRENT_GATES, STATES = "", "", "v"
    TIMED = True

    def __init__(self, units, use_bias=True, *, wiring=None, ode_unfolds=6, **kwargs):
        super().__init__(units, use_bias=use_bias, **kwargs)
        refuse(
            self,
            "a liquid neuron has synapses, not a matrix product",
            recurrent_dropout=0.0,
            normalization=None,
            recurrent_structure="dense",
        )
        self.wiring = checked_wiring(wiring, self.units)
        self.ode_unfolds = positive("ode_unfolds", ode_unfolds)

    @property
    def synapses(self):
        """The wiring."""
        return self.wiring or FullyConnected(self.units)

    @property
    def output_size(self):
        """O."""
        return self.synapses.output_units

    def build_own(self, width):
        """Makes the weights of neurons, synapses, inputs and outputs."""
        sensory, inner = self.synapses.connect(self.features)
        self.signs = {"sensory_": sensory, "": inner}
        for name in ("gleak", "vleak", "cm"):
            self.add_vector(name, (self.units,), _start(name))
        for prefix, signs in self.signs.items():
            for name in ("w", "mu", "sigma"):
                self.add_vector(prefix + name, signs.shape, _start(prefix + name))
            self.add_vector(f"{prefix}erev", signs.shape, _constant(signs))
        for role, size in (("input", self.features), ("output", self.output_size)):
            for name, used, start in (("w", True, "ones"), ("b", self.use_bias, "zeros")):
                weight = self.add_weight(name=f"{role}_{name}", shape=(size,), initializer=start) if used else None
                setattr(self, f"{role}_{name}", weight)

    def values_of_vectors(self):
        """What (3) reads: positive numbers, and w and w E where there are synapses."""
        read = super().values_of_vectors()
        read |= {name: ops.softplus(read[name]) for name in POSITIVE}
        for prefix, signs in self.signs.items():
            weights = read[f"{prefix}w"] * ops.cast(signs != 0, self.state_dtype)
            read |= {f"{prefix}w": weights, f"{prefix}erev": weights * read[f"{prefix}erev"]}
        return read

    def inputs(self, x):
        """The scaled and shifted features."""
        return {"features": _affine(x, self.input_w, self.input_b)}

    def readout(self, h):
        """The output from the motor neurons."""
        return _affine(h[..., : self.output_size], self.output_w, self.output_b)

    def step(self, x, u, v):
        """Equation (3), n times."""
        # The synapses of the features are walked here, not in `inputs`, which would hold (T, B, D, H) at once.
        inputs, leak = _currents(x.features, u.sensory_w, u.sensory_mu, u.sensory_sigma, u.sensory_erev)
        piece = u.delta / self.ode_unfolds
        inputs, leak = inputs + u.gleak * u.vleak, leak + u.gleak
        for _ in range(self.ode_unfolds):
            current, conductance = _currents(v, u.w, u.mu, u.sigma, u.erev)
            v = (u.cm * v + piece * (inputs + current)) / (u.cm + piece * (leak + conductance))
        return v


def _start(name):
    """An initializer within the range of a weight, by way of the inverse of softplus where that is applied."""

    def start(shape, dtype=None):
        value = keras.random.uniform(shape, *RANGES[name])
        return ops.cast(ops.log(ops.expm1(value)) if name in POSITIVE else value, dtype)

    return start


def _constant(array):
    """An initializer that gives this array."""
    return lambda shape, dtype=None: ops.reshape(ops.cast(array, dtype), shape)


def _currents(source, w, mu, sigma, w_erev):
    """The sums over sources (B, S) of w s and w s E, with s of (2): two arrays (B, H)."""
    s = ops.sigmoid(sigma * (source[..., None] - mu))
    return ops.sum(s * w_erev, axis=-2), ops.sum(s * w, axis=-2)


def _affine(x, scale, shift):
    x = x * ops.cast(scale, x.dtype)
    return x if shift is None else x + ops.cast(shift, x.dtype)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LTC(CellLayer):
    """The liquid time-constant layer.

    Equations and cell arguments: `LTCCell`. Layer arguments and call: `RNN`.
    """

    CELL = LTCCell
