"""The Legendre memory unit whose memory sees the inputs alone (Chilkuri and Eliasmith, 2021)."""

import functools

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import choice, number, positive
from keras_rnnx.base.linear import LinearCell
from keras_rnnx.cells.lmu import discretized, legendre_system
from keras_rnnx.engine import masks, paths, products
from keras_rnnx.engine.memory import in_chunks, in_time, product
from keras_rnnx.engine.pieces import merged, padded
from keras_rnnx.engine.sequential import Engine
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ParallelLMUCell(LinearCell):
    r"""One step of the parallel Legendre memory unit: linear memories of the last theta steps, and a nonlinear output.

    $$ u_t = f_1(x_t U_x + b_u) \tag{1} $$
    $$ m_t = m_{t-1} \bar A^\top + u_t \bar B^\top \tag{2} $$
    $$ h_t = f_2(m_t W_m + x_t W_x + b_o) \tag{3} $$

    m holds the coefficients of the last theta values of u in the first d Legendre polynomials, and \(\bar A\) and
    \(\bar B\) are fixed: the system is that of `LMUCell`. Where u has n entries, each has a memory of its own, and m is
    all of them one after the other. Unlike in `LMUCell`, no state enters u or h, so that the memories of all steps are
    computed at once. In a chunk of L steps that starts from m,
    $$ m_t = m (\bar A^t)^\top + \sum_{s \le t} u_s (\bar A^{t - s} \bar B)^\top, \qquad t = 1, \dots, L \tag{4} $$
    is one product with the fixed powers of \(\bar A\) and one with the impulse response, for all chunks side by side;
    only the memories at the heads of the chunks wait for each other.

    Differs from the paper: in nothing, but (4) stands for its Fourier transform, which needs the whole sequence. The
    paper leaves \(f_1\) and \(f_2\) open; the defaults, and how the weights start, are those of `LMUCell`.

    Args:
        units: int > 0, H.
        activation: f_2. Default tanh.
        use_bias: bool, whether there are b_u and b_o.
        order: int > 0, d.
        theta: float > 0, the length of the window in steps.
        memories: int > 0, n, the number of entries of u. Default 1.
        encoder_activation: f_1. Default: none.
        discretization: `"zoh"`, as in the paper, or `"euler"`, which is stable only where theta is large against the
            square of `order`.
        kernel_initializer: of W_x and W_m. Default: normal of Glorot.
        **kwargs: see `ProjectingCell`.

    Inputs and outputs: inputs (B, D), state [m (B, n d)], memory by memory -> output h (B, H), new state. At a masked
        step m stays, and x in (3) is that of the last step read in the document, zero before any.
    Weights: kernel (D, H): W_x; bias (H,): b_o; input_encoder (D, n): U_x, which starts uniform after LeCun;
        encoder_bias (n,): b_u; memory_kernel (n d, H): W_m.
    Cost per step: 2 B (H (D + n d) + D n + n d (d + L)) flops in products, chunks of L steps.
    Raises:
        ValueError: if `order` or `memories` is no integer > 0, `theta` is not > 0, or `discretization` is unknown.
    Reference: N. R. Chilkuri and C. Eliasmith, Parallelizing Legendre memory unit training, ICML 2021,
        arXiv:2102.11417.
    """

    GATES, STATES = "h", "m"

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        *,
        order,
        theta,
        memories=1,
        encoder_activation=None,
        discretization="zoh",
        kernel_initializer="glorot_normal",
        **kwargs,
    ):
        super().__init__(units, use_bias=use_bias, kernel_initializer=kernel_initializer, **kwargs)
        self.activation = keras.activations.get(activation)
        self.order = positive("order", order)
        self.theta = number("theta", theta, "(0, inf)")
        self.memories = positive("memories", memories)
        self.encoder_activation = keras.activations.get(encoder_activation)
        self.discretization = choice("discretization", discretization, ("zoh", "euler"))
        self.engine = Engine(_next_head)

    def state_sizes(self):
        """n d."""
        return [self.memories * self.order]

    @property
    def output_size(self):
        """H."""
        return self.units

    def build_own(self, width):
        """b_o, the encoder and W_m."""
        super().build_own(width)
        shape = (self.features, self.memories)
        self.input_encoder = self.new_weight("input_encoder", shape, "lecun_uniform", "kernel")
        self.encoder_bias = self.new_weight("encoder_bias", shape[1:], role="bias") if self.use_bias else None
        self.memory_kernel = self.new_weight("memory_kernel", (self.memories * self.order, width), role="kernel")

    # ---- equations ----

    def coefficients(self, x):
        """The number A of (2), which is the same at all steps; u of (1), for b; and the second term of (3)."""
        a, _ = _system(self.order, self.theta, self.discretization)
        u = self.times(x, self.input_encoder)
        u = u if self.encoder_bias is None else u + self._cast(self.encoder_bias)
        return [a], [self.encoder_activation(u)], self.times(x, self.kernel)

    def readout(self, h, beside):
        """Equation (3)."""
        bias, weights = self.input_bias(), {"kernel": self._cast(self.memory_kernel)}
        weights = weights if bias is None else {**weights, "bias": bias}
        return self.activation(products.apply(weights, h[0], h[0].dtype) + ops.cast(beside, h[0].dtype))

    # ---- all steps at once ----

    def path(self, how, steps=None):
        """The `Path` that `read` takes for a `Reading` of so many steps (None: unknown)."""
        each = ["recurrent_clip"] if how.clip is not None else []
        each += ["a gradient in the states"] if how.probe else []
        return paths.choose_chunks(steps, how.unroll, each, how.memory[1] if how.memory[0] == "tbptt" else None)

    def solved(self, a, b, start, flags, how, path):
        """Equation (2) for all steps, by (4)."""
        del a
        size, steps, shape = path.form[1], ops.shape(b[0])[0], (self.memories, self.order)
        system = Powers(self, size)
        u = in_chunks(ops.cast(b[0], self.state_dtype), size)
        chunks = FlaggedChunks(system, u, flags) if {"mask", "reset"} & set(flags) else WholeChunks(system, u)
        if "reset" in flags and self.learn_initial_state:
            chunks.restart_from(ops.reshape(self.get_initial_state(1)[0], shape))
        start = ops.reshape(start[0], (ops.shape(start[0])[0], *shape))
        slots = {"cut": padded(flags["cut"], size)[::size]} if "cut" in flags else {}
        flow = {"x": {"end": chunks.response[..., -1, :]}, "state": [start]}
        flow |= {"weights": {}, "vectors": {}, "reset_state": []}
        flow["probe"] = [ops.reshape(p, (steps, ops.shape(p)[1], *shape)) for p in how.probe]
        walk = how.walk_over_chunks(emit=(0,), compiled=path.compiled)
        data = {"slots": {**slots, **chunks.slots}, "fixed": {"held": {"powers": chunks.powers}}}
        ends = self.engine.run(flow, data, walk)["emit"][0]
        if size > 1:
            heads = ops.concatenate([start[None], ends[:-1]])
            if "cut" in slots:
                heads = ops.where(masks.rows(slots["cut"], heads), ops.stop_gradient(heads), heads)
            m = in_time(chunks.memories(heads), steps)
        else:
            m = ends  # the gradient passes through every step of the loop, which may clip it
        return [ops.reshape(m, (*ops.shape(b[0])[:2], *self.state_sizes()))]


@functools.cache
def _system(order, theta, discretization):
    """The matrices A (d, d) and B (d,) of (2), as NumPy arrays."""
    return discretized(*legendre_system(order), theta, discretization)


@functools.lru_cache(maxsize=16)
def _powers(order, theta, discretization, count):
    """A^k (count + 1, d, d), and A^k B (count, d), for k from 0."""
    a, b = _system(order, theta, discretization)
    powers = [np.eye(order)]
    for _ in range(count):
        powers.append(a @ powers[-1])
    powers = np.stack(powers)
    return powers, powers[:-1] @ b


class Powers:
    """The fixed matrices of chunks of L steps, as they multiply rows from the right."""

    def __init__(self, cell, size):
        self.size, self.order, self.dtype = size, cell.order, cell.state_dtype
        self._powers, self._impulse = _powers(cell.order, cell.theta, cell.discretization, size)

    def power(self, k):
        """The transpose of A^k."""
        return ops.convert_to_tensor(self._powers[k].T, self.dtype)

    @property
    def impulse(self):
        """A^k B for k = 0..L-1, (L, d)."""
        return ops.convert_to_tensor(self._impulse, self.dtype)

    @property
    def responses(self):
        """A^(t - s) B of each step t to an input at step s, (L, L d); zero where s is later."""
        lag = np.arange(self.size)[None, :] - np.arange(self.size)[:, None]
        made = np.where(lag[..., None] >= 0, self._impulse[lag], 0.0)
        return ops.convert_to_tensor(made.reshape(self.size, -1), self.dtype)

    def moved(self, m, first):
        """m (A^k)^T for rows m (..., d) and k = first..L: (..., L + 1 - first, d)."""
        table = np.concatenate([power.T for power in self._powers[first:]], axis=1)
        made = product(m, ops.convert_to_tensor(table, self.dtype))
        return ops.reshape(made, (*ops.shape(m)[:-1], self.size + 1 - first, self.order))


class WholeChunks:
    """Chunks of which every step is read, in one document.

    Attributes:
        response: (C, B, n, L, d), the memories of all steps where each chunk starts from zero.
        powers: the matrices by which the memory at the head of a chunk moves to its end.
        slots: what the loop over the chunks reads besides.

    Args:
        system: `Powers`.
        u: (C, B, n, L).
    """

    def __init__(self, system, u):
        self.system, self.slots = system, {}
        self.response = ops.reshape(product(u, system.responses), (*ops.shape(u), system.order))
        self.powers = [system.power(system.size)]

    def memories(self, heads):
        """The memories of all steps (C, B, n, L, d) from those before each chunk, (C, B, n, d)."""
        return self.response + self.system.moved(heads, 1)


class FlaggedChunks:
    """Chunks with masked steps and with documents that begin within them: see `WholeChunks`.

    Each step sees a number of inputs, itself and valid ones before it in its document and chunk, and either a document
    begins at or before it in the chunk, or it sees the memory before the chunk, moved by that number of steps.

    Args:
        system: `Powers`.
        u: (C, B, n, L).
        flags: dict of `mask` (T, B), `reset` (T, B) or both.
    """

    def __init__(self, system, u, flags):
        self.system, size = system, system.size
        some = next(flags[name] for name in ("mask", "reset") if name in flags)
        valid, reset = (
            in_chunks(ops.cast(flags.get(name, other(some, dtype="bool")), "int32")[:, :, None], size)[:, :, 0]
            for name, other in (("mask", ops.ones_like), ("reset", ops.zeros_like))
        )
        step, document = ops.arange(size), ops.cumsum(reset, axis=-1)
        sees = ops.logical_and(document[..., :, None] == document[..., None, :], step[:, None] >= step[None, :])
        sees = ops.logical_and(sees, valid[..., None, :] > 0)
        self.seen, self.begun = ops.sum(ops.cast(sees, "int32"), axis=-1), document > 0  # (C, B, L)
        self.response = product(self._windows(u, valid), system.impulse)
        self.powers = [system.power(2**i) for i in range(size.bit_length())]
        self.slots = {"ids": [ops.where(self.begun, -1, self.seen)[..., -1]]}

    def _windows(self, u, valid):
        """The inputs that each step sees, its own first, then zeros: (C, B, n, L, L)."""
        size = self.system.size
        order = ops.reshape(masks.places(merged(valid > 0)), ops.shape(valid))
        back = (ops.cumsum(valid, axis=-1) - 1)[..., None] - ops.arange(size)
        back = ops.reshape(ops.maximum(back, 0), (*ops.shape(valid)[:2], size * size))
        source = ops.take_along_axis(order, back, axis=-1)
        found = ops.take_along_axis(u, source[:, :, None], axis=-1)
        found = ops.reshape(found, (*ops.shape(u), size))
        return ops.where(ops.arange(size) < self.seen[:, :, None, :, None], found, ops.zeros_like(found))

    def _chosen(self, begun):
        """1 at the number of inputs that a step sees, where a document has begun, or has not: (C, B, 1, L, L + 1)."""
        number = ops.where(self.begun if begun else ops.logical_not(self.begun), self.seen, -1)
        return ops.cast(number[:, :, None, :, None] == ops.arange(self.system.size + 1), self.system.dtype)

    def restart_from(self, own):
        """Lets documents that begin start from memories (n, d) instead of zero."""
        self.response = self.response + product(self._chosen(True), self.system.moved(own, 0))

    def memories(self, heads):
        """See `WholeChunks`."""
        return self.response + product(self._chosen(False), self.system.moved(heads, 0))


def _next_head(x, multiply, vectors, m):
    """The memory after a chunk from that before it: the step of the engine.

    The number of steps that m moves is in x, -1 where it ends in the chunk; its binary digits choose the powers. Where
    every chunk moves it by all its steps, that is the only power.
    """
    del multiply
    x, number = (x["x"], x["ids"][0]) if "ids" in x else (x, None)
    for i, power in enumerate(vectors["powers"]):
        moved = product(m, power)
        m = moved if number is None else ops.where(masks.rows(number // 2**i % 2 == 1, m), moved, m)
    m = m if number is None else ops.where(masks.rows(number >= 0, m), m, ops.zeros_like(m))
    return [m + x["end"]]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ParallelLMU(CellLayer):
    """The parallel Legendre memory layer.

    Equations and cell arguments: `ParallelLMUCell`. Layer arguments and call: `RNN`.
    """

    CELL = ParallelLMUCell
