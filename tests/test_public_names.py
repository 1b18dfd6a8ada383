"""Every public name has a docstring with its sections, a page of the documentation and, if it is a cell, a row."""

import inspect
import pathlib
import re

import keras
import pytest

import keras_rnnx
from keras_rnnx.base.interface import AbstractCell
from keras_rnnx.layers.rnn import CellLayer

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

DOCS = pathlib.Path(__file__).parent.parent / "docs"
NAVIGATION = (DOCS.parent / "mkdocs.yml").read_text()
PACKAGES = ("attention", "callbacks", "losses", "models", "seq2seq", "wirings")


def public(module):
    """The classes and functions of a module that are public, by their full names."""
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    values = {f"{module.__name__}.{name}": getattr(module, name) for name in names}
    mine = {name: v for name, v in values.items() if inspect.isclass(v) or inspect.isfunction(v)}
    return {name: v for name, v in mine.items() if v.__module__.startswith("keras_rnnx.")}


MODULES = (keras_rnnx, *(getattr(keras_rnnx, name) for name in PACKAGES))
PUBLIC = {name: value for module in MODULES for name, value in public(module).items()}
ROWS = {row.layer: row for row in keras_rnnx.list_cells()}
CELLS = {row.cell for row in ROWS.values()}
OPTIONS = {"name", "dtype", *inspect.signature(keras_rnnx.Cell).parameters}  # told once, in `Cell` or by Keras


def test_every_package_is_looked_at():
    found = {name for name, value in vars(keras_rnnx).items() if inspect.ismodule(value) and not name.startswith("_")}
    imported = set(re.findall(r"^from keras_rnnx import (\w+) as", inspect.getsource(keras_rnnx), re.MULTILINE))
    assert imported == set(PACKAGES) <= found
    assert len(PUBLIC) > 200


@pytest.mark.parametrize("name", PUBLIC)
def test_page(name):
    """The pages of cells are made of the rows of `list_cells`, see `docs/catalogue_hook.py`; the others are written."""
    value = PUBLIC[name]
    if value in ROWS or value in CELLS:
        assert name.removeprefix("keras_rnnx.").removesuffix("Cell") in {row.name for row in ROWS.values()}
        return
    shown = re.compile(rf"^::: {re.escape(name)}$", re.MULTILINE)
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if shown.search(page.read_text())]
    assert pages and all(page in NAVIGATION for page in pages)


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring(name):
    value = PUBLIC[name]
    text = inspect.cleandoc(vars(value).get("__doc__", "") if inspect.isclass(value) else value.__doc__ or "")
    summary, more = (text + "\n\n").split("\n\n", 1)
    assert len(summary) > 10 and (summary.endswith((".", ":")) or more.startswith("$$")), "a first sentence"
    if inspect.isclass(value) and issubclass(value, CellLayer):
        assert re.search(r"cell arguments: `\w+Cell`\. Layer arguments and call: `RNN`", text)
        return
    given = inspect.signature(value).parameters.values()
    told = [p.name for p in given if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    if told and not re.search(r"arguments: those of `\w+Cell`", text):
        assert re.search(r"^(Args|Attributes):$", text, re.MULTILINE), "a section `Args:`"
        assert {n for n in told if not re.search(rf"\b{n}\b", text)} <= OPTIONS, "its arguments"
    for section in ("Reference", "Weights", "Cost per step") if value in CELLS else ():
        assert re.search(rf"^{section}:", text, re.MULTILINE), f"a section `{section}:`"


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if inspect.isclass(value)])
def test_row(name):
    value = PUBLIC[name]
    if issubclass(value, CellLayer):
        assert value in ROWS
    elif issubclass(value, AbstractCell) and value.__module__.startswith("keras_rnnx.cells."):
        takes_cells = set(value.CELLS) & set(inspect.signature(value).parameters)
        assert value in CELLS or takes_cells, "a cell without a row in the table, and no wrapper of cells"
        if takes_cells:
            assert f"keras_rnnx.{value.__name__}" in (DOCS / "wrappers.md").read_text()
    elif issubclass(value, keras.layers.Layer):
        assert name.partition(".")[2].partition(".")[0] in (*PACKAGES, "RNN", "Bidirectional", "DeepRNN") or value in (
            keras_rnnx.Cell, keras_rnnx.LinearCell, keras_rnnx.MatrixCell, keras_rnnx.ChainedCell
        )  # fmt: skip
