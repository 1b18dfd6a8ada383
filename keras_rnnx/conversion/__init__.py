"""Models and weights from other libraries, and back."""

from keras_rnnx.conversion.addons import from_addons as from_addons
from keras_rnnx.conversion.haste import from_haste as from_haste
from keras_rnnx.conversion.keras_layers import convert as convert
from keras_rnnx.conversion.onnx_files import export_onnx as export_onnx
from keras_rnnx.conversion.torch_modules import from_torch as from_torch
from keras_rnnx.conversion.torch_modules import to_torch as to_torch
