"""Layers: the contract between Keras and a cell."""
