"""A cell that attends to a memory at each step."""

import dataclasses

import keras
from keras import ops, tree

from keras_rnnx.arguments import choice, positive
from keras_rnnx.attention.mechanism import Mechanism, MechanismPart
from keras_rnnx.base.cell import Cell
from keras_rnnx.base.composed import ComposedCell, Inner, Kept, check_dtype, inner_cell
from keras_rnnx.base.interface import Reading
from keras_rnnx.engine import masks
from keras_rnnx.engine.backends import backend

ORDERS = ("luong", "bahdanau")


class Combining(Cell):
    """What a context and an output together are turned into: f([c; h] W + b). It has a state, but does not read it."""

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "a", "", "a", "a"

    def step(self, x, u, a):
        """The activation."""
        del u, a
        return self.activate(x)[0]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class AttentionCell(ComposedCell):
    r"""A cell that looks at a memory at each step: the decoder of a translation model, for one.

    With `order="luong"` the cell comes first, and the query is its new output:
    $$ h_t = \text{cell}([x_t; a_{t-1}]), \qquad c_t = \text{attention}(h_t, m), \; a_t = f([c_t; h_t]\, W) \tag{1} $$

    With `input_feeding=False` the cell reads x_t alone. With `order="bahdanau"` the look comes first, with the old
    output, and the cell reads what was seen:
    $$ c_t = \text{attention}(h_{t-1}, m), \qquad h_t = \text{cell}([x_t; c_t]), \; a_t = f([c_t; h_t]\, W) \tag{2} $$

    The output is a_t. Of several mechanisms the contexts stand side by side. What a step needs of the memory is made
    once, before the loop, and so is the part of the cell's products that reads x_t.

    The memory is an argument of the call: `keras_rnnx.RNN(cell)(x, memory=m, memory_mask=mask)`; its mask travels with
    it in a Keras model. With a single step, `cell(x, states, memory=m)`, `cell.prepare(m, mask)` may be given in place
    of the memory, to make that once for all steps.

    Differs from the papers: in Bahdanau et al. a maxout layer takes the place of f and reads \(h_{t-1}\); Luong et al.
    start the cell from the last state of the encoder, which is for `initial_state` to say, see `start_from`.

    Args:
        cell: a cell that another one can step, or a list of them: a stack, whose top makes h.
        attention: a mechanism of this package, such as `BahdanauAttention(64)`, or a list of them.
        attention_units: int > 0, A, the size of a. Default: that of h.
        order: `"luong"` or `"bahdanau"`.
        input_feeding: bool, see above; of Luong's order only.
        attention_activation: f. Default tanh.
        use_bias: bool, whether f has a bias. Default False.
        return_alignments: bool, whether the alignments are among the states, so that `return_all_states` of the layer
            gives them at every step. Mechanisms that read them carry them in any case.
        **kwargs: `name`, `dtype` and `trainable`. Default of `dtype`: that of the cell.

    Inputs and outputs: inputs (B, D); states a (B, A), then those of the cell, named `cell_...`, then, where they are
        carried, alignments (B, S), named `attention_0_alignments` and so on -> output a (B, A), new states.
    Weights: those of the cell, whose kernel has D + A rows (D in Luong's order without feeding; D and the size of the
        contexts in Bahdanau's), those of the mechanisms, and `kernel` (sizes of the contexts + H, A).
    Cost per step: those of the cell and of the mechanisms, and B (M + H) A.
    Raises:
        ValueError: if an argument is out of range, a mechanism occurs twice, the cell has an output with weights, or
            reads whole sequences in training.

    Example:
        encoder = keras_rnnx.GRU(32, return_sequences=True)
        cell = keras_rnnx.attention.AttentionCell(
            keras_rnnx.GRUCell(32), keras_rnnx.attention.BahdanauAttention(32), order="bahdanau"
        )
        decoder = keras_rnnx.RNN(cell, return_sequences=True)
        outputs = decoder(targets, memory=encoder(sources))

    Reference: D. Bahdanau, K. Cho and Y. Bengio, Neural machine translation by jointly learning to align and translate,
        ICLR 2015, arXiv:1409.0473. M.-T. Luong, H. Pham and C. D. Manning, Effective approaches to attention-based
        neural machine translation, EMNLP 2015, arXiv:1508.04025.
    """

    CELLS = ("cell", "attention")
    attends = True
    speaker = "combine"

    def __init__(
        self,
        cell,
        attention,
        attention_units=None,
        order="luong",
        input_feeding=True,
        attention_activation="tanh",
        use_bias=False,
        return_alignments=False,
        **kwargs,
    ):
        cell = inner_cell(cell)
        super().__init__(**{"dtype": cell.dtype_policy, **kwargs})
        mechanisms = list(attention) if isinstance(attention, (list, tuple)) else [attention]
        if not mechanisms or any(not isinstance(m, Mechanism) for m in mechanisms):
            raise ValueError(
                f"Expected `attention` to be a mechanism of keras_rnnx.attention, or a list. Received: {attention!r}"
            )
        if len({id(m) for m in mechanisms}) < len(mechanisms):
            raise ValueError("Expected each mechanism once. Received: one of them twice")
        self.cell = cell
        self.attention = attention
        self.mechanisms = mechanisms
        self.attention_units = None if attention_units is None else positive("attention_units", attention_units)
        self.order = choice("order", order, ORDERS)
        self.input_feeding = bool(input_feeding)
        if order == "bahdanau" and not input_feeding:
            raise ValueError(
                'Expected input_feeding=True with order="bahdanau", which feeds the context. Received: False'
            )
        self.attention_activation = keras.activations.get(attention_activation)
        self.use_bias = bool(use_bias)
        self.return_alignments = bool(return_alignments)
        self.combine = Combining(
            self.attention_units or cell.output_size,
            activation=self.attention_activation,
            use_bias=self.use_bias,
            dtype=self.dtype_policy,
            name="combine",
        )

    # ---- what it is made of ----

    def inner(self):
        """The mechanisms, the cell, and what makes a."""
        first = self.order == "bahdanau"
        fed = first or self.input_feeding
        source = ("attention_0" if first else "combine") if fed else None
        looks = {f"attention_{i}": Inner(mechanism, "cell") for i, mechanism in enumerate(self.mechanisms)}
        return {**looks, "cell": Inner(self.cell, source, joined=fed), "combine": Inner(self.combine, "cell")}

    def kept(self):
        """a, the states of the cell, and the alignments that are carried."""
        looks = [Kept(f"attention_{i}", first=1, prefix=f"attention_{i}_") for i in range(len(self.mechanisms))]
        return [Kept("combine"), Kept("cell", prefix="cell_"), *looks]

    def part_of(self, cell, fed):
        """See `ComposedCell`."""
        if isinstance(cell, Mechanism):
            check_dtype(self, cell)
            return MechanismPart(cell, self.mechanisms.index(cell), self.return_alignments)
        return super().part_of(cell, fed)

    def fed_width(self, name):
        """See `ComposedCell`."""
        contexts = sum(mechanism.context_size for mechanism in self.mechanisms)
        if name == "combine":
            return contexts + self.cell.output_size
        if name == "cell":
            return contexts if self.order == "bahdanau" else self.combine.units * self.input_feeding
        return self.cell.output_size

    def build(self, input_shape, memory_shape=None):
        """Builds the mechanisms, the cell, and what makes a."""
        if memory_shape is None or len(memory_shape) != 3:
            raise ValueError(
                "Expected an AttentionCell in keras_rnnx.RNN, or in a list of cells there, called with a `memory` of "
                f"shape (batch, S, features). Received: memory of shape {memory_shape}"
            )
        for mechanism in self.mechanisms:
            if not mechanism.built:
                mechanism.build((*input_shape[:1], self.cell.output_size), memory_shape)
        super().build(input_shape)

    def step(self, take, *state):
        """Equations (1) or (2)."""
        old, new = self.by_part(state), {}
        a = old["combine"][0]

        def look(query):
            for i in range(len(self.mechanisms)):
                new[f"attention_{i}"] = take(f"attention_{i}", [query, *old[f"attention_{i}"]], query)
            contexts = [new[f"attention_{i}"][0] for i in range(len(self.mechanisms))]
            return ops.concatenate(contexts, axis=-1) if len(contexts) > 1 else contexts[0]

        if self.order == "bahdanau":
            context = look(self.heard("cell", old["cell"]))
            new["cell"] = take("cell", old["cell"], context)
        else:
            new["cell"] = take("cell", old["cell"], a if self.input_feeding else None)
            context = look(self.heard("cell", new["cell"]))
        h = self.heard("cell", new["cell"])
        new["combine"] = take("combine", [a], ops.concatenate([context, h], axis=-1))
        return self.carried(new)

    # ---- the memory ----

    def prepare(self, memory, memory_mask=None):
        """What steps need of a memory (B, S, M) and its mask (B, S), for use in place of the memory in `call`."""
        mask = masks.checked("memory_mask", memory_mask, tuple(memory.shape))
        return [mechanism.prepared(memory, mask) for mechanism in self.mechanisms]

    def _prepared(self, memory, mask):
        return memory if isinstance(memory, list) else self.prepare(memory, mask)

    def attended(self, memory, mask):
        """See `AbstractCell`. A varying length is padded to one of a few, as each of them compiles."""
        given = {"memory": memory, "mask": ops.ones(ops.shape(memory)[:2], "bool") if mask is None else mask}
        padded, length = backend.bucket(given, batch_first=tuple(given))
        if length is None:
            return self.prepare(memory, mask)
        prepared = self.prepare(padded["memory"], padded["mask"])
        return [{**one, "length": ops.shape(memory)[1]} for one in prepared]

    def start_from(self, states, memory=None, memory_mask=None):
        """The initial states in which the cell has given states, (B, H) each, as an encoder returns them.

        Args:
            states: a tensor or a list, one for each state of the cell.
            memory: (B, S, M), or what `prepare` gave; needed where alignments are carried.
            memory_mask: see `prepare`.

        Raises:
            ValueError: if the number of states is not that of the cell.
        """
        flat = tree.flatten(states)
        count = len(self.whole.parts["cell"].sizes)
        if len(flat) != count:
            raise ValueError(f"Expected {count} states of the cell. Received: {len(flat)}")
        attended = None if memory is None else self._prepared(memory, memory_mask)
        start = self.start(ops.shape(flat[0])[0], Reading(attended=attended))
        return [start[0], *flat, *start[1 + count :]]

    def read(self, x, state, how):
        """Reads a sequence; see `AbstractCell.read`. Alignments get the length of the padded memory meanwhile."""
        sizes = self.state_sizes()
        steps = next((ops.shape(s)[1] for s, size in zip(state, sizes, strict=True) if size is None), None)
        if steps is None:
            return super().read(x, state, how)
        extra = ops.shape(how.attended[0]["values"])[1] - steps

        def each(function, states):
            return states and [function(s) if n is None else s for s, n in zip(states, sizes, strict=True)]

        state = each(lambda s: ops.concatenate([s, ops.zeros((ops.shape(s)[0], extra), s.dtype)], axis=1), state)
        result = super().read(x, state, how)
        start = result.start and [result.start[0], *each(lambda s: s[:, :steps], result.start[1:])]
        final = each(lambda s: s[:, :steps], result.final)
        return dataclasses.replace(
            result, final=final, states=each(lambda s: s[..., :steps], result.states), start=start
        )

    def call(self, inputs, states, training=False, deltas=None, memory=None, memory_mask=None):
        """Keras' cell protocol: one step of (B, D) inputs; returns the output and the list of new states.

        Args:
            inputs: (B, D).
            states: as `state_size` says.
            training: bool.
            deltas: (B,) or (B, 1), for a cell that reads time.
            memory: (B, S, M), or what `prepare` gave.
            memory_mask: (B, S) booleans, with a memory.

        Raises:
            ValueError: if there is no memory; in training with dropout, zoneout or noise, which belong to a sequence.
        """
        states = self.states_of_step(states, training, deltas)
        if memory is None:
            raise ValueError("Expected `memory` in a step of an AttentionCell. Received: None")
        attended = self._prepared(memory, memory_mask)
        return self.single_step(inputs, states, bool(training), deltas, Reading(attended=attended))
