"""The orders in which other libraries keep the gates of a cell, in the names of this package."""

TORCH_GATES = {"lstm": "i f g o", "gru": "r z n", "rnn": "h"}
