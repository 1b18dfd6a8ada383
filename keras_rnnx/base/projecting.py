"""The base of cells that project their inputs at once: the weights of the inputs, their options, initial states."""

import contextvars

import keras
from keras import ops

from keras_rnnx.arguments import checked_initializer, checked_seed, positive, rate
from keras_rnnx.base.interface import AbstractCell, as_shape
from keras_rnnx.base.quantization import Quantizable
from keras_rnnx.engine import products
from keras_rnnx.engine.gates import split

# What makes the products of the inputs of cells that are fed by another one, by the id of the cell: see `CellPart`.
FED = contextvars.ContextVar("FED", default={})  # noqa: B039, never changed in place


def known_features(input_shape):
    """The size of the last axis, or a ValueError where it is unknown."""
    if input_shape[-1] is None:
        raise ValueError(f"Expected the last axis of the inputs to be known. Received: shape {input_shape}")
    return input_shape[-1]


class ProjectingCell(Quantizable, AbstractCell):
    r"""A cell whose inputs enter as one product, x W + b, for all steps at once.

    Class attributes:
        GATES: names of the gates, in the storage order of the columns of `kernel` (D, G*H) and `bias` (G*H,).
        STATES: names of the states.
        TIMED: whether the cell reads the time between steps, `deltas`.
        LANES: whether two such cells can walk in one loop.
        BARE: whether the inputs are also added as they are: `bare(x)`, x itself where D is H, else x W_in with the
            weight `input_kernel` (D, H).

    Args:
        units: int > 0, H, the size of every state.
        use_bias: bool, whether there is a bias.
        kernel_initializer, bias_initializer: initializers.
        kernel_regularizer, bias_regularizer: regularizers.
        kernel_constraint, bias_constraint: constraints.
        dropout: rate in [0, 1) of a mask (B, D) on the inputs, one for a whole sequence.
        learn_initial_state: bool, whether the initial state is a weight, started at zero.
        seed: int or None, for what the cell draws.

    Raises:
        ValueError: if an argument is out of range.
    """

    GATES = ""
    STATES = "h"
    TIMED = False
    LANES = False
    BARE = False

    def __init__(
        self,
        units,
        *,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        learn_initial_state=False,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = positive("units", units)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = checked_initializer(kernel_initializer)
        self.bias_initializer = checked_initializer(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.dropout = rate("dropout", dropout)
        self.learn_initial_state = bool(learn_initial_state)
        self.seed = checked_seed(seed)
        self.gates = tuple(self.GATES.split())
        self.states = tuple(self.STATES.split())
        self._initial = []
        self._kernels = []  # the names of the matrices, see `Quantizable`
        self.features = None
        self.input_kernel = None

    @property
    def multiply(self):
        """What makes the products of the inputs where another cell feeds this one, in this thread; or None."""
        return FED.get().get(id(self))

    @property
    def draws(self):
        """Whether anything is drawn in training."""
        return bool(self.dropout)

    @property
    def timed(self):
        """See `TIMED`."""
        return self.TIMED

    @property
    def gate_units(self):
        """The size of a gate. Default: `units`."""
        return self.units

    @property
    def step_shape(self):
        """The shape of one step's inputs as `project` reads them, without the batch."""
        return (self.features,)

    def state_sizes(self):
        """The size of each state, a number or a shape, in the order of `STATES`. Default: `units` for each."""
        return [self.units] * len(self.states)

    @property
    def state_size(self):
        """Keras' cell protocol: an int for one state, else a list."""
        sizes = self.state_sizes()
        return sizes[0] if len(sizes) == 1 else sizes

    @property
    def output_size(self):
        """Keras' cell protocol: the size of the output, that of the first state."""
        return self.state_sizes()[0]

    def build(self, input_shape):
        """Makes `kernel`, `bias`, and the initial states that are learned."""
        self.features = known_features(input_shape)
        if self.draws:
            self.seed_generator = keras.random.SeedGenerator(self.seed)
        width = len(self.gates) * self.gate_units
        if width:
            self.build_kernel(width)
        self.build_own(width)
        if self.BARE and self.features != self.units:
            self.input_kernel = self.new_weight("input_kernel", (self.features, self.units), role="kernel")
        if self.learn_initial_state:
            self._initial = [
                self.add_weight(name=f"initial_{name}", shape=as_shape(size), initializer="zeros") if learned else None
                for name, size, learned in zip(self.states, self.state_sizes(), self.learned_states(), strict=True)
            ]
        self.built = True

    def learned_states(self):
        """Which of the states `learn_initial_state` learns; the others start at zero. Default: all."""
        return [True] * len(self.states)

    def build_kernel(self, width):
        """Makes `kernel` (D, width). A cell whose kernel reads something else than the inputs overrides this."""
        self.kernel = self.new_weight("kernel", (self.features, width))

    def build_own(self, width):
        """Makes the weights after the kernel (D, width). Default: the bias."""
        self.build_bias(width)

    def build_bias(self, width):
        """Makes `bias` (G*H,), which `project` adds. A cell with another bias overrides this."""
        self.bias = self.new_weight("bias", (width,)) if self.use_bias and width else None

    def new_weight(self, name, shape, initializer=None, role=None):
        """A weight with the initializer, regularizer and constraint of its role: kernel, bias or recurrent.

        The role is that of its name unless given; recurrent where the name is none.
        """
        role = role or (name if name in ("kernel", "bias") else "recurrent")
        add = self.add_weight if role == "bias" else self.add_kernel
        return add(
            name=name,
            shape=shape,
            initializer=initializer or getattr(self, f"{role}_initializer"),
            regularizer=getattr(self, f"{role}_regularizer"),
            constraint=getattr(self, f"{role}_constraint"),
        )

    def get_initial_state(self, batch_size=None):
        """The states before the first step, (B, H) each: zeros, or the learned ones."""
        shapes = [(batch_size, *as_shape(size)) for size in self.state_sizes()]
        learned = self._initial or [None] * len(shapes)
        return [
            ops.zeros(shape, self.state_dtype)
            if row is None
            else ops.broadcast_to(ops.cast(row, self.state_dtype)[None], shape)
            for row, shape in zip(learned, shapes, strict=True)
        ]

    def project(self, x):
        """x W + b for rows x (..., D), all steps at once: a list of an array (..., H) for each gate."""
        return self.with_bias(self.product(x))

    def product(self, x):
        """x W for rows x (..., D), gate by gate: joined and cut again they would be copied twice."""
        if self.multiply is not None:
            return self.multiply(x, self.kernel, len(self.gates))
        return [self.times(x, part) for part in split(self._cast(self.kernel), len(self.gates))]

    def times(self, x, kernel):
        """The product of rows x with a weight, in the compute dtype."""
        if self.multiply is not None:
            return self.multiply(x, kernel, 1)[0]
        return products.apply({"kernel": self._cast(kernel)}, x, x.dtype)

    def bare(self, x):
        """x itself, or x W_in where D is not H: see `BARE`."""
        return x if self.input_kernel is None else self.times(x, self.input_kernel)

    def with_bias(self, gates):
        """A list of projected gates with their biases, where there are some."""
        bias = self.input_bias()
        return gates if bias is None else [g + b for g, b in zip(gates, split(bias, len(gates)), strict=True)]

    def input_bias(self):
        """The bias that `project` adds, in the compute dtype, or None."""
        return None if self.bias is None else self._cast(self.bias)

    def dropped(self, x, how):
        """The inputs of a sequence with dropout, (B, D) for all steps, where the `Reading` is one of training."""
        if how.training and self.dropout:
            batch = ops.shape(x)[0 if how.batch_first else 1]
            ones = ops.ones((1, batch, *ops.shape(x)[2:]), x.dtype)
            mask = keras.random.dropout(ones, self.dropout, seed=self.seed_generator)
            x = x * (ops.swapaxes(mask, 0, 1) if how.batch_first else mask)
        return x

    def check_inputs(self, shapes):
        """The number of features must be that of the kernel."""
        if self.built and shapes[0][-1] != self.features:
            raise ValueError(f"Expected {self.features} input features. Received: shape {shapes[0]}")
