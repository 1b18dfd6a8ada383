"""Recurrent layers for Keras 3: every cell an ordinary Keras layer, on one fast engine."""

from keras_rnnx.base.cell import Cell as Cell
from keras_rnnx.cells.deep_transition import DeepTransitionRNN as DeepTransitionRNN
from keras_rnnx.cells.deep_transition import DeepTransitionRNNCell as DeepTransitionRNNCell
from keras_rnnx.cells.gru import GRU as GRU
from keras_rnnx.cells.gru import GRUCell as GRUCell
from keras_rnnx.cells.lstm import LSTM as LSTM
from keras_rnnx.cells.lstm import LSTMCell as LSTMCell
from keras_rnnx.cells.vanilla import VanillaRNN as VanillaRNN
from keras_rnnx.cells.vanilla import VanillaRNNCell as VanillaRNNCell
from keras_rnnx.engine.paths import plain_loops as plain_loops
from keras_rnnx.inspection import explain as explain
from keras_rnnx.inspection import reset_states as reset_states
from keras_rnnx.layers.bidirectional import Bidirectional as Bidirectional
from keras_rnnx.layers.deep import DeepRNN as DeepRNN
from keras_rnnx.layers.rnn import RNN as RNN
from keras_rnnx.version import __version__ as __version__
