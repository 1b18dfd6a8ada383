"""Multiplicative integration in any cell whose gates are sums (Wu et al., 2016)."""

import keras
import numpy as np
from keras import ops

from keras_rnnx.base import reading
from keras_rnnx.base.cell import Cell
from keras_rnnx.base.composed import ComposedCell, inner_cell
from keras_rnnx.base.parts import CellPart
from keras_rnnx.engine import products
from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.gates import Gates, split


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MultiplicativeIntegrationCell(ComposedCell):
    r"""A cell whose gates multiply what they would add: in each gate g with a recurrent product

    $$ x_t W_g + l_t U_g + b_g \tag{1} $$
    where \(l_t\) is whatever the cell puts to the left of its matrix, becomes
    $$ \alpha_g \odot (x_t W_g) \odot (l_t U_g) + \beta_{1,g} \odot (l_t U_g) + \beta_{2,g} \odot (x_t W_g) + b_g
       \tag{2} $$

    With \(\alpha = 0\) and \(\beta_1 = \beta_2 = 1\) it is the cell itself. All else in the cell stays: gates without a
    recurrent product, further matrices, activations. With `normalization` both products are normalized before (2).

    Differs from the paper: in nothing. The paper chooses the initial values of the three vectors for each task; here
    all start at 1 unless told otherwise.

    Args:
        cell: a `keras_rnnx.Cell` in which every gate with a recurrent product reads the sum (1) and neither part of it
            alone, such as `LSTMCell`, `VanillaRNNCell`, `MGUCell` or `GRUCell(reset_after=False)`. Whether it does is
            tried on random numbers.
        alpha_initializer: of \(\alpha\). Default ones.
        beta_1_initializer: of \(\beta_1\). Default ones.
        beta_2_initializer: of \(\beta_2\). Default ones.
        **kwargs: `name`, `dtype` and `trainable`. Default of `dtype`: that of the cell.

    Inputs and outputs: as the cell.
    Weights: those of the cell; alpha, beta_1, beta_2 (G H,), in the order of the columns of its recurrent_kernel.
    Cost per step: that of the cell, and 7 B G H flops.
    Raises:
        ValueError: if the cell is no `keras_rnnx.Cell`, has no recurrent gate, or has one that is no sum.
    Reference: Y. Wu, S. Zhang, Y. Zhang, Y. Bengio and R. Salakhutdinov, On multiplicative integration with recurrent
        neural networks, NeurIPS 2016, arXiv:1606.06630.
    """

    VECTORS = ("alpha", "beta_1", "beta_2")

    def __init__(
        self, cell, *, alpha_initializer="ones", beta_1_initializer="ones", beta_2_initializer="ones", **kwargs
    ):
        cell = inner_cell(cell)
        super().__init__(**{"dtype": cell.dtype_policy, **kwargs})
        if not isinstance(cell, Cell):
            raise ValueError(f"Expected a keras_rnnx.Cell, whose gates are known. Received: {type(cell).__name__}")
        if not gates_are_sums(cell):
            raise ValueError(
                "Expected a cell in which every gate with a recurrent product reads the sum x W + h U + b and neither "
                f"part of it alone. Received: {type(cell).__name__} with the recurrent gates {cell.recurrent_gates}"
            )
        self.cell = cell
        self.alpha_initializer = keras.initializers.get(alpha_initializer)
        self.beta_1_initializer = keras.initializers.get(beta_1_initializer)
        self.beta_2_initializer = keras.initializers.get(beta_2_initializer)

    def part_of(self, cell, fed):
        """The cell, with (2) in its gates."""
        super().part_of(cell, fed)
        return IntegratedPart(self, cell, fed)

    def build(self, input_shape):
        """Builds the cell, and adds the three vectors."""
        super().build(input_shape)
        shape = (len(self.cell.recurrent_gates) * self.cell.gate_units,)
        for name in self.VECTORS:
            initializer = getattr(self, f"{name}_initializer")
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer=initializer))

    def step(self, take, *state):
        """The step of the cell, with (2) in its gates."""
        return take("cell", state)


class IntegratedPart(CellPart):
    """A cell in which equation (2) takes the place of (1).

    The step adds \\(x W + b\\) to what it gets for the recurrent product, which is (2) less that.
    """

    def __init__(self, owner, cell, fed):
        super().__init__(cell, fed)
        self.owner = owner

    def vectors(self, how):
        """See `Part`; and those of (2), an array for each gate."""
        cell, gates = self.cell, self.cell.recurrent_gates
        own = {
            name: split(ops.cast(getattr(self.owner, name), cell.state_dtype), len(gates))
            for name in self.owner.VECTORS
        }
        bias = cell.input_bias()
        if bias is not None:
            parts = dict(zip(cell.gates, split(ops.cast(bias, cell.state_dtype), len(cell.gates)), strict=True))
            own["bias"] = [parts[gate] for gate in gates]
        return {**super().vectors(how), "integration": own}

    def step(self, training, x, multiply, vectors, *state):
        """See `Part`."""
        del training
        cell = self.cell
        names, given = cell.read_by_step[0], vectors["integration"]
        gates = Gates(x["inputs"], names)

        def integrate(wanted, made):
            return [
                self._integrated(given, cell.recurrent_gates.index(g), getattr(gates, g), m)
                for g, m in zip(wanted, made, strict=True)
            ]

        return reading.named_step(cell, names, x, multiply, vectors["step"], state, integrate)

    def _integrated(self, given, index, x, product):
        """Equation (2) less x, which is x W + b."""
        alpha, beta_1, beta_2 = (given[name][index] for name in self.owner.VECTORS)
        projected = x - given["bias"][index] if "bias" in given else x
        return (alpha * projected + beta_1) * product + (beta_2 - 1) * projected


def gates_are_sums(cell):
    """Whether the step of a cell reads x W + b and its recurrent product, in each recurrent gate, by their sum alone.

    Tried on a copy with random weights: what is taken from one summand and given to the other must change no state.
    """
    gates = cell.recurrent_gates
    if not gates or not set(gates) <= set(cell.gates):
        return False
    quick = keras.initializers.RandomNormal(stddev=0.3, seed=0)
    starts = dict.fromkeys(("kernel_initializer", "recurrent_initializer", "bias_initializer"), quick)
    copy = type(cell)(**{**cell.get_config(), **starts, "dtype": "float32"})
    copy.build((None, 2))
    rng = np.random.default_rng(0)
    for weight in copy.trainable_weights:
        weight.assign(0.3 * rng.normal(size=weight.shape))
    rows = ops.convert_to_tensor(rng.normal(size=(3, 2)), "float32")
    inputs, projected = copy.inputs(rows), dict(zip(copy.gates, copy.project(rows), strict=True))
    if not all(gate in inputs and _close(inputs[gate], projected[gate]) for gate in gates):
        return False
    sizes = copy.state_sizes()
    state = [ops.convert_to_tensor(0.5 * rng.normal(size=(3, size)), "float32") for size in sizes]
    moved = {g: ops.convert_to_tensor(rng.normal(size=(3, copy.gate_units)), "float32") for g in gates}
    weights, vectors = reading.weights_of_step(copy), copy.values_of_vectors()

    def multiply(key, left, count):
        return split(products.apply(weights[key], left, left.dtype), count)

    def new_states(share):
        x = [a - share * moved[name] if name in moved else a for name, a in inputs.items()]
        x = {"inputs": x, "delta": ops.ones((3, 1))}

        def integrate(wanted, made):
            return [m + share * moved[gate] for gate, m in zip(wanted, made, strict=True)]

        return reading.named_step(copy, tuple(inputs), x, multiply, vectors, state, integrate)

    return all(_close(a, b) for a, b in zip(new_states(0.0), new_states(1.0), strict=True))


def _close(a, b):
    return np.allclose(backend.known(a), backend.known(b), rtol=1e-3, atol=1e-4)
