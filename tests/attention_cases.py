"""Attention mechanisms and cells, each beside its NumPy twin."""

import dataclasses
from functools import partial

import keras
import numpy as np
from cases import FLOAT, array, randomized, tensor, tensors
from reference import attention as twin
from reference import gru, lstm

import keras_rnnx
from keras_rnnx import attention

B, T, D, H, S, M, A = 3, 5, 2, 4, 6, 3, 5


@dataclasses.dataclass(frozen=True)
class Kind:
    """A mechanism.

    Attributes:
        make: function of options that gives the layer.
        attend: the twin, (w, query, memory, mask, previous) -> context, alignments, energies.
        carries: see `reference.attention.Mechanism`, as the next one.
        start: alpha_0.
        smooth: whether it has a gradient everywhere.
    """

    make: object
    attend: object
    carries: str = "nothing"
    start: str = "zeros"
    smooth: bool = True


def monotonic(inside, hard, **more):
    def make(**options):
        return attention.MonotonicAttention(inside(**options), noise=0, hard=hard, score_bias=0, **options)

    return Kind(make, partial(twin.monotonic, hard=hard, **more), "alignments", "first", smooth=not hard)


def location(attend=twin.location, **more):
    def make(kernel_size=3, **options):
        return attention.LocationAttention(4, filters=2, kernel_size=kernel_size, **more, **options)

    return Kind(make, attend, "sum" if more.get("cumulative") else "alignments")


KINDS = {
    "additive": Kind(lambda **o: attention.BahdanauAttention(5, **o), twin.additive),
    "normalized": Kind(lambda **o: attention.BahdanauAttention(5, normalized=True, **o), twin.additive),
    "biased": Kind(
        lambda **o: attention.BahdanauAttention(5, use_bias=True, normalizer="sigmoid", **o),
        partial(twin.additive, kind="sigmoid"),
    ),
    "general": Kind(lambda **o: attention.LuongAttention(**o), twin.dot),
    "learned": Kind(lambda **o: attention.LuongAttention(scale="learned", **o), twin.dot),
    "scaled": Kind(lambda **o: attention.LuongAttention(scale="fixed", **o), partial(twin.dot, scaled=True)),
    "heads": Kind(lambda **o: attention.MultiHeadAttention(2, 3, value_dim=4, **o), partial(twin.multi_head, heads=2)),
    "location": location(),
    "smoothed": location(partial(twin.location, kind="sigmoid"), normalizer="sigmoid", use_bias=False),
    "cumulative": location(cumulative=True, normalized=True),
    "soft": monotonic(lambda **o: attention.BahdanauAttention(4, normalized=True, **o), hard=False),
    "hard": monotonic(lambda **o: attention.LuongAttention(**o), hard=True, energy=twin.dot_energies),
}


@dataclasses.dataclass(frozen=True)
class Inner:
    """A cell inside: how it is made, its twin as a function of {weights by cell}, and the sizes of its states."""

    make: object
    steps: tuple
    sizes: tuple = (H,)

    def twin(self, weights):
        if len(self.steps) == 1:
            return partial(self.steps[0], weights[0])

        def chained(z, h_top, c_top, h):
            (h_new,) = self.steps[0](weights[0], z, h)
            return (*self.steps[1](weights[1], h_new, h_top, c_top), h_new)

        return chained


def gru_step(w, x, h, **options):
    made = gru.step(w, x, h, **options)
    return made if isinstance(made, tuple) else (made,)


INNER = {
    "gru": Inner(lambda **o: keras_rnnx.GRUCell(H, **o), (gru_step,)),
    "lstm": Inner(lambda **o: keras_rnnx.LSTMCell(H, **o), (lstm.step,), (H, H)),
    "keras": Inner(lambda **o: keras.layers.LSTMCell(H, **o), (lstm.step,), (H, H)),
    "chain": Inner(
        lambda **o: [keras_rnnx.GRUCell(3, **o), keras_rnnx.LSTMCell(H, **o)], (gru_step, lstm.step), (H, H, 3)
    ),
}


class Pair:
    """A layer whose cell attends, with random weights, and its twin.

    Args:
        rng: NumPy generator.
        kinds: names of mechanisms.
        inner: name of the cell inside.
        order: `"luong"`, `"bahdanau"`, or `"unfed"` for Luong's order without input feeding.
        units, use_bias: of what is made of context and output.
        **options: of the layer.
    """

    def __init__(self, rng, *kinds, inner="gru", order="luong", units=A, use_bias=False, dtype=FLOAT, **options):
        self.kinds, self.inner, self.order = [KINDS[name] for name in kinds], INNER[inner], order
        self.mechanisms = [kind.make(dtype=dtype) for kind in self.kinds]
        self.cell = attention.AttentionCell(
            self.inner.make(dtype=dtype),
            self.mechanisms if len(kinds) > 1 else self.mechanisms[0],
            units,
            order="bahdanau" if order == "bahdanau" else "luong",
            input_feeding=order != "unfed",
            use_bias=use_bias,
            return_alignments=True,
        )
        options = {"return_sequences": True, "return_all_states": True, "return_state": True, **options}
        self.layer = keras_rnnx.RNN(self.cell, dtype=dtype, **options)
        self.layer.build((None, None, D), (None, None, M))
        randomized(self.layer, rng)
        self.weights = self.layer.weights

    @property
    def values(self):
        """The weights in float64."""
        return [np.asarray(array(w), np.float64) for w in self.weights]

    def state(self, rng, batch, mask):
        """Random states of the twin: a, those of the cell, what is carried; hard attention begins at its beginning."""
        sizes = [self.cell.output_size, *self.inner.sizes]
        made = [rng.normal(size=(batch, n)) * 0.5 for n in sizes]
        for kind in self.kinds:
            if kind.carries == "nothing":
                continue
            weights = rng.random(size=mask.shape) * mask
            if not kind.smooth:
                weights = twin.first_position(mask[..., None])
            made.append(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9))
        return made

    def told(self, states, alignments):
        """The states of the twin in the order of the layer's."""
        count = 1 + len(self.inner.sizes)
        made, carried = list(states[:count]), iter(states[count:])
        for kind, alpha in zip(self.kinds, alignments, strict=True):
            made += [next(carried)] if kind.carries == "alignments" else [alpha]
            made += [next(carried)] if kind.carries == "sum" else []
        return made

    def start(self, state, mask):
        """A state of the twin as `initial_state` of the layer."""
        none = [np.zeros(mask.shape)] * len(self.kinds)
        return tensors(self.told(state, none))

    def walk(self, x, memory, state, memory_mask=None, values=None, **options):
        """The twin: (outputs, all states, final states), in the order of the layer."""
        values = dict(zip([id(w) for w in self.weights], self.values if values is None else values, strict=True))

        def named(layer):
            return {w.name: values[id(w)] for w in layer.weights}

        cells = getattr(self.cell.cell, "cells", [self.cell.cell])
        combine = {f"attention_{name}": a for name, a in named(self.cell.combine).items()}
        mechanisms = [
            twin.Mechanism(partial(kind.attend, named(layer)), kind.carries, kind.start)
            for kind, layer in zip(self.kinds, self.mechanisms, strict=True)
        ]
        step = twin.bahdanau_step if self.order == "bahdanau" else twin.luong_step
        step = partial(step, input_feeding=False) if self.order == "unfed" else step
        count = len(mechanisms)
        history, final, alignments, last = twin.walk(
            step,
            combine,
            self.inner.twin([named(cell) for cell in cells]),
            mechanisms,
            x,
            [memory] * count,
            state,
            memory_masks=[memory_mask] * count,
            **options,
        )
        return history[0], self.told(history, alignments), self.told(final, last)

    def __call__(self, x, memory, state=None, memory_mask=None, **options):
        """The layer: (outputs, all states, final states) as NumPy arrays."""
        start = None if state is None else self.start(state, np.ones(memory.shape[:2]))
        made = self.layer(tensor(x), initial_state=start, memory=tensor(memory), memory_mask=memory_mask, **options)
        outputs, *states = [array(a) for a in made]
        return outputs, states[: len(states) // 2], states[len(states) // 2 :]


def numbers(rng, batch=B, steps=T, length=S):
    """Inputs, memory, and masks with holes; the last row of the memory is masked throughout."""
    x, memory = rng.normal(size=(batch, steps, D)), rng.normal(size=(batch, length, M))
    mask, memory_mask = rng.random((batch, steps)) > 0.3, rng.random((batch, length)) > 0.4
    mask[0, 0], memory_mask[0, :2], memory_mask[-1] = False, (False, True), False
    return x, memory, mask, memory_mask


def the_same(found, wanted, **tolerance):
    """Asserts that the results of layer and twin agree."""
    for one, want in zip(keras.tree.flatten(found), keras.tree.flatten(wanted), strict=True):
        np.testing.assert_allclose(one, want, **tolerance)
