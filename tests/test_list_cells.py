"""The list of all cells: complete, and true to the classes."""

import importlib
import inspect
import pathlib
import pkgutil
import re
import unicodedata

import keras
import pytest

import keras_rnnx
from keras_rnnx import cells
from keras_rnnx.base.interface import AbstractCell
from keras_rnnx.catalogue import COLUMNS, FAMILIES, LINEAR, TIME, CellList, labelled, row_of
from keras_rnnx.layers.rnn import CellLayer

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

ROWS = keras_rnnx.list_cells()
PUBLIC = {name: value for name, value in vars(keras_rnnx).items() if inspect.isclass(value)}
# Values of arguments that have no default, and of those that add states.
ARGUMENTS = {"units": 8, "filters": 8, "kernel_size": 3, "order": 4, "theta": 6.0, "complex_state": True}
each_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])


def plain(text):
    """Letters and digits alone, in lower case and without accents."""
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", " ", text).strip()


def bibliography():
    """The entries of the file of references: dictionaries by field."""
    text = (pathlib.Path(__file__).parent.parent / "docs" / "references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@(\w+)\{(\w+),\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert len({key for _, key, _ in entries}) == len(entries) == text.count("@")
    return [dict(re.findall(r"^  (\w+) = \{+(.*?)\}+,$", fields, re.MULTILINE)) for _, _, fields in entries]


BIBLIOGRAPHY = bibliography()


def without_arxiv(reference):
    return re.sub(r",? arXiv:[\d.]+\d(v\d+)?", "", reference)


def papers(reference):
    """The papers that a reference names, one string each."""
    return re.split(r"(?:(?<=\d)\.|;) (?=[A-Z]\.)", reference.removesuffix("."))


def is_entry(paper, entry):
    """Whether a paper is that of an entry: by number, by title, or by its authors and year where it has no title."""
    number = re.search(r"arXiv:(\d+\.\d+)", paper)
    if number:
        return entry.get("eprint") == number[1]
    if plain(entry["title"]) in plain(paper):
        return True
    surnames = [plain(author).split()[-1] for author in entry["author"].split(" and ")]
    where = plain(entry.get("journal", entry["title"]))
    found = plain(paper)
    return where in found and entry["year"] in found.split() and all(name in found.split() for name in surnames)


def test_every_paper_of_a_docstring_is_in_the_bibliography():
    sources = "\n".join(file.read_text() for file in pathlib.Path(keras_rnnx.__file__).parent.rglob("*.py"))
    cited = set(re.findall(r"arXiv:(\d{4}\.\d{4,5})", sources))
    assert len(cited) > 80
    assert cited <= {entry.get("eprint") for entry in BIBLIOGRAPHY}


def test_every_public_cell_is_listed_once():
    bases = {value for value in PUBLIC.values() if value.__module__.startswith("keras_rnnx.base.")}
    expected = {value for value in PUBLIC.values() if issubclass(value, AbstractCell)} - bases
    expected = {cell for cell in expected if not set(cell.CELLS) & set(inspect.signature(cell).parameters)}  # wrappers
    assert expected
    assert sorted(row.cell.__name__ for row in ROWS) == sorted(cell.__name__ for cell in expected)
    assert {row.cell for row in ROWS} == expected
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_every_layer_of_a_cell_is_public():
    """A class of `keras_rnnx.cells` is of use only where its name can be imported."""
    found = set()
    for module in pkgutil.iter_modules(cells.__path__):
        values = vars(importlib.import_module(f"{cells.__name__}.{module.name}")).values()
        found |= {v for v in values if inspect.isclass(v) and issubclass(v, CellLayer) and v is not CellLayer}
    assert found == {row.layer for row in ROWS}


@each_row
def test_row(row):
    assert PUBLIC[row.name] is row.layer and PUBLIC[f"{row.name}Cell"] is row.cell is row.layer.CELL
    assert row.states == tuple(row.cell.STATES.split()) and row.states
    assert re.search(r"\b(19[5-9]\d|20\d\d)\b", without_arxiv(row.reference))
    assert 5 < len(row.summary) < 120 and "\n" not in row.summary
    assert row.family in FAMILIES


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="alike on every backend, and quickest to build on torch")
@each_row
def test_row_of_a_cell_that_runs(row):
    """What the row says is what a cell does."""
    needed = {p.name for p in inspect.signature(row.layer).parameters.values() if p.default is p.empty} - {"kwargs"}
    names = needed | ({"complex_state"} & set(row.arguments))
    cell = row.cell(**{name: ARGUMENTS[name] for name in names})
    cell.build((None, *[8] * len(cell.step_axes)))
    cell.check()
    assert cell.states == row.states and len(cell.get_initial_state(1)) == len(row.states)
    assert cell.timed == row.timed
    assert row.parallel != isinstance(cell, keras_rnnx.Cell)
    assert set(row.arguments) <= set(cell.get_config()) & set(inspect.signature(row.layer).parameters)
    assert not set(row.arguments) & {"units", "dropout", "seed", "use_bias"}
    if row.products is not None and not row.parallel:
        dense = cell.recurrent_structure != "diagonal"
        assert row.products == (len(cell.operands) if dense else 0)


@each_row
def test_reference_is_in_the_bibliography(row):
    for paper in papers(row.reference):
        assert any(is_entry(paper, entry) for entry in BIBLIOGRAPHY), paper


def test_entries_are_complete():
    assert all({"author", "title", "year"} <= set(entry) for entry in BIBLIOGRAPHY)
    assert len({plain(entry["title"]) for entry in BIBLIOGRAPHY}) == len(BIBLIOGRAPHY)


def test_a_paper_that_is_missing_is_noticed():
    for paper in ("A. Nobody, A cell, 2020, arXiv:2001.99999", "A. Nobody, A cell, 2020", "A. Graves, A cell, 2013"):
        assert not any(is_entry(paper, entry) for entry in BIBLIOGRAPHY)


def test_known_rows():
    by_name = {row.name: row for row in ROWS}
    lstm, gru = by_name["LSTM"], by_name["MinGRU"]
    assert (lstm.states, lstm.parallel, lstm.timed, lstm.products) == (("h", "c"), False, False, 1)
    assert lstm.family == "gated" and set(lstm.arguments) == {"unit_forget_bias", "projection_units"}
    assert (gru.family, gru.parallel, gru.products, gru.arguments) == (LINEAR, True, 0, ("activation",))
    assert gru.reference.endswith("Were RNNs all we needed?, 2024, arXiv:2410.01201.")
    assert {row.timed for row in ROWS if row.family == TIME} == {True}
    assert by_name["LEM"].summary.startswith("long expressive memory")


def test_families_name_only_what_the_code_cannot_tell():
    told = [row.name for row in ROWS if row.family not in (LINEAR, TIME)]
    assert sorted(" ".join(FAMILIES.values()).split()) == sorted(told)


def test_prints_as_a_table():
    lines = str(ROWS).split("\n")
    assert len(lines) == len(ROWS) + 1 and repr(ROWS) == str(ROWS)
    assert lines[0].split() == list(COLUMNS)
    start = lines[0].index("reference")
    for row, line in zip(ROWS, lines[1:], strict=True):
        assert line.startswith(row.name + " ")
        assert line[start:] == row.reference
        assert ("yes" in line[:start]) == (row.parallel or row.timed)
    assert str(CellList()) == "  ".join(COLUMNS)


def layer_of(cell):
    return type("Some", (CellLayer,), {"CELL": cell})


def test_a_cell_without_reference_fails():
    for text in (None, "One step.", "One step.\n\n    Reference:\n    Raises: an error, 2020."):
        cell = type("SomeCell", (keras_rnnx.GRUCell,), {"__doc__": text})
        with pytest.raises(ValueError, match="SomeCell.*Reference"):
            row_of("GRU", layer_of(cell))


def test_a_cell_without_family_fails():
    cell = type("SomeCell", (keras_rnnx.GRUCell,), {"__doc__": "One step.\n\n    Reference: A. Name, Title, 2020."})
    with pytest.raises(ValueError, match="Some in one family"):
        row_of("Some", layer_of(cell))
    assert row_of("GRU", layer_of(cell)).reference == "A. Name, Title, 2020."


def test_labelled_lines():
    text = "One.\n\nWeights: a,\n    b\n    c.\nReference: x,\n    y.\n"
    assert labelled(text, "Weights") == "a, b c." and labelled(text, "Reference") == "x, y."
    assert labelled(text, "Raises") is None
