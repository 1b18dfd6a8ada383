"""What all attention mechanisms share: how a query meets a memory."""

import dataclasses

import keras
from keras import ops

from keras_rnnx.arguments import FromConfig, choice, config_of
from keras_rnnx.base.parts import Part
from keras_rnnx.base.quantization import Quantizable
from keras_rnnx.base.uncast import Uncast
from keras_rnnx.engine import masks, products
from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.gates import at_least_single

NORMALIZERS = ("softmax", "sigmoid")
NO_ARRAYS = ("valid", "length")  # of what is prepared: the mask, and the true length of a padded memory


@dataclasses.dataclass(frozen=True)
class Looked:
    """One look at a memory, at all the steps of a query (B, T, ...) at once; T = 1 within a loop.

    Attributes:
        query: (B, T, A), projected where the mechanism does so.
        memory: what the mechanism's `keys_and_values` gave.
        vectors: the values of the mechanism's `vectors`.
        carried: the mechanism's own states, (B, S) each.
        valid: (B, S) booleans or None.
        training: bool.
        noise: (B, S) or None, see `Mechanism.draw`.
    """

    query: object
    memory: dict
    vectors: dict
    carried: tuple = ()
    valid: object = None
    training: bool = False
    noise: object = None


class Mechanism(FromConfig, Quantizable, Uncast):
    r"""Attention of a query q to a memory of S vectors m: energies, weights that sum to one, and their mean.

    $$ e_s = \text{energy}(q, m_s), \qquad \alpha = \text{softmax}(e), \qquad c = \sum_s \alpha_s\, v_s \tag{1} $$

    A subclass says what a query and a memory are turned into, and writes `energies`. Masked positions get a weight of
    exactly 0; where all are masked, the context is 0.

    As a layer it looks at a memory with each step of a sequence of queries, all at once. Inside an `AttentionCell` the
    same equations run in the loop.

    Class attributes:
        CARRIED: names of what a step hands to the next one, (B, S) each; the first are the alignments.
        IN_LOOP: names of the matrices whose products are made at each step.

    Args:
        normalizer: `"softmax"`, or `"sigmoid"`: \(\alpha_s = \sigma(e_s) / \sum_j \sigma(e_j)\), the smoothing of
            Chorowski et al. (2015).
        kernel_initializer, kernel_regularizer, kernel_constraint: of all its matrices.

    Call:
        query: (B, T, Q), or (B, Q) for one step.
        memory: (B, S, M).
        memory_mask: (B, S) booleans, in any pattern.
        return_alignments: bool.

    Returns:
        The contexts (B, T, M), with `return_alignments` followed by the alignments (B, T, S); for a query (B, Q)
        without T.
    """

    CARRIED = ()
    IN_LOOP = ("query",)
    draws = timed = measures = False

    def __init__(
        self,
        normalizer="softmax",
        *,
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        kernel_constraint=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.normalizer = choice("normalizer", normalizer, NORMALIZERS)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.supports_masking = True
        self.query_size = self.memory_size = None
        self._products, self._vectors = {}, {}
        self._kernels = []  # the names of the matrices, see `Quantizable`

    # ---- what a subclass says ----

    def build_weights(self, query_size, memory_size):
        """Makes the weights, by `add_matrix` and `add_vector`."""
        raise NotImplementedError

    @property
    def context_size(self):
        """The size of a context; known once it is built. Default: that of the memory."""
        return self.memory_size

    def project(self, query, multiply):
        """A query (..., Q) as `energies` reads it. Default: q W where there is a matrix `query`."""
        return multiply("query", query) if "query" in self._products else query

    def keys_and_values(self, memory):
        """What a memory (B, S, M) is turned into, once for all steps: a dict with `values` (B, S, M).

        Default: the memory itself, and m W as `keys` where there is a matrix `memory`.
        """
        keys = self.of_memory("memory", memory) if "memory" in self._products else memory
        return {"keys": keys, "values": memory}

    def energies(self, look):
        """(B, T, S) for a `Looked`: a pure function that reads no variable."""
        raise NotImplementedError

    def draw(self, shape):
        """The noise on the energies of each step in training, drawn for all steps at once, (T, B, S); or None."""
        del shape

    def align(self, energies, look):
        """The alignments (B, T, S), and the list of what is carried. Default: equation (1)."""
        alignments = normalized(energies, look.valid, self.normalizer)
        return alignments, [alignments[:, -1]] * len(self.CARRIED)

    def contexts(self, alignments, look, multiply):
        """The contexts (B, T, M), and the alignments (B, T, S) to show. Default: equation (1)."""
        del multiply
        return backend.matmul(alignments, look.memory["values"], alignments.dtype), alignments

    def initial(self, batch, steps, dtype):
        """What is carried into the first step, a list of (B, S). Default: zeros."""
        return [ops.zeros((batch, steps), dtype) for _ in self.CARRIED]

    # ---- weights ----

    def add_matrix(self, name, rows, columns):
        """Adds the matrix `<name>_kernel`; its products with queries are made by the engine."""
        kind = self._kind_of_matrices()
        self._products[name] = self.add_kernel(name=f"{name}_kernel", shape=(rows, columns), **kind)
        setattr(self, f"{name}_kernel", self._products[name])

    def add_vector(self, name, shape, initializer=None):
        """Adds a weight that a step reads as it is; without an initializer one of the kind of the matrices."""
        kind = self._kind_of_matrices() if initializer is None else {"initializer": initializer}
        self._vectors[name] = self.add_weight(name=name, shape=shape, **kind)
        setattr(self, name, self._vectors[name])

    def _kind_of_matrices(self):
        return {name: getattr(self, f"kernel_{name}") for name in ("initializer", "regularizer", "constraint")}

    def matrices(self):
        """The matrices, as the weights of products, in the compute dtype."""
        return {name: {"kernel": self._cast(w)} for name, w in self._products.items()}

    def vectors(self):
        """The other weights, in the dtype of the states."""
        return {name: ops.cast(w, self.state_dtype) for name, w in self._vectors.items()}

    @property
    def state_dtype(self):
        """The dtype in which a step computes: the compute dtype, but at least float32."""
        return at_least_single(self.compute_dtype)

    def of_memory(self, name, memory):
        """The product of a memory (B, S, M) with a matrix."""
        return products.apply({"kernel": self._cast(self._products[name])}, memory, memory.dtype)

    # ---- the same for all ----

    def build(self, query_shape, memory_shape):
        """Makes the weights."""
        sizes = {"query": query_shape[-1], "memory": memory_shape[-1]}
        if None in sizes.values():
            raise ValueError(f"Expected known sizes of query and memory. Received: {sizes}")
        self.query_size, self.memory_size = sizes["query"], sizes["memory"]
        self.build_weights(*sizes.values())
        self.built = True

    def prepared(self, memory, mask):
        """What the steps need of a memory: `keys_and_values`, and the mask as `valid` or None."""
        if self.built and memory.shape[-1] != self.memory_size:
            raise ValueError(
                f"Expected a memory of {self.memory_size} features in {type(self).__name__}. "
                f"Received: shape {tuple(memory.shape)}"
            )
        memory = ops.cast(memory, self.compute_dtype)
        if mask is not None:  # whatever stands there must not reach a sum, times zero
            memory = masks.quiet(memory, mask)
        made = {name: ops.cast(a, self.state_dtype) for name, a in self.keys_and_values(memory).items()}
        return {**made, "valid": mask}

    def look(self, query, prepared, vectors, multiply, **more):
        """One look with queries (B, T, Q): the contexts, the alignments, and the list of what is carried."""
        arrays = {name: a for name, a in prepared.items() if name not in NO_ARRAYS}
        look = Looked(self.project(query, multiply), arrays, vectors, valid=prepared["valid"], **more)
        alignments, carried = self.align(self.energies(look), look)
        contexts, alignments = self.contexts(alignments, look, multiply)
        return contexts, alignments, carried

    def call(self, query, memory, memory_mask=None, return_alignments=False):
        """See the class."""
        if self.CARRIED:
            raise ValueError(
                f"Expected {type(self).__name__} inside an AttentionCell, as it reads the alignments of the step "
                "before. Received: a call of the mechanism itself"
            )
        self._check(query, memory, memory_mask)
        single = len(query.shape) == 2
        rows = ops.cast(query[:, None] if single else query, self.state_dtype)
        prepared = self.prepared(memory, masks.checked("memory_mask", memory_mask, tuple(memory.shape)))
        weights = self.matrices()

        def multiply(name, left):
            return products.apply(weights[name], left, self.state_dtype)

        made = self.look(rows, prepared, self.vectors(), multiply)[:2]
        made = [ops.cast(a[:, 0] if single else a, self.compute_dtype) for a in made]
        return tuple(made) if return_alignments else made[0]

    def compute_output_spec(self, query, memory, memory_mask=None, return_alignments=False):
        """Shapes of the results."""
        self._check(query, memory, memory_mask)
        lead = tuple(query.shape)[:-1]
        sizes = [self.context_size, memory.shape[1]][: 1 + return_alignments]
        spec = [keras.KerasTensor((*lead, size), self.compute_dtype) for size in sizes]
        return tuple(spec) if return_alignments else spec[0]

    def _check(self, query, memory, mask):
        """Raises where the arguments of a call do not fit."""
        shapes = {"query": tuple(query.shape), "memory": tuple(memory.shape)}
        fit = len(shapes["query"]) in (2, 3) and len(shapes["memory"]) == 3 and shapes["memory"][1] != 0
        batches = {shape[0] for shape in shapes.values()} - {None}
        if not fit or len(batches) > 1 or shapes["query"][-1] != self.query_size:
            raise ValueError(
                f"Expected a query (B, T, {self.query_size}) or (B, {self.query_size}) and a memory (B, S > 0, "
                f"{self.memory_size}). Received: {shapes}"
            )
        masks.checked_shape("memory_mask", mask, shapes["memory"])

    def compute_mask(self, query, previous_mask):
        """The mask of the queries."""
        return previous_mask

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), **config_of(self, keras.layers.Layer)}


def normalized(energies, valid, normalizer="softmax"):
    """Energies (B, T, S) as weights that sum to one over the valid positions, and are 0 elsewhere."""
    valid = None if valid is None else valid[:, None]
    if normalizer == "sigmoid":
        weights = ops.sigmoid(energies)
    else:
        shown = energies if valid is None else ops.where(valid, energies, ops.full_like(energies, -1e30))
        largest = ops.max(shown, axis=-1, keepdims=True, initial=-1e30)  # which an empty batch needs
        weights = ops.exp(shown - ops.stop_gradient(largest))
    if valid is not None:
        weights = ops.where(valid, weights, ops.zeros_like(weights))
    total = ops.sum(weights, axis=-1, keepdims=True)
    return weights / ops.where(total > 0, total, ops.ones_like(total))


class MechanismPart(Part):
    """A mechanism inside an `AttentionCell`: its first state is the context, which no step carries on.

    Args:
        cell: the mechanism.
        index: which one of the cell's it is.
        shown: whether the alignments are to be carried in any case, so that they can be returned.
    """

    rates = ()
    timed = False

    def __init__(self, cell, index, shown):
        super().__init__(cell, fed=True)
        self.index = index
        self.carried = cell.CARRIED or ("alignments",) * shown

    @property
    def draws(self):
        """See `Part`."""
        return self.cell.draws

    @property
    def names(self):
        """See `Part`."""
        return ("context", *self.carried)

    @property
    def sizes(self):
        """See `Part`."""
        return [self.cell.context_size, *[None] * len(self.carried)]

    def readout(self, h):
        """The context."""
        return h

    def initial(self, batch, how):
        """See `Part`; None in place of the context."""
        if self.carried and how.attended is None:
            raise ValueError(
                f"Expected a memory, of whose length the alignments are, to start {type(self.cell).__name__}. "
                "Received: none; a layer that carries alignments cannot be stateful"
            )
        if not self.carried:
            return [None]
        prepared, dtype = self._prepared(how), self.cell.state_dtype
        steps = prepared["length"] if "length" in prepared else ops.shape(prepared["values"])[1]
        made = self.cell.initial(batch, steps, dtype) or [ops.zeros((batch, steps), dtype)]
        return [None, *made]

    def build(self, input_shape):
        """The cell has built it, as it knows the memory."""

    def check(self):
        """Nothing: what a mechanism reads depends on the memory of a call."""

    def received(self, left, multiply, vectors, fixed, ahead=None):
        """See `Part`."""
        del multiply, vectors, fixed, ahead
        return {"query": left}

    def weights(self):
        """See `Part`."""
        return {name: w for name, w in self.cell.matrices().items() if name in self.cell.IN_LOOP}

    def vectors(self, how):
        """See `Part`."""
        arrays = {name: a for name, a in self._prepared(how).items() if name not in NO_ARRAYS}
        return {"own": self.cell.vectors(), "memory": arrays}

    def drawn(self, how, steps, batch):
        """See `Part`."""
        prepared, data = self._prepared(how), {"slots": {}, "fixed": {}}
        if prepared["valid"] is not None:
            data["fixed"]["valid"] = prepared["valid"]
        noise = self.cell.draw((steps, batch, ops.shape(prepared["values"])[1])) if how.training else None
        if noise is not None:
            data["slots"]["noise"] = noise
        return data

    def advance(self, training, x, multiply, vectors, drawn, state):
        """See `Part`."""

        def product(name, left):
            return multiply(name, left[:, 0], 1)[0][:, None]

        prepared = {**vectors["memory"], "valid": drawn["fixed"].get("valid")}
        more = {"carried": tuple(state[1:]), "training": training, "noise": drawn["slots"].get("noise")}
        contexts, alignments, carried = self.cell.look(x["query"][:, None], prepared, vectors["own"], product, **more)
        return [contexts[:, 0], *(carried or [alignments[:, 0]] * len(self.carried))]

    def _prepared(self, how):
        return how.attended[self.index]
