"""Cells: one file a method, equations in the docstring."""
