"""The base of cells that are equations: weights from names, options, and the way from inputs to states."""

import functools

import keras
from keras import ops

from keras_rnnx.arguments import checked_initializer, choice, positive, rate
from keras_rnnx.base import reading, structures
from keras_rnnx.base.projecting import ProjectingCell
from keras_rnnx.engine import paths
from keras_rnnx.engine.gates import activated, joined, normalize, reordered, split
from keras_rnnx.engine.sequential import Engine
from keras_rnnx.native.library import native
from keras_rnnx.native.program import Untraceable, traced

NORMALIZATIONS = (None, "layer", "rms")

# What a kernel for whole sequences computes too.
EQUATIONS = ("step", "activate", "inputs", "inputs_of_sequence", "project", "product", "with_bias", "times")


class Cell(ProjectingCell):
    r"""One step of a recurrence, written as equations; everything else is inherited.

    A subclass names its gates and states and writes `step`. The base class makes the weights, projects a whole sequence
    at once, and gives the engine, masks, dropout, zoneout, normalization, structures, saving and Keras' cell protocol.

    Class attributes:
        GATES: names of the gates, in the storage order of the columns of `kernel` (D, G*H) and `bias` (G*H,).
        RECURRENT_GATES: those with a recurrent product, in the storage order of `recurrent_kernel` (H, G*H).
            Default: all of `GATES`.
        STATES: names of the states; the first one is the output.
        CANDIDATES: the gates to which `activate` applies `activation`; the others get `recurrent_activation`.
        MATRICES: names of further matrices (H, H): weight `<name>_kernel`, product `u.<name>(h)`.
        VECTORS: names of vectors (H,) that a step reads as `u.<name>`.
        TIMED: whether `step` reads `u.delta`, (B, 1): the time since the valid step before, from the call's `deltas`.
        LANES: whether `step` also works when every array has one more axis in front of B, which lets `Bidirectional`
            walk both directions in one loop. True for steps of arithmetic, activations and products alone.

    Args:
        units: int > 0, H, the size of every state.
        activation: activation of the candidate gates and of the output. Default tanh.
        recurrent_activation: activation of the other gates. Default sigmoid.
        use_bias: bool, whether there is a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: initializers. An orthogonal start is drawn in
            float32 whatever the dtype, and block by block in a structured matrix.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: regularizers.
        kernel_constraint, recurrent_constraint, bias_constraint: constraints.
        dropout: rate in [0, 1) of a mask (B, D) on the inputs, one for a whole sequence.
        recurrent_dropout: rate in [0, 1) of a mask on the left operand of each recurrent product.
        recurrent_dropout_mode: `"sequence"`, one mask for all steps (Gal & Ghahramani, 2016), or `"step"`, a new one at
            each step.
        zoneout: rate in [0, 1), or one for each state: the chance that a unit keeps its old value (Krueger et al.,
            2017). At inference the expectation: \(p\,s + (1-p)\,s_{new}\).
        normalization: None, `"layer"` or `"rms"`: each gate of the projected input and of the recurrent product is
            normalized by itself and scaled by a gain.
        recurrent_structure: `"dense"`, `"diagonal"` (\(u \odot h\)), `"block"` (`recurrent_blocks` blocks on the
            diagonal) or `"low_rank"` (\(U = A B\) of rank `recurrent_rank`).
        recurrent_blocks: int that divides `units`, for `"block"`.
        recurrent_rank: int <= `units`, for `"low_rank"`.
        learn_initial_state: bool, whether the initial state is a weight, started at zero.
        seed: int or None, for dropout and zoneout.

    Raises:
        ValueError: at construction if an argument is out of range; at build if `step` returns other states than
            `STATES` or reads a variable directly.
    """

    GATES = ""
    RECURRENT_GATES = None
    STATES = "h"
    CANDIDATES = ""
    MATRICES = ""
    VECTORS = ""

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        recurrent_initializer="orthogonal",
        recurrent_regularizer=None,
        recurrent_constraint=None,
        recurrent_dropout=0.0,
        recurrent_dropout_mode="sequence",
        zoneout=0.0,
        normalization=None,
        recurrent_structure="dense",
        recurrent_blocks=None,
        recurrent_rank=None,
        **kwargs,
    ):
        super().__init__(units, use_bias=use_bias, **kwargs)
        self.activation = keras.activations.get(activation)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.recurrent_initializer = checked_initializer(recurrent_initializer)
        self.recurrent_regularizer = keras.regularizers.get(recurrent_regularizer)
        self.recurrent_constraint = keras.constraints.get(recurrent_constraint)
        self.recurrent_dropout = rate("recurrent_dropout", recurrent_dropout)
        self.recurrent_dropout_mode = choice("recurrent_dropout_mode", recurrent_dropout_mode, ("sequence", "step"))
        self.zoneout = zoneout
        self.normalization = choice("normalization", normalization, NORMALIZATIONS)
        self.recurrent_structure = choice("recurrent_structure", recurrent_structure, structures.STRUCTURES)
        self.recurrent_blocks = None if recurrent_blocks is None else positive("recurrent_blocks", recurrent_blocks)
        self.recurrent_rank = None if recurrent_rank is None else positive("recurrent_rank", recurrent_rank)
        recurrent = self.GATES if self.RECURRENT_GATES is None else self.RECURRENT_GATES
        self.recurrent_gates = tuple(recurrent.split())
        self.rates = self._checked_zoneout(zoneout)
        self._products = {}  # name -> {key: weight}
        self._product_gates = {}  # name -> names of gates
        self._vectors = {}  # name -> weight
        self._tried = None  # `read_by_step`
        self._program = None  # `program`
        step = functools.partial(reading.engine_step, self)
        self.engine = Engine(step, functools.partial(reading.engine_inputs, self))

    def _checked_zoneout(self, zoneout):
        given = list(zoneout) if isinstance(zoneout, (list, tuple)) else [zoneout] * len(self.states)
        if len(given) != len(self.states):
            raise ValueError(
                f"Expected `zoneout` to be one rate or one for each state of {self.states}. "
                f"Received: zoneout={zoneout!r}"
            )
        return tuple(rate("zoneout", z) for z in given)

    # ---- weights ----

    @property
    def draws(self):
        """Whether anything is drawn in training."""
        return bool(self.dropout or self.recurrent_dropout or any(self.rates))

    def build_own(self, width):
        """Makes `recurrent_kernel`, `bias`, and what MATRICES, VECTORS and the options ask for."""
        recurrent_width = len(self.recurrent_gates) * self.gate_units
        if recurrent_width:
            self.build_recurrent(recurrent_width)
        self.build_bias(width)
        if self.normalization:
            self.kernel_gain = self.add_weight(name="kernel_gain", shape=(width,), initializer="ones")
            if recurrent_width:
                self.add_vector("recurrent_gain", (recurrent_width,), "ones")
        for name in self.MATRICES.split():
            self.add_matrix(name, (self.units, self.units))
        for name in self.VECTORS.split():
            self.add_vector(name)

    def build_recurrent(self, width):
        """Makes `recurrent_kernel` (H, width). A cell whose recurrent product is of another kind overrides this."""
        self.add_matrix(
            "recurrent",
            (self.state_sizes()[0], width),
            structure=self.recurrent_structure,
            gates=self.recurrent_gates,
        )

    def add_matrix(self, name, shape, bias=False, structure="dense", gates=()):
        """Adds a matrix whose product a step takes as `u.<name>(left)`; weight `<name>_kernel`.

        Args:
            name: str.
            shape: (size of the left operand, width of the product).
            bias: bool, whether a bias `<name>_bias` is added to the product.
            structure: see `recurrent_structure`.
            gates: names of the gates that the product makes; with some, `u.<name>(left)` is `Gates`.
        """
        made = {}
        wanted = structures.shapes(structure, *shape, len(gates) or 1, self.recurrent_blocks, self.recurrent_rank)
        for key, (suffix, part) in wanted.items():
            initializer = structures.Structured(self.recurrent_initializer, key)
            made[key] = self.new_weight(f"{name}_kernel{suffix}", part, initializer)
            setattr(self, f"{name}_kernel{suffix}", made[key])
        if bias:
            made["bias"] = self.add_weight(
                name=f"{name}_bias",
                shape=(shape[1],),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
            setattr(self, f"{name}_bias", made["bias"])
        self.add_product(name, made, gates)

    def add_product(self, name, weights, gates=()):
        """Adds the product with weights that are there; see `add_matrix`."""
        self._products[name], self._product_gates[name] = weights, tuple(gates)

    def add_vector(self, name, shape=None, initializer="zeros"):
        """Adds a vector that a step reads as `u.<name>`; shape (H,) unless given."""
        if getattr(self, name, None) is not None:
            raise ValueError(f"Expected a name that {type(self).__name__} does not use yet. Received: vector {name!r}")
        shape = (self.units,) if shape is None else shape
        weight = self.add_weight(name=name, shape=shape, initializer=initializer)
        setattr(self, name, weight)
        self._vectors[name] = weight

    # ---- equations ----

    def product(self, x):
        """x W for rows x (..., D), normalized where asked for."""
        gates = super().product(x)
        if self.normalization:
            gains = split(self._cast(self.kernel_gain), len(gates))
            gates = [normalize(g, gain, self.normalization) for g, gain in zip(gates, gains, strict=True)]
        return gates

    def inputs(self, x):
        """What a step reads of the inputs, for all steps at once: arrays (..., N) by name, in the order of `Gates`.

        Default: x W + b for each of `GATES`. A cell whose step reads more, or less, overrides this.
        """
        return dict(zip(self.gates, self.project(x), strict=True))

    @property
    def is_projected(self):
        """Whether `inputs` is x W + b, and nothing else, which a native kernel makes by itself."""
        own = ("inputs", "inputs_of_sequence", "project", "product", "with_bias", "times")
        other = any(getattr(type(self), name) is not getattr(Cell, name) for name in own)
        return not other and not self.normalization and self.multiply is None

    def reads_batch_first(self, how):
        """A native kernel can, where it projects the inputs."""
        if type(self).read is not Cell.read or not self.is_projected or how.memory[0] == "remat":
            return False
        kernels = self.path(how).kernels
        return kernels is not None and kernels.WALKS

    def joined_inputs(self, x, how):
        """`inputs_of_sequence` for a native kernel: the arrays side by side, or what it projects them from.

        Args:
            x: (T, B, D), or (B, T, D) as the `Reading` says.
            how: a `Reading`.

        Returns:
            A pair of a list of one array and a dict: the inputs (T, B, G*H) that are still to get the "bias" (G*H,),
            if there is one; or x (T, B, D) and, besides that bias, the "kernel" (D, G*H).
        """
        if not self.is_projected:
            return [joined(list(self.inputs_of_sequence(x, how).values()))], {}
        bias = self.input_bias()
        given = {} if bias is None else {"bias": bias}
        return [self.dropped(x, how)], {"kernel": self._cast(self.kernel), **given}

    def inputs_of_sequence(self, x, how):
        """`inputs` of a whole sequence x (T, B, D), with dropout as a `Reading` says.

        A cell that `measures` something over a sequence overrides this.
        """
        return self.inputs(self.dropped(x, how))

    def step(self, x, u, *state):
        """The equations of one step: a pure function.

        Args:
            x: `Gates`, what `inputs` gave for this step, each (B, H).
            u: `Recurrent`, the recurrent products and the vectors.
            *state: the old states (B, H), in the order of `STATES`.

        Returns:
            The new state, or a tuple of the new states.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `step(self, x, u, *state)`")

    def activate(self, gates):
        """Each gate of `Gates` with its activation, in storage order: see `CANDIDATES`."""
        candidates = self.CANDIDATES.split()
        functions = [self.activation if name in candidates else self.recurrent_activation for name in gates.names]
        return tuple(activated(function, gate) for function, gate in zip(functions, gates, strict=True))

    def is_late(self, how):
        """Whether the inputs of a `Reading` are projected segment by segment: see `Walk.late`."""
        return how.memory[0] == "remat" and not self.measures and self.quantization_mode is None

    def readout(self, h):
        """The output made from the first state, for all steps at once. Default: the state itself."""
        return h

    # ---- the way through the engine ----

    def check(self):
        """Tries one step on zeros."""
        self._tried = reading.tried_step(self)

    @property
    def read_by_step(self):
        """The names of `inputs`, `asked`, and the variables that `inputs` reads."""
        if self._tried is None:
            self.check()
        return self._tried

    @property
    def asked(self):
        """The recurrent products of a step, in the order of use: (name, gates or None, size of the left operand)."""
        return self.read_by_step[1]

    @property
    def operands(self):
        """The size of the left operand of each recurrent product of a step, in the order of use."""
        return tuple(size for _, _, size in self.asked)

    def initial_state(self, batch):
        """The cell's own initial state, in the layout of `step`."""
        return self.get_initial_state(batch)

    def weights_of_products(self):
        """The weights of each recurrent product, in the compute dtype."""
        weights = {name: {key: self._cast(w) for key, w in parts.items()} for name, parts in self._products.items()}
        bias = self.recurrent_bias()
        if bias is not None and not self.normalization:
            weights["recurrent"]["bias"] = self._cast(bias)
        return weights

    def values_of_vectors(self):
        """The vectors that a step reads, in the state dtype."""
        vectors = {name: ops.cast(w, self.state_dtype) for name, w in self._vectors.items()}
        bias = self.recurrent_bias()
        if bias is not None and self.normalization:
            vectors["recurrent_bias"] = ops.cast(bias, self.state_dtype)
        return vectors

    def fused_weights(self, order):
        """kernel (G*H, D), recurrent_kernel (G*H, H) and both biases (G*H,), the gates in an order such as "r z n"."""
        order = order.split()
        weights = self.weights_of_products()["recurrent"]
        zero = ops.zeros((len(self.gates) * self.gate_units,), self.compute_dtype)
        bias = self.input_bias()
        found = [self._cast(self.kernel), weights["kernel"], zero if bias is None else bias, weights.get("bias", zero)]
        kernel, recurrent_kernel, *biases = [reordered(w, self.gates, order) for w in found]
        return [ops.transpose(kernel), ops.transpose(recurrent_kernel), *biases]

    def gates_of_products(self):
        """The names of the gates of each recurrent product, by its name; () where it is one array."""
        return self._product_gates

    def recurrent_bias(self):
        """The bias (G*H,) that is added to the recurrent product itself, or None."""
        return None

    def fused(self):
        """The `Equations` that a kernel for whole sequences may compute, or None where none can."""
        return None

    def whole_sequence(self):
        """What `fused` says, unless a subclass of the class that says it has other equations: then none."""
        classes = type(self).__mro__
        owner = next(i for i, cls in enumerate(classes) if "fused" in vars(cls))
        other = any(name in vars(cls) for cls in classes[:owner] for name in EQUATIONS)
        return None if other else self.fused()

    @property
    def program(self):
        """The step as a `native.program.Program`, or a string: what it does that makes it none."""
        if not self.built:  # the step is the same for any number of features
            twin = type(self).from_config(self.get_config())
            twin.build((None, self.units))
            return twin.program
        if self._program is None:
            try:
                self._program = traced(self)
            except Untraceable as reason:
                self._program = str(reason)
        return self._program

    def equations(self):
        """The `Equations` that the kernels at hand may compute, or None; and why the step is no program, or None."""
        usual = self.whole_sequence()
        if paths.kernels() is not native or (usual is not None and not usual.beyond(native.KERNELS)):
            return usual, None
        if isinstance(self.program, str):
            return usual, self.program
        return paths.Equations(type(self).__name__, (), program=self.program), None

    def path(self, how, steps=None):
        """The `Path` that `read` takes for a `Reading`."""
        del steps
        equations, lack = self.equations()
        return paths.choose(equations, reading.obstacles(self, how, equations), how.unroll, lack)

    def read(self, x, state, how):
        """Reads a sequence x (T, B, D) from a list of states; returns a `Result`. See `Reading`."""
        return reading.read(self, x, state, how)

    def call(self, inputs, states, training=False, deltas=None):
        """Keras' cell protocol: one step of (B, D) inputs; returns the output and the list of new states.

        Args:
            inputs: (B, D).
            states: as `state_size` says.
            training: bool.
            deltas: (B,) or (B, 1), the time since the step before, for a cell that reads it. Default: 1.

        Raises:
            ValueError: in training with dropout, zoneout or batch statistics, which belong to a whole sequence.
        """
        states = self.states_of_step(states, training, deltas)
        return reading.single_step(self, inputs, states, deltas)
