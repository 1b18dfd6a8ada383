"""The recurrent part of a task model, from the arguments that all task models share."""

import functools

import keras
import numpy as np
from keras import ops

from keras_rnnx import arguments
from keras_rnnx.base.quantization import Parts, Template
from keras_rnnx.engine import masks
from keras_rnnx.layers.bidirectional import Bidirectional
from keras_rnnx.layers.deep import DeepRNN
from keras_rnnx.layers.rnn import RNN
from keras_rnnx.layers.sequence import LAYER_ARGUMENTS, Given, first_mask

EMBEDDING = 64
GIVEN = ("mask", "lengths", "resets", "deltas")


def sequences_of(inputs):
    """The sequences among the inputs of a task model (or their shape): see `Trunk`."""
    if not isinstance(inputs, dict):
        return inputs
    if "sequences" not in inputs or not set(inputs) <= {"sequences", *GIVEN}:
        raise ValueError(f"Expected a dict with 'sequences' and any of {GIVEN}. Received: keys {sorted(inputs)}")
    return inputs["sequences"]


def embedding_layer(given, vocabulary, dtype, tied=False):
    """The `keras.layers.Embedding` that is given, or a new one of the width that is given.

    The rows of a new one start with the length 1. With larger ones a model learns faster what is frequent, and makes
    noise of what is rare. A table that makes the logits as well, `tied`, learns far faster from numbers of the size
    E^(-1/4): between E^(-1/2), which gives logits of variance 1, and the 1 for which the kernel of a cell is started.
    """
    if isinstance(given, keras.layers.Embedding):
        return given
    width = EMBEDDING if given is None else arguments.positive("embedding", given)
    start = keras.initializers.RandomNormal(stddev=width ** (-0.25 if tied else -0.5))
    return keras.layers.Embedding(vocabulary, width, embeddings_initializer=start, dtype=dtype, name="embedding")


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Trunk(arguments.FromConfig, Parts, keras.layers.Layer):
    r"""What every task model begins with: an embedding, a stack of recurrent levels, and dropout around them.

    $$ a_t = E_{i_t} \ \text{(integers)} \quad\text{or}\quad a_t = x_t \ \text{(vectors)}, \qquad
       y = D(\text{DeepRNN}(D(a))) $$

    with dropout D on what enters the first level, what goes from one level to the next, and what leaves the last one,
    never within the recurrence (Zaremba et al.).

    Args:
        cell: a cell of this package, a Keras cell, or a list of cells, one for each level; or an `RNN`,
            `Bidirectional` or `DeepRNN` of this package, whose cells and arguments are taken.
        depth: int > 0, the number of levels.
        bidirectional: bool, whether each level reads in both directions.
        residual: None, `"sum"`, `"highway"` or `"dense"`: see `DeepRNN`.
        dropout: rate in [0, 1).
        vocabulary: int V, the inputs are integers in 0..V-1, of which 0 is padding; None: they are vectors.
        embedding: int E, the width of the embedding, which starts with rows of length 1, or a
            `keras.layers.Embedding`. Default: 64.
        mask_value: number or None: a vector that has it in every entry is padding.
        return_sequences: bool, see `RNN`.
        return_state: bool, see `DeepRNN`.
        seed: int or None, for `dropout`.

    Call:
        inputs: (B, T) integers or (B, T, D) vectors; or a dict with `sequences` and any of `mask`, `lengths`, `resets`
            and `deltas`, which are those of `RNN`: in this form they reach a model through `fit`, too.
        mask: (B, T) booleans or None.
        training: bool.
        initial_state: as in `DeepRNN`.

    Returns:
        What `DeepRNN` returns.

    Raises:
        ValueError: if an argument is out of range, or two contradict each other.

    Reference: W. Zaremba, I. Sutskever and O. Vinyals, Recurrent neural network regularization, arXiv:1409.2329.
    """

    def __init__(
        self,
        cell,
        depth=1,
        bidirectional=False,
        residual=None,
        dropout=0.0,
        *,
        vocabulary=None,
        embedding=None,
        mask_value=None,
        return_sequences=True,
        return_state=False,
        seed=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.depth = arguments.positive("depth", depth)
        self.bidirectional = bool(bidirectional)
        self.residual = residual
        self.dropout = arguments.rate("dropout", dropout)
        self.vocabulary = None if vocabulary is None else arguments.positive("vocabulary", vocabulary)
        if vocabulary is not None and mask_value is not None:
            raise ValueError(f"Expected mask_value=None with integers. Received: mask_value={mask_value!r}")
        self.mask_value = mask_value
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.seed = arguments.checked_seed(seed)
        self.supports_masking = True
        unbuilt = isinstance(cell, (list, tuple)) or not getattr(cell, "built", False)
        self._template = Template(cell if unbuilt else arguments.copy_of(cell, cell.name))
        self.layer = self._stack()
        self.embedding = embedding
        self.embed = self._embedding()
        if self.dropout:
            between = keras.layers.Dropout(self.dropout, seed=seed, dtype=self.dtype_policy)  # as in the levels
            self.before = arguments.copy_of(between, "before", 1)
            self.after = arguments.copy_of(between, "after", 2)

    @property
    def cell(self):
        """What the levels are made of."""
        return self._template.layer

    def _stack(self):
        cell, mine = self.cell, {"return_sequences": self.return_sequences, "return_state": self.return_state}
        levels = {name: getattr(self, name) for name in ("depth", "bidirectional", "residual", "dropout", "seed")}
        if isinstance(cell, DeepRNN):
            self._refuse(cell, depth=1, bidirectional=False, residual=None)
            return arguments.copy_of(cell, "levels", **mine)
        if isinstance(cell, Bidirectional):
            self._refuse(cell, bidirectional=False)
            if cell.given_backward_layer is not None:
                raise ValueError(f"Expected a Bidirectional without a `backward_layer` of its own. Received: {cell!r}")
            levels |= {"bidirectional": True, "merge_mode": cell.merge_mode}
            cell = cell.layer
        if isinstance(cell, RNN):
            mine = {**{name: getattr(cell, name) for name in LAYER_ARGUMENTS}, **mine}
            cell = cell.cell
        if isinstance(cell, (list, tuple)) and self.depth == 1:
            levels["depth"] = None
        return DeepRNN(cell, **levels, **mine, dtype=self.dtype_policy, name="levels")

    def _refuse(self, cell, **defaults):
        for name, default in defaults.items():
            if getattr(self, name) != default:
                raise ValueError(
                    f"Expected {name}={default!r} with a {type(cell).__name__}, which has levels of its own. "
                    f"Received: {name}={getattr(self, name)!r}"
                )

    def _embedding(self):
        given = self.embedding
        if self.vocabulary is None:
            if given is not None:
                raise ValueError(f"Expected embedding=None with vectors (vocabulary=None). Received: {given!r}")
            return None
        layer = embedding_layer(given, self.vocabulary, self.dtype_policy)
        if layer.input_dim < self.vocabulary:
            raise ValueError(
                f"Expected an Embedding of at least {self.vocabulary} integers. Received: input_dim={layer.input_dim}"
            )
        return layer

    def build(self, input_shape):
        """Builds the embedding and the levels."""
        shape, rank = tuple(sequences_of(input_shape)), 3 if self.vocabulary is None else 2
        if len(shape) != rank:
            form = "(B, T, D)" if rank == 3 else "(B, T) of integers"
            raise ValueError(f"Expected sequences of shape {form}. Received: shape {shape}")
        if self.embed is not None:
            if not self.embed.built:
                self.embed.build(shape)
            shape = (*shape, self.embed.output_dim)
        if not self.layer.built:
            self.layer.build(shape)
        self.built = True

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), **arguments.config_of(self, keras.layers.Layer)}

    def valid(self, inputs, mask=None):
        """The mask (B, T) of the steps that count, or None for all: what is given and what is padding, together."""
        sequences, given = sequences_of(inputs), inputs if isinstance(inputs, dict) else {}
        found = [
            Given(mask=given.get("mask"), lengths=given.get("lengths")).valid(sequences),
            masks.checked("mask", first_mask(mask), tuple(sequences.shape)),
        ]
        if self.embed is not None:
            found.append(ops.not_equal(sequences, 0))
        elif self.mask_value is not None:
            found.append(ops.any(ops.not_equal(sequences, self.mask_value), axis=-1))
        found = [one for one in found if one is not None]
        return functools.reduce(ops.logical_and, found) if found else None

    def checked(self, sequences):
        """Sequences out of data: lists as an array; a NumPy array of integers has to be in range.

        Raises:
            ValueError: if an integer is not in 0..V-1.
        """
        sequences = np.asarray(sequences) if isinstance(sequences, (list, tuple)) else sequences
        if self.vocabulary is None or not isinstance(sequences, np.ndarray):
            return sequences
        return arguments.between("integers", sequences, 0, self.vocabulary - 1)

    def compute_mask(self, inputs, previous_mask):
        """The mask of the inputs, on the outputs of a sequence."""
        return self.layer.compute_mask(sequences_of(inputs), self.valid(inputs, previous_mask))

    def call(self, inputs, mask=None, training=False, initial_state=None):
        """See the class."""
        a, valid = sequences_of(inputs), self.valid(inputs, mask)
        more = {name: inputs[name] for name in ("resets", "deltas") if isinstance(inputs, dict) and name in inputs}
        a = a if self.embed is None else self.embed(a)
        a = self.before(a, training=training) if self.dropout else a
        results = self.layer(a, initial_state=initial_state, mask=valid, training=training, **more)
        if not self.dropout:
            return results
        outputs, *states = results if isinstance(results, tuple) else [results]
        outputs = self.after(outputs, training=training)
        return (outputs, *states) if states else outputs
