"""The base of cells whose states are maps: their products with the inputs and with the state are convolutions."""

import dataclasses

import keras
from keras import ops

from keras_rnnx.arguments import choice, positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.base.interface import Shape
from keras_rnnx.base.structures import Structured
from keras_rnnx.engine import products
from keras_rnnx.engine.gates import split

SPACE = ("rows", "columns", "depth")
FORMATS = ("channels_last", "channels_first")


class ConvCell(Cell):
    r"""A cell that reads maps: x W and h U of a cell on vectors become the convolutions x * W and h * U.

    The inputs of all steps are convolved at once, before the loop. The state keeps its size under h * U, which has
    stride 1 and zeros around the map. A subclass names gates and states and writes `step`, as for any `Cell`.

    Class attributes:
        AXES: 1, 2 or 3, the number of axes of space.

    Args:
        filters: int > 0, F, the number of channels of every state.
        kernel_size: int > 0, or one for each axis of space: the size of the window, in both convolutions.
        strides: int > 0, or one for each axis, of x * W.
        padding: `"valid"` or `"same"`, of x * W: only whole windows, or zeros around the map.
        data_format: `"channels_last"` or `"channels_first"`: where the channels stand in inputs, outputs and states.
            Default: `keras.config.image_data_format()`. The weights are the same in both.
        dilation_rate: int > 0, or one for each axis, of x * W; not together with strides.
        activation: activation of the candidate gates and of the output. Default tanh.
        recurrent_activation: activation of the other gates. Default sigmoid.
        use_bias: bool, whether there is a bias.
        **kwargs: see `Cell`. Masks of dropout and zoneout have the shape of a map: each entry is dropped by itself.

    Raises:
        ValueError: if an argument is out of range or one of `LACKS`; at build if the size of the maps is unknown or
            smaller than the window.
    """

    AXES = 2
    LANES = False
    LACKS = ("units", "normalization", "recurrent_structure", "recurrent_blocks", "recurrent_rank")

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        **kwargs,
    ):
        for name in set(kwargs) & set(self.LACKS):
            raise ValueError(f"Expected no `{name}`, which a convolution lacks. Received: {name}={kwargs[name]!r}")
        super().__init__(
            positive("filters", filters),
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.filters = filters
        self.kernel_size = self._of_axes("kernel_size", kernel_size)
        self.strides = self._of_axes("strides", strides)
        self.dilation_rate = self._of_axes("dilation_rate", dilation_rate)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "Expected `strides` of 1 or a `dilation_rate` of 1. "
                f"Received: strides={self.strides}, dilation_rate={self.dilation_rate}"
            )
        self.padding = choice("padding", padding.lower() if isinstance(padding, str) else padding, ("valid", "same"))
        self.data_format = choice("data_format", data_format or keras.config.image_data_format(), FORMATS)
        self.space = self.state_space = (None,) * self.AXES

    def _of_axes(self, name, value):
        """A number for each axis of space."""
        values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * self.AXES
        if len(values) != self.AXES:
            raise ValueError(f"Expected `{name}` to be one integer, or {self.AXES}. Received: {name}={value!r}")
        return tuple(positive(name, n) for n in values)

    # ---- sizes ----

    @property
    def step_axes(self):
        """See `AbstractCell`."""
        space = SPACE[: self.AXES]
        return (*space, "channels") if self.data_format == "channels_last" else ("channels", *space)

    @property
    def features_axis(self):
        """See `AbstractCell`."""
        return -1 if self.data_format == "channels_last" else -self.AXES - 1

    @property
    def step_shape(self):
        """(space, C)."""
        return (*self.space, self.features)

    def state_sizes(self):
        """(space, F) for each state."""
        return [Shape((*self.state_space, self.filters))] * len(self.states)

    @property
    def state_size(self):
        """A list of shapes, in the data format."""
        return [Shape(self._shape_outside(size)) for size in self.state_sizes()]

    @property
    def output_size(self):
        """The shape of the first state, in the data format."""
        return self.state_size[0]

    # ---- the data format ----

    def _shape_outside(self, shape):
        """A shape (space, C) in the data format."""
        return tuple(shape) if self.features_axis == -1 else (shape[-1], *shape[:-1])

    def _inside(self, a):
        """An array in the data format as (..., space, C); None as it is."""
        return a if a is None or self.features_axis == -1 else ops.moveaxis(a, self.features_axis, -1)

    def _outside(self, a):
        """An array (..., space, C) in the data format; None as it is."""
        return a if a is None or self.features_axis == -1 else ops.moveaxis(a, -1, self.features_axis)

    def get_initial_state(self, batch_size=None):
        """The states before the first step, in the data format: zeros, or the learned ones."""
        return [self._outside(s) for s in super().get_initial_state(batch_size)]

    def initial_state(self, batch):
        """The states before the first step, (B, space, F)."""
        return [self._inside(s) for s in self.get_initial_state(batch)]

    def check_inputs(self, shapes):
        """The maps must be of the size for which the cell was built."""
        expected, received = self._shape_outside(self.step_shape), shapes[0][2:]
        if self.built and any(n not in (None, size) for n, size in zip(received, expected, strict=True)):
            raise ValueError(f"Expected steps of shape {expected}. Received: sequences of shape {shapes[0]}")

    def read(self, x, state, how):
        """Reads a sequence (T, B, maps in the data format); see `Cell.read`."""
        how = dataclasses.replace(how, probe=[self._inside(p) for p in how.probe])
        result = super().read(self._inside(x), [self._inside(s) for s in state], how)
        return result.mapped(self._outside)

    def call(self, inputs, states, training=False, deltas=None):
        """One step of (B, map in the data format); see `Cell.call`."""
        states = states if isinstance(states, (list, tuple)) else [states]
        states = [self._inside(s) for s in states]
        output, new = super().call(self._inside(inputs), states, training, deltas)
        return self._outside(output), [self._outside(s) for s in new]

    # ---- weights and products ----

    def summed_axes(self, shape):
        """All but the output channels."""
        return tuple(range(len(shape) - 1))

    def build(self, input_shape):
        """Makes the weights, for maps of one size."""
        shape = tuple(input_shape[1:])
        if len(shape) != len(self.step_axes) or None in shape:
            raise ValueError(
                f"Expected one step of shape (batch, {', '.join(self.step_axes)}), all known but the batch. "
                f"Received: shape {tuple(input_shape)}"
            )
        *space, channels = shape if self.features_axis == -1 else (*shape[1:], shape[0])
        self.space = tuple(space)
        self.state_space = self._convolved(self.space)
        super().build((input_shape[0], *space, channels))

    def _convolved(self, space):
        """The size of x * W for maps of a size."""
        windows = [d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation_rate, strict=True)]
        if self.padding == "same":
            return tuple(-(-n // s) for n, s in zip(space, self.strides, strict=True))
        if any(n < w for n, w in zip(space, windows, strict=True)):
            raise ValueError(f"Expected maps as large as the window {tuple(windows)} at least. Received: {space}")
        return tuple((n - w) // s + 1 for n, w, s in zip(space, windows, self.strides, strict=True))

    def build_kernel(self, width):
        """Makes `kernel` (window, C, width)."""
        self.kernel = self.new_weight("kernel", (*self.kernel_size, self.features, width))

    def build_recurrent(self, width):
        """Makes `recurrent_kernel` (window, F, width)."""
        shape = (*self.kernel_size, self.filters, width)
        self.recurrent_kernel = self.new_weight("recurrent_kernel", shape, Structured(self.recurrent_initializer))
        self.add_product("recurrent", {"conv": self.recurrent_kernel}, self.recurrent_gates)

    def product(self, x):
        """x * W for maps (..., space, C), of all steps and gates at once: a list of (..., space, F) for each gate."""
        lead = ops.shape(x)[: -self.AXES - 1]
        maps, kernel = ops.reshape(x, (-1, *self.step_shape)), self._cast(self.kernel)
        made = products.convolve(maps, kernel, x.dtype, self.strides, self.padding, self.dilation_rate)
        return split(ops.reshape(made, (*lead, *self.state_space, made.shape[-1])), len(self.gates))

    @property
    def program(self):
        """A step on maps is none."""
        return "walks over maps"

    def fused(self):
        """Nothing has a kernel for a whole sequence of maps."""
        return None
