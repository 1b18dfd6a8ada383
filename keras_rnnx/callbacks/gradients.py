"""The gradient of a loss in the states of recurrent layers."""

import dataclasses

import keras
import numpy as np
from keras import ops, tree

from keras_rnnx.base.adapt import StackedCells
from keras_rnnx.base.interface import as_shape
from keras_rnnx.base.linear import LinearCell
from keras_rnnx.base.watching import watching
from keras_rnnx.cells.residual import ResidualCell
from keras_rnnx.engine.backends import backend


@dataclasses.dataclass
class Read:
    """What a recurrent layer was asked to read in a call.

    Attributes:
        layer: the `RNN`.
        x: its inputs (T, B, ...), time-major.
        state: the list of states that it starts from.
        how: the `Reading`.
    """

    layer: object
    x: object
    state: list
    how: object

    @property
    def mask(self):
        """(B, T) bool as a NumPy array: the steps that were read."""
        steps, batch = tree.flatten(self.x)[0].shape[:2]
        if self.how.mask is None:
            return np.ones((batch, steps), bool)
        return ops.convert_to_numpy(self.how.mask).T

    @property
    def names(self):
        """The names of the states."""
        return names_of_states(self.layer.cell)


def names_of_states(cell):
    """The names of the states of a cell, in order; of stacked cells with the number of the cell in front."""
    if isinstance(cell, ResidualCell):
        return names_of_states(cell.cell)
    if isinstance(cell, StackedCells):
        return [f"{n}/{name}" for n, one in enumerate(cell.cells) for name in names_of_states(one)]
    if hasattr(cell, "states"):
        return list(cell.states)
    return [f"state_{n}" for n in range(len(tree.flatten(cell.state_size)))]


class Readings(dict):
    """The `Read` of each recurrent layer in a call of a model, by its path within the model, in the order of use.

    A further call of the same layer, or another layer of the same path, has `:2`, `:3`, ... behind its name.

    Args:
        model: the model.
        layers: the layers wanted, or their names; None for all.
        change: `change(name, read) -> how`, the `Reading` to be done instead; None for no change.
    """

    def __init__(self, model, layers=None, change=None):
        super().__init__()
        self._root = f"{model.name}/"
        self._layers = None if layers is None else [self._path(layer) for layer in layers]
        self._change = change
        self._count = {}

    def _path(self, layer):
        path = (layer.path or layer.name) if isinstance(layer, keras.layers.Layer) else str(layer)
        return path.removeprefix(self._root)

    def __call__(self, layer, x, state, how):
        """Notes what a layer reads; see `watching`."""
        path = self._path(layer)
        count = self._count[path] = self._count.get(path, 0) + 1
        if self._layers is not None and not any(f"{path}/".startswith(f"{wanted}/") for wanted in self._layers):
            return how
        name = path if count == 1 else f"{path}:{count}"
        self[name] = Read(layer, x, state, how)
        return self._change(name, self[name]) if self._change else how

    def checked(self):
        """Itself; raises where it is empty."""
        if not self:
            wanted = "" if self._layers is None else f" among the layers {self._layers}"
            raise ValueError(
                f"Expected a recurrent layer of keras_rnnx in the model{wanted}. Keras' own layers, keras.layers.LSTM "
                "and others, cannot be looked into; keras_rnnx has them under the same names. Received: a model with "
                f"the recurrent layers {list(self._count)}"
            )
        return self


def readings(model, x, training=False, layers=None):
    """Calls a model on x, without a change to its variables.

    Returns:
        `Readings`.

    Raises:
        ValueError: if the model is not built, or has no recurrent layer of this package.
    """
    if not model.built:
        raise ValueError(f"Expected a model that is built: call it once on a batch. Received: {model!r}, not built")
    found = Readings(model, layers)
    with quietly(), watching(found):
        model(x, training=training)
    return found.checked()


def quietly():
    """A scope in which variables can be read, and what is assigned to them is forgotten when it ends."""
    return keras.StatelessScope(collect_losses=True)


def state_gradients(model, x, y=None, loss=None, training=False, sample_weight=None, layers=None):
    r"""The gradient of a loss in every state of every recurrent layer at every step.

    With \(s_t\) the states of a layer after step t, as they are handed to step t + 1 and made into the output, this is
    the total derivative, through the outputs and through all later steps:
    $$ \frac{dL}{ds_t} = \frac{\partial L}{\partial s_t} + \Bigl(\frac{\partial s_{t+1}}{\partial s_t}\Bigr)^{\!\top}
       \frac{dL}{ds_{t+1}} $$

    It is exact, comes from the same backward loop as the gradients of the weights, and sees what training sees:
    `recurrent_clip`, the cuts of `memory=("tbptt", k)`, resets and masks included. At a masked step it is the gradient
    in the state that is held there. The variables of the model do not change.

    Works for all layers of this package inside any model: sequential, functional, nested or subclassed. The levels of a
    `DeepRNN`, the directions of a `Bidirectional` and each call of a shared layer are told apart. Matrix memories
    (`MatrixCell`) and Keras' cells inside `RNN` do not have it; Keras' own layers, such as `keras.layers.LSTM`, are not
    seen at all.

    Args:
        model: a built Keras model; with `loss` it may be a layer.
        x: the inputs of one batch, as the model takes them.
        y: the targets.
        loss: a loss, its name, or a function of `(y, outputs)`. Default: `model.compute_loss`, that of `compile`.
        training: bool, whether the model runs as in training, with dropout.
        sample_weight: weights of the samples, for the model's own loss or an instance of `keras.losses.Loss`.
        layers: a list of layers, or of their names, to look at, with all inside them. Default: all.

    Returns:
        A dictionary with, for each layer's path within the model, the list of NumPy arrays (B, T, H), one for each
        state in the order of `cell.states`, aligned to time also where the layer goes backwards. The inputs that a cell
        with a window carries are no states here.

    Raises:
        ValueError: if the model is not built, has no such layer or no loss, or a layer's cell cannot tell.

    Example:
        model = keras.Sequential([keras.Input((50, 3)), keras_rnnx.VanillaRNN(16, name="rnn"), keras.layers.Dense(1)])
        (dh,) = state_gradients(model, x, y, loss="mse")["rnn"]
        norms = np.linalg.norm(dh, axis=-1).mean(axis=0)  # (50,): does it vanish towards the first step?

    Reference: R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural networks,
        arXiv:1211.5063.
    """
    found = gradient_readings(model, x, y, loss, training, sample_weight, layers)
    return {name: list(gradients.values()) for name, (_, gradients) in found.items()}


def gradient_readings(model, x, y=None, loss=None, training=False, sample_weight=None, layers=None):
    """`state_gradients` with what each layer read: for each name a `Read` and a dictionary of arrays by state."""
    if loss is None and not getattr(model, "compiled", False):
        raise ValueError(f"Expected `loss`, or a model that is compiled with one. Received: loss=None, {model!r}")
    found = readings(model, x, training, layers)
    probes = {name: _probes(read) for name, read in found.items()}

    def value(probes):
        watch = Readings(model, layers, lambda name, read: dataclasses.replace(read.how, probe=probes[name]))
        with quietly(), watching(watch):
            outputs = model(x, training=training)
            return [_loss(model, x, y, outputs, loss, sample_weight)], ()

    (total,), _, pull = backend.vjp(value, probes)
    gradients = pull([ops.ones_like(total)])
    made = {}
    for name, read in found.items():
        arrays = [ops.convert_to_numpy(ops.swapaxes(g, 0, 1)) for g in gradients[name]]
        told = zip(read.names, arrays, _recurrent(read.layer.cell), strict=True)
        made[name] = read, {state: array for state, array, recurrent in told if recurrent}
    return made


def _probes(read):
    """A zero (T, B, ...) for each state."""
    steps, batch = tree.flatten(read.x)[0].shape[:2]
    cell = read.layer.cell
    return [ops.zeros((steps, batch, *as_shape(n)), cell.state_dtype) for n in tree.flatten(cell.state_size)]


def _recurrent(cell):
    """For each state whether a step makes it from the one before; not so the inputs that a window carries."""
    if isinstance(cell, ResidualCell):
        return _recurrent(cell.cell)
    if isinstance(cell, StackedCells):
        return [recurrent for one in cell.cells for recurrent in _recurrent(one)]
    if isinstance(cell, LinearCell):
        return cell.learned_states()
    return [True] * len(tree.flatten(cell.state_size))


def _loss(model, x, y, outputs, loss, sample_weight):
    if loss is None:
        return model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=sample_weight)
    loss = keras.losses.get(loss)
    weighted = isinstance(loss, keras.losses.Loss) and sample_weight is not None
    return ops.mean(loss(y, outputs, **({"sample_weight": sample_weight} if weighted else {})))
