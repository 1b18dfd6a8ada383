"""Sequences to sequences: encoder, decoder, the model of both, and decoding."""

from keras_rnnx.seq2seq.beam import BeamSearch as BeamSearch
from keras_rnnx.seq2seq.decoder import Decoder as Decoder
from keras_rnnx.seq2seq.decoding import Decoded as Decoded
from keras_rnnx.seq2seq.decoding import compiled as compiled
from keras_rnnx.seq2seq.decoding import decode as decode
from keras_rnnx.seq2seq.decoding import next_function as next_function
from keras_rnnx.seq2seq.decoding import tiled as tiled
from keras_rnnx.seq2seq.encoder import Encoder as Encoder
from keras_rnnx.seq2seq.model import Seq2Seq as Seq2Seq
from keras_rnnx.seq2seq.strategies import Greedy as Greedy
from keras_rnnx.seq2seq.strategies import Sampling as Sampling
from keras_rnnx.seq2seq.strategies import Strategy as Strategy
