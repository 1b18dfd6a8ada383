"""The echo state network (Jaeger, 2001)."""

import random

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import checked_seed, choice, number
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class EchoState(keras.initializers.Initializer):
    """A sparse recurrent matrix of a given spectral radius: (H, H), blocks (N, S, S), or a diagonal (H,).

    Args:
        initializer: of the entries that are not zero.
        connectivity: float in (0, 1], the share of sources that each unit reads, at least one; not for a diagonal.
        spectral_radius: float > 0, the largest absolute eigenvalue.
        seed: int or None, for the choice of the sources.
    """

    def __init__(self, initializer, connectivity=0.1, spectral_radius=0.9, seed=None):
        self.initializer = keras.initializers.get(initializer)
        self.connectivity = number("connectivity", connectivity, "(0, 1]")
        self.spectral_radius = number("spectral_radius", spectral_radius, "(0, inf)")
        self.seed = random.randint(1, int(1e9)) if seed is None else checked_seed(seed)

    def __call__(self, shape, dtype=None):
        values = ops.convert_to_numpy(self.initializer(shape, dtype="float32")).astype("float64")
        if len(shape) > 1:
            ranks = np.random.default_rng(self.seed % 2**64).random(shape).argsort(axis=-2).argsort(axis=-2)
            values = np.where(ranks < max(1, round(self.connectivity * shape[-2])), values, 0.0)
        radius = np.abs(np.linalg.eigvals(values) if len(shape) > 1 else values).max()
        if radius == 0:
            raise ValueError(
                "Expected a recurrent matrix with an eigenvalue that is not zero. "
                f"Received: {self.initializer!r} for shape {tuple(shape)}"
            )
        scaled = values * (self.spectral_radius / radius)
        return ops.cast(ops.convert_to_tensor(scaled), dtype or keras.config.floatx())

    def get_config(self):
        """The arguments."""
        return {
            "initializer": keras.initializers.serialize(self.initializer),
            "connectivity": self.connectivity,
            "spectral_radius": self.spectral_radius,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ESNCell(Cell):
    r"""One step of the echo state network: a random reservoir whose weights are never trained.

    $$ h_t = (1 - \alpha) h_{t-1} + \alpha \tanh(x_t W + h_{t-1} U + b) \tag{1} $$

    A state is an echo of the inputs where the start is forgotten, for which a spectral radius of U below 1 is the usual
    rule. Only a linear read-out is trained: by a layer on top, or at once by `fit_readout`.

    Differs from the paper: no feedback from the outputs. The leak \(\alpha\) is the paper's \(\delta C\) with a = 1;
    with \(\alpha = 1\) the units are the paper's plain ones.

    Args:
        units: int > 0, H.
        activation: of the reservoir. Default tanh.
        use_bias: bool, whether there is b, a random constant. Default False.
        connectivity: float in (0, 1], the share of the units that each unit reads, at least one. Default 0.1.
        spectral_radius: float > 0, the largest absolute eigenvalue of U. Default 0.9.
        leak: float in (0, 1], alpha. Default 1.
        kernel_initializer: of W. None for uniform values in [-1, 1].
        recurrent_initializer: of U before sparsity and scaling. None for uniform values in [-1, 1].
        bias_initializer: of b. None for uniform values in [-1, 1].
        recurrent_structure: `"dense"`, `"diagonal"` or `"block"`; `connectivity` is not for a diagonal.
        **kwargs: see `Cell`; no regularizers, constraints or `normalization`. `seed` chooses the connections
            too. With `learn_initial_state` the initial state is trained, and nothing else.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, H), recurrent_kernel (H, H), bias (H,), all non-trainable.
    Raises:
        ValueError: if an argument is out of range or does not apply to fixed weights, or if the recurrent matrix has
            no eigenvalue to scale.
    Cost per step: 2 B H (D + H) flops, one recurrent product; the zeros of U are multiplied too.
    Reference: H. Jaeger, The echo state approach to analysing and training recurrent neural networks, GMD report 148,
        2001.
    """

    GATES, STATES, CANDIDATES = "h", "h", "h"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=False,
        *,
        connectivity=0.1,
        spectral_radius=0.9,
        leak=1.0,
        kernel_initializer=None,
        recurrent_initializer=None,
        bias_initializer=None,
        recurrent_structure="dense",
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer or keras.initializers.RandomUniform(-1.0, 1.0),
            recurrent_initializer=recurrent_initializer or keras.initializers.RandomUniform(-1.0, 1.0),
            bias_initializer=bias_initializer or keras.initializers.RandomUniform(-1.0, 1.0),
            recurrent_structure=choice("recurrent_structure", recurrent_structure, ("dense", "diagonal", "block")),
            **kwargs,
        )
        self.connectivity = number("connectivity", connectivity, "(0, 1]")
        self.spectral_radius = number("spectral_radius", spectral_radius, "(0, inf)")
        self.leak = number("leak", leak, "(0, 1]")
        trained = [f"{r}_{k}" for r in ("kernel", "recurrent", "bias") for k in ("regularizer", "constraint")]
        for name in [*trained, "normalization"]:
            if getattr(self, name) is not None:
                raise ValueError(
                    f"Expected no `{name}`, since the weights of an echo state network are not trained. "
                    f"Received: {name}={getattr(self, name)!r}"
                )

    def new_weight(self, name, shape, initializer=None):
        """A weight that is not trained."""
        if name in ("kernel", "bias"):
            start = initializer or getattr(self, f"{name}_initializer")
        else:
            start = EchoState(initializer, self.connectivity, self.spectral_radius, self.seed)
        add = self.add_weight if name == "bias" else self.add_kernel
        return add(name=name, shape=shape, initializer=start, trainable=False)

    def step(self, x, u, h):
        """Equation (1)."""
        return (1 - self.leak) * h + self.leak * self.activation(x.h + u.h(h))


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ESN(CellLayer):
    """The echo state layer.

    Equations and cell arguments: `ESNCell`. Layer arguments and call: `RNN`.
    """

    CELL = ESNCell
