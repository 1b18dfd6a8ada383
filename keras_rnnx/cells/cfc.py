"""The closed-form continuous-time network (Hasani et al., 2022)."""

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import choice, integer, positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.cells.ltc import checked_wiring, refuse
from keras_rnnx.engine.gates import split
from keras_rnnx.layers.rnn import CellLayer

HEADS = {"default": "g k a b", "no_gate": "g k a b", "pure": "f"}


@keras.saving.register_keras_serializable(package="keras_rnnx")
def lecun_tanh(x):
    r"""LeCun's scaled tanh, \(1.7159 \tanh(0.666 x)\).

    Args:
        x: a tensor.
    """
    return 1.7159 * ops.tanh(0.666 * x)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class CfCCell(Cell):
    r"""One step of the closed-form continuous-time network: gates that know the time, without a solver.

    A backbone of L layers reads the input and the state,
    $$ s_1 = \varphi(x_t W + h_{t-1} U + b), \quad s_l = \varphi(s_{l-1} V_l + v_l), \quad l = 2..L \tag{1} $$
    and the heads g, k, a, b read \(s_L\) (or, without layers, \(x_t\) and \(h_{t-1}\)): \(\bar g = s_L H_g + c_g\), and
    so on. With the time \(\Delta_t\) since the step before and \(\sigma_t = \sigma(\bar a\, \Delta_t + \bar b)\)
    $$ \text{default:} \quad h_t = (1 - \sigma_t) \odot \tanh(\bar g) + \sigma_t \odot \tanh(\bar k) \tag{2} $$
    $$ \text{no\_gate:} \quad h_t = \tanh(\bar g) + \sigma_t \odot \tanh(\bar k) \tag{3} $$
    With one head f, and the vectors A and \(w_\tau\),
    $$ \text{pure:} \quad h_t = A - A \odot e^{-\Delta_t (|w_\tau| + |\bar f|)} \odot \bar f \tag{4} $$

    With a `wiring` there is no backbone. Its layers of neurons are walked in turn within a step, inter, command and
    motor neurons in a neural circuit policy: the heads of a layer read the new values of the layer before it (the first
    layer reads \(x_t\)) and the old values of their own layer,
    $$ \bar g^{(l)} = [h_t^{(l-1)}, h_{t-1}^{(l)}]\, (M \odot H_g^{(l)}) + c_g^{(l)} \tag{5} $$
    where M is 1 where the wiring has a synapse from the layer before, and 1 within the layer. g, k and f have the mask,
    a and b read the whole of both layers. The output is made of the O motor neurons, the first ones.

    Differs from the paper: (1) to (5) are the authors' program. The paper writes the gate as sigma(-f t), with one head
    f, and g and h for the heads g and k.

    Args:
        units: int > 0, H.
        activation: phi, of the backbone. Default `lecun_tanh`.
        use_bias: bool, whether there are b, v and c.
        mode: `"default"`, `"no_gate"` or `"pure"`.
        backbone_units: int > 0, the width of the backbone's layers. Default 128.
        backbone_layers: int >= 0, L. Default 1.
        wiring: a wiring of `units` neurons, see `keras_rnnx.wirings`, or None.
        fully_recurrent: bool, whether M is 1 within a layer of the wiring; if not, it is 1 where the wiring has a
            synapse there too.
        recurrent_initializer: of all matrices but `kernel`. Default: uniform of Glorot.
        **kwargs: see `Cell`. `recurrent_dropout` acts on h_{t-1}, then on s_1, s_2 and so on, with a wiring on the
            joint rows of (5) layer by layer and in the first one on h_{t-1} of the layer. `recurrent_structure` and
            `normalization` act on h U; with a wiring there are none.

    Inputs and outputs: inputs (B, D), state [h (B, H)], `deltas` -> output h (B, H), with a wiring (B, O), new state.
    Weights: with layers of M = `backbone_units`: kernel (D, M), recurrent_kernel (H, M), bias (M,);
        backbone_<l>_kernel (M, M), backbone_<l>_bias (M,) for l = 2..L: V_l, v_l; head_kernel (M, 4H: g k a b),
        head_bias (4H,). With `backbone_layers=0` the heads are kernel (D, 4H), recurrent_kernel (H, 4H), bias (4H,).
        With a wiring of layers of n_0, n_1.. neurons: kernel (D, 4 n_0), bias (4 n_0,), layer_0_kernel (n_0, 4 n_0),
        and for each further layer layer_<l>_kernel (n_{l-1} + n_l, 4 n_l): first the rows of the layer before, then
        its own, layer_<l>_bias (4 n_l,). In the mode `"pure"` the heads are one, f, not four, and there are w_tau (H,)
        and A (H,), which start at 0 and 1.
    Cost per step: two flops for each weight, in L + 1 products, or one for each layer of the wiring, that depend on
        each other.
    Raises:
        ValueError: if an argument is out of range or unknown, the wiring is one of other units, or a backbone,
            `recurrent_structure` or `normalization` is given with a wiring.
    Reference: R. Hasani, M. Lechner, A. Amini, L. Liebenwein, A. Ray, M. Tschaikowski, G. Teschl and D. Rus,
        Closed-form continuous-time neural networks, Nature Machine Intelligence 4, 2022, arXiv:2106.13898.
    """

    GATES, STATES = "g k a b", "h"
    TIMED, LANES = True, True

    def __init__(
        self,
        units,
        activation=lecun_tanh,
        use_bias=True,
        *,
        mode="default",
        backbone_units=None,
        backbone_layers=None,
        wiring=None,
        fully_recurrent=True,
        recurrent_initializer="glorot_uniform",
        **kwargs,
    ):
        self.heads = HEADS[choice("mode", mode, tuple(HEADS))].split()
        if wiring is not None and (backbone_units, backbone_layers) != (None, None):
            raise ValueError(
                "Expected no backbone with a `wiring`. "
                f"Received: backbone_units={backbone_units}, backbone_layers={backbone_layers}"
            )
        depth = integer("backbone_layers", 1 if backbone_layers is None else backbone_layers)
        self.depth = depth if wiring is None else 0
        self.GATES = "s" if self.depth else HEADS[mode]
        if wiring is not None:
            self.RECURRENT_GATES = ""
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            recurrent_initializer=recurrent_initializer,
            **kwargs,
        )
        self.mode = mode
        self.backbone_units = backbone_units
        self.backbone_layers = backbone_layers
        self.width = positive("backbone_units", 128 if backbone_units is None else backbone_units)
        self.wiring = checked_wiring(wiring, self.units)
        self.fully_recurrent = bool(fully_recurrent)
        if self.wiring is not None:
            refuse(self, "the wiring says what is read", normalization=None, recurrent_structure="dense")

    @property
    def gate_units(self):
        """The width of the first product: of a backbone layer, of the first neurons of a wiring, or H."""
        if self.wiring is not None:
            return len(self.wiring.layers[0])
        return self.width if self.depth else self.units

    @property
    def output_size(self):
        """H, or O with a wiring."""
        return self.units if self.wiring is None else self.wiring.output_units

    def build_own(self, width):
        """Adds what follows the first product: the backbone and the heads, or the layers of the wiring."""
        super().build_own(width)
        if self.depth:
            for layer in range(2, self.depth + 1):
                self.add_matrix(f"backbone_{layer}", (self.width, self.width), self.use_bias)
            self.add_matrix("head", (self.width, len(self.heads) * self.units), self.use_bias, gates=self.heads)
        if self.wiring is not None:
            self._build_layers()
        if self.mode == "pure":
            self.add_vector("w_tau")
            self.add_vector("A", initializer="ones")

    def _build_layers(self):
        sensory, inner = self.wiring.connect(self.features)
        layers, source = self.wiring.layers, None
        self.masks = {}
        for number, own in enumerate(layers):
            reads = sensory[:, own] if source is None else inner[source][:, own]
            within = np.ones((len(own), len(own))) if self.fully_recurrent else inner[own][:, own]
            if source is None:
                self.masks["kernel"] = self._mask(reads)
                self.masks["layer_0"] = self._mask(within)
            else:
                self.masks[f"layer_{number}"] = self._mask(np.concatenate([reads, within]))
            size = len(own) + (0 if source is None else len(source))
            bias = self.use_bias and number > 0
            self.add_matrix(f"layer_{number}", (size, len(self.heads) * len(own)), bias, gates=self.heads)
            source = own

    def _mask(self, synapses):
        """M for the heads that have one, side by side with ones for the others."""
        m = (synapses != 0).astype("float32")
        return np.concatenate([np.ones_like(m) if head in "ab" else m for head in self.heads], axis=1)

    def weights_of_products(self):
        """The weights, with M applied."""
        weights = super().weights_of_products()
        if self.wiring is None:
            return weights

        def masked(name, parts):
            kernel = parts["kernel"]
            return {**parts, "kernel": kernel * ops.cast(self.masks[name], kernel.dtype)}

        return {name: masked(name, parts) for name, parts in weights.items()}

    def product(self, x):
        """x W, with M applied."""
        if self.wiring is None:
            return super().product(x)
        kernel = self._cast(self.kernel)
        return split(self.times(x, kernel * ops.cast(self.masks["kernel"], kernel.dtype)), len(self.gates))

    def readout(self, h):
        """The motor neurons."""
        return h[..., : self.output_size]

    def solved(self, heads, u, neurons):
        """One of (2) to (4) for the neurons of a range."""
        if self.mode == "pure":
            A, w_tau = (v[..., neurons.start : neurons.stop] for v in (u.A, u.w_tau))
            f = heads.f
            return A - A * ops.exp(-u.delta * (ops.abs(w_tau) + ops.abs(f))) * f
        g_k, a_b = heads.split("g k", "a b")
        g, k = g_k.map(ops.tanh)
        gate = ops.sigmoid(a_b.a * u.delta + a_b.b)
        return (g if self.mode == "no_gate" else (1 - gate) * g) + gate * k

    def step(self, x, u, h):
        """Equations (1) to (4), or (5) layer by layer."""
        if self.wiring is not None:
            return self._step_layers(x, u, h)
        if not self.depth:
            return self.solved(x + u(h), u, range(self.units))
        s = self.activation(x.s + u.s(h))
        for layer in range(2, self.depth + 1):
            s = self.activation(getattr(u, f"backbone_{layer}")(s))
        return self.solved(u.head(s), u, range(self.units))

    def _step_layers(self, x, u, h):
        new, layers = [], self.wiring.layers
        for number, own in enumerate(layers):
            old = h[..., own.start : own.stop]
            left = ops.concatenate([new[-1], old], axis=-1) if new else old
            heads = getattr(u, f"layer_{number}")(left)
            new.append(self.solved(heads if new else x + heads, u, own))
        in_order = sorted(range(len(layers)), key=lambda number: layers[number].start)
        return ops.concatenate([new[number] for number in in_order], axis=-1)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class CfC(CellLayer):
    """The closed-form continuous-time layer.

    Equations and cell arguments: `CfCCell`. Layer arguments and call: `RNN`.
    """

    CELL = CfCCell
