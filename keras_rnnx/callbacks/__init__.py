"""Callbacks that show what recurrent layers do while a model learns, and that keep what it has learned."""

from keras_rnnx.callbacks.backup import BackupAndRestore
from keras_rnnx.callbacks.gradient_flow import GradientFlow
from keras_rnnx.callbacks.gradients import state_gradients
from keras_rnnx.callbacks.reset_states import ResetStates
from keras_rnnx.callbacks.sample_text import SampleText
from keras_rnnx.callbacks.state_monitor import StateMonitor

__all__ = ["BackupAndRestore", "GradientFlow", "ResetStates", "SampleText", "StateMonitor", "state_gradients"]
