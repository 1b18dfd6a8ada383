"""From a state, and perhaps a memory, to a target sequence."""

import keras
from keras import ops, tree

from keras_rnnx import arguments
from keras_rnnx.attention.cell import AttentionCell
from keras_rnnx.base.quantization import Parts
from keras_rnnx.base.uncast import Uncast
from keras_rnnx.engine import products
from keras_rnnx.engine.gates import at_least_single
from keras_rnnx.layers.rnn import RNN
from keras_rnnx.models.trunk import embedding_layer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Decoder(arguments.FromConfig, Parts, Uncast):
    r"""Reads the target sequence so far, and says what may come next.

    $$ x_t = D(E_{y_{t-1}}), \qquad a_t = \text{cell}(x_t, s_{t-1}, m), \qquad
       \text{logits}_t = D(a_t)\, W + b \tag{1} $$

    with dropout D in training. The cell is that of the arguments, inside an `AttentionCell` where there is `attention`.
    Called on a whole sequence it computes (1) for all steps of a known target; `step` does one of them, for `decode`.

    Args:
        vocabulary: int V > 0; the integers are 0..V-1, of which 0 is padding.
        cell: a cell, or a list of cells on top of each other.
        attention: a mechanism of `keras_rnnx.attention`, a list of them, or None: then there is no memory.
        embedding: int E, its width, or a `keras.layers.Embedding`. Default: 64. A new one starts with rows of
            length 1, or with tied weights with numbers of the size E^(-1/4).
        attention_units, order, input_feeding: see `AttentionCell`.
        dropout: rate in [0, 1).
        tie_weights: bool, whether W is the transposed embedding, for which a_t must be as wide as E.
        stateful: bool, whether a call on a sequence starts where the one before it ended: see `RNN`.
        seed: int or None, for `dropout`.

    Call:
        tokens: (B, T) integers, what each step reads: y_0 to y_{T-1}.
        initial_state: what `start` gives. Default: the cell's own.
        memory: (B, S, M), where there is attention.
        memory_mask: (B, S) booleans. Default: the mask that the memory carries.
        training: bool.
        return_state: bool.

    Returns:
        The logits (B, T, V), in float32 at least, with `return_state` followed by the list of final states.

    Raises:
        ValueError: if an argument is out of range, or there is a memory without attention or the reverse.

    Reference: K. Cho et al., Learning phrase representations using RNN encoder-decoder for statistical machine
        translation, EMNLP 2014, arXiv:1406.1078. I. Sutskever, O. Vinyals and Q. V. Le, Sequence to sequence learning
        with neural networks, NeurIPS 2014, arXiv:1409.3215. O. Press and L. Wolf, Using the output embedding to improve
        language models, EACL 2017, arXiv:1608.05859 (tied weights).
    """

    def __init__(
        self,
        vocabulary,
        cell,
        attention=None,
        *,
        embedding=None,
        attention_units=None,
        order="luong",
        input_feeding=True,
        dropout=0.0,
        tie_weights=False,
        stateful=False,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary = arguments.positive("vocabulary", vocabulary)
        self.cell = cell
        self.attention = attention
        self.embedding = embedding
        self.attention_units = attention_units
        self.order = order
        self.input_feeding = bool(input_feeding)
        self.dropout = arguments.rate("dropout", dropout)
        self.tie_weights = bool(tie_weights)
        self.stateful = bool(stateful)
        self.seed = arguments.checked_seed(seed)
        self.supports_masking = True
        if attention is not None:
            cell = AttentionCell(
                cell, attention, attention_units, order, self.input_feeding, return_alignments=True, name="attending"
            )
        elif attention_units is not None or order != "luong" or not input_feeding:
            raise ValueError(
                "Expected `attention_units`, `order` and `input_feeding` with `attention` alone. Received: no attention"
            )
        dtype = at_least_single(self.compute_dtype)
        self.recurrent = RNN(
            cell,
            return_sequences=True,
            return_state=True,
            stateful=self.stateful,
            dtype=self.dtype_policy,
            name="recurrent",
        )
        embedding = embedding_layer(embedding, self.vocabulary, self.dtype_policy, self.tie_weights)
        if embedding.input_dim != self.vocabulary:
            raise ValueError(
                f"Expected an Embedding of {self.vocabulary} integers. Received: input_dim={embedding.input_dim}"
            )
        self.embed = embedding
        if self.tie_weights:
            self.head = None
        else:
            self.head = keras.layers.Dense(self.vocabulary, dtype=dtype, name="logits")
        self.drop = keras.layers.Dropout(self.dropout, seed=seed, dtype=self.dtype_policy)

    # ---- Keras ----

    def build(self, tokens_shape, memory_shape=None):
        """Builds the embedding, the cell and the logits."""
        if len(tokens_shape) != 2:
            raise ValueError(f"Expected tokens of shape (batch, time). Received: shape {tuple(tokens_shape)}")
        if not self.embed.built:
            self.embed.build(tokens_shape)
        more = {} if memory_shape is None else {"memory_shape": memory_shape}
        if not self.recurrent.built:
            self.recurrent.build((*tokens_shape, self.embed.output_dim), **more)
        width = self.recurrent.cell.output_size
        if self.tie_weights:
            if width != self.embed.output_dim:
                raise ValueError(
                    "Expected an output as wide as the embedding with tie_weights=True. "
                    f"Received: {width} and {self.embed.output_dim}"
                )
            dtype = at_least_single(self.variable_dtype)
            self.bias = self.add_weight(name="bias", shape=(self.vocabulary,), initializer="zeros", dtype=dtype)
        else:
            self.head.build((*tokens_shape, width))
        self.built = True

    def compute_output_spec(
        self, tokens, initial_state=None, memory=None, memory_mask=None, training=False, return_state=False
    ):
        """Shapes and dtypes of the results."""
        x = keras.KerasTensor((*tokens.shape, self.embed.output_dim), self.compute_dtype)
        _, *states = self.recurrent.compute_output_spec(
            x, initial_state, memory=memory, memory_mask=memory_mask, training=training
        )
        logits = keras.KerasTensor((*tokens.shape, self.vocabulary), at_least_single(self.compute_dtype))
        return (logits, tree.flatten(states)) if return_state else logits

    def compute_mask(self, tokens, previous_mask):
        """Where the tokens are no padding."""
        return ops.not_equal(tokens, 0)

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), **arguments.config_of(self, keras.layers.Layer)}

    # ---- the call ----

    def call(self, tokens, initial_state=None, memory=None, memory_mask=None, training=False, return_state=False):
        """See the class."""
        x = self.drop(self.embed(tokens), training=training)
        results = self.recurrent(
            x,
            initial_state=initial_state,
            mask=ops.not_equal(tokens, 0),
            training=training,
            memory=memory,
            memory_mask=memory_mask,
        )
        outputs, *states = results
        logits = self.logits(self.drop(outputs, training=training))
        return (logits, tree.flatten(states)) if return_state else logits

    def logits(self, outputs):
        """The logits (..., V) of outputs (..., A)."""
        if self.head is not None:
            return self.head(outputs)
        dtype = at_least_single(self.compute_dtype)
        quantized = self.embed.quantization_mode is not None
        rows = self.embed(ops.arange(self.vocabulary)) if quantized else self.embed.embeddings
        table = ops.transpose(ops.cast(rows, dtype))
        return products.apply({"kernel": table, "bias": self.bias}, ops.cast(outputs, dtype), dtype)

    # ---- one step at a time ----

    @property
    def state_sizes(self):
        """The sizes of the states that `start` takes: those of the cell without what attention adds."""
        cell = self.recurrent.cell
        return tree.flatten(cell.cell.state_size if self.attention is not None else cell.state_size)

    def prepare(self, memory, memory_mask=None):
        """What `step` needs of a memory, made once: a tree of arrays with the batch in front."""
        return self.recurrent.cell.prepare(memory, memory_mask)

    def start(self, batch, states=None, memory=None):
        """The states before the first step, a list.

        Args:
            batch: int, the number of rows.
            states: the states of the cell, as `state_sizes` says. Default: the cell's own initial state.
            memory: what `prepare` gave, or the memory; where there is attention.
        """
        cell = self.recurrent.cell
        if states is None:
            states = tree.flatten((cell.cell if self.attention is not None else cell).get_initial_state(batch))
        states = [ops.cast(s, cell.state_dtype) for s in states]
        return states if self.attention is None else cell.start_from(states, memory)

    def step(self, tokens, states, memory=None):
        """One step.

        Args:
            tokens: (B,) integers.
            states: a list, as `start` and `step` return it.
            memory: what `prepare` gave.

        Returns:
            The logits (B, V), the list of new states, and the alignments (B, S) of the first mechanism or None.
        """
        cell = self.recurrent.cell
        more = {} if self.attention is None else {"memory": memory}
        output, new = cell(ops.cast(self.embed(tokens), cell.compute_dtype), states, **more)
        new = [ops.cast(s, cell.state_dtype) for s in tree.flatten(new)]
        alignments = None if self.attention is None else new[1 + len(self.state_sizes)]
        return self.logits(output), new, alignments
