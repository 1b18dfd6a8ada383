"""Random mistakes put into configurations, from `get_config` or out of archives, and how loading one may end."""

import copy
import json
import os
import pathlib
import warnings

import keras
from hypothesis import strategies as st

import keras_rnnx
from keras_rnnx import attention, losses, models, seq2seq, wirings

OURS = pathlib.Path(keras_rnnx.__file__).parent
THEIRS = pathlib.Path(keras.__file__).parent
with warnings.catch_warnings(action="ignore"):  # about what is done here on purpose
    CODE = keras.saving.serialize_keras_object(lambda x: __import__("os").environ.update(FUZZED="yes") or x)
LEGACY = ["time_major", "implementation", "batch_input_shape", "input_shape", "weights", "input_dim", "momentum"]
NAMES = ["tanh", "LSTM", "GRUCell", "keras_rnnx>LSTMCell", "zeros", "float32", "class_name", "config", *LEGACY]


def composed():
    """Objects made of others, and those that are no recurrent layers."""
    gru, lstm = keras_rnnx.GRUCell(3), keras_rnnx.LSTMCell(3)
    bahdanau = attention.BahdanauAttention(4)
    return {
        "rnn": keras_rnnx.RNN([keras_rnnx.GRUCell(3), keras.layers.LSTMCell(2)]),
        "bidirectional": keras_rnnx.Bidirectional(keras_rnnx.LSTM(3, return_sequences=True)),
        "deep": keras_rnnx.DeepRNN(gru, 2, residual="highway", dropout=0.1),
        "zoneout": keras_rnnx.ZoneoutCell(lstm, 0.2),
        "residual": keras_rnnx.ResidualCell(gru),
        "fast-slow": keras_rnnx.FastSlowCell([keras_rnnx.LSTMCell(3), keras_rnnx.LSTMCell(3)], lstm),
        "chained": keras_rnnx.ChainedCell([gru, lstm]),
        "mixed": keras_rnnx.MixedMemoryCell(lstm),
        "integration": keras_rnnx.MultiplicativeIntegrationCell(lstm),
        "conv": keras_rnnx.ConvLSTM2D(2, 3, padding="same"),
        "conv-gru": keras_rnnx.ConvGRU1D(2, 3),
        "bahdanau": bahdanau,
        "luong": attention.LuongAttention(),
        "location": attention.LocationAttention(4),
        "monotonic": attention.MonotonicAttention(attention.LuongAttention()),
        "heads": attention.MultiHeadAttention(2, 3),
        "attending": attention.AttentionCell(gru, bahdanau),
        "pooling": attention.AttentionPooling(3),
        "random": wirings.Random(5, output_units=2, sparsity_level=0.5),
        "ncp": wirings.NCP(3, 2, 1, 2, 1, 2, 2),
        "auto-ncp": wirings.AutoNCP(8, 2),
        "sequence-loss": losses.SequenceLoss("sparse_categorical_crossentropy"),
        "quantile-loss": losses.QuantileLoss([0.1, 0.5]),
        "crf": models.CRF(),
        "text": models.Text(vocabulary=["a", "b"]),
        "classifier": models.SequenceClassifier(["p", "q"], gru, vocabulary=5),
        "forecaster": models.Forecaster(2, gru),
        "encoder": seq2seq.Encoder(gru, vocabulary=5),
        "decoder": seq2seq.Decoder(5, gru),
    }


JUNK = st.recursive(
    st.one_of(
        st.sampled_from([None, True, False, "", "x", [], {}]),
        st.integers(-3, 9),
        st.sampled_from([2**31, 10**30, -(10**30), 10**400]),
        st.floats(),
        st.text(max_size=4),
        st.sampled_from(NAMES),
        st.just(CODE),
    ),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inside, max_size=3)
    ),
    max_leaves=4,
)


def places(part):
    """Each place in nested lists and dictionaries: (what holds it, its key)."""
    keys = list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
    found = [(part, key) for key in keys]
    return found + [place for key in keys for place in places(part[key])]


KEYS = st.sampled_from(NAMES) | st.text(max_size=4)
PLACE = st.integers(0, 499)
MISTAKES = st.lists(
    st.one_of(
        st.tuples(st.just("replace"), PLACE, JUNK),
        st.tuples(st.just("drop"), PLACE),
        st.tuples(st.just("add"), PLACE, KEYS, JUNK),
        st.tuples(st.just("exchange"), PLACE, PLACE),
    ),
    min_size=1,
    max_size=3,
)


def mistaken(config, mistakes):
    """A copy of a configuration with some of `MISTAKES`."""
    config = copy.deepcopy(config)
    for kind, place, *more in mistakes:
        found = places(config)
        if not found:
            continue
        holds, key = found[place % len(found)]
        if kind == "replace":
            holds[key] = copy.deepcopy(more[0])
        elif kind == "drop":
            del holds[key]
        elif kind == "add" and isinstance(holds, dict):
            holds[more[0]] = copy.deepcopy(more[1])
        elif kind == "exchange":
            other, there = found[more[0] % len(found)]
            holds[key], other[there] = copy.deepcopy((other[there], holds[key]))
    return config


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def raised_by_us(error):
    """Whether of this package and Keras this one is the last on the way to an error."""
    found, frame = None, error.__traceback__
    while frame is not None:
        file = pathlib.Path(frame.tb_frame.f_code.co_filename)
        found = next((folder for folder in (OURS, THEIRS) if folder in file.parents), found)
        frame = frame.tb_next
    return found == OURS


def check_nothing_ran():
    """Code out of a configuration was not executed."""
    assert "FUZZED" not in os.environ


def check_clear(error):
    """What this package raises is a ValueError or TypeError that names something; Keras answers for its own."""
    check_nothing_ran()
    for each in chain(error):
        assert isinstance(each, Exception) and not isinstance(each, (RecursionError, MemoryError)), repr(each)
        if raised_by_us(each):
            told = isinstance(each, ValueError) and "Expected" in str(each) and "eceived" in str(each)
            assert told or (isinstance(each, TypeError) and "argument" in str(each)), repr(each)


def text_of(config):
    return json.dumps(config, sort_keys=True)
