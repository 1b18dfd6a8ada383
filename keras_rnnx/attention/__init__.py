"""Attention: mechanisms, the cell that looks at a memory at each step, and pooling."""

from keras_rnnx.attention.bahdanau import BahdanauAttention as BahdanauAttention
from keras_rnnx.attention.cell import AttentionCell as AttentionCell
from keras_rnnx.attention.location import LocationAttention as LocationAttention
from keras_rnnx.attention.luong import LuongAttention as LuongAttention
from keras_rnnx.attention.mechanism import Mechanism as Mechanism
from keras_rnnx.attention.monotonic import MonotonicAttention as MonotonicAttention
from keras_rnnx.attention.multi_head import MultiHeadAttention as MultiHeadAttention
from keras_rnnx.attention.pooling import AttentionPooling as AttentionPooling
