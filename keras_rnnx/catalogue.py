"""Every recurrent layer of the package: what it is, its paper and what it can do, told by the classes themselves."""

import dataclasses
import inspect
import re

import keras_rnnx
from keras_rnnx.base.cell import Cell
from keras_rnnx.base.linear import LinearCell
from keras_rnnx.base.matrix import MatrixCell
from keras_rnnx.base.projecting import ProjectingCell
from keras_rnnx.layers.rnn import CellLayer

LINEAR, TIME = "linear and parallel", "time"
# The classes tell the families `LINEAR` and `TIME`; these they do not.
FAMILIES = {
    "gated": (
        "LSTM GRU ATR BRC CoupledLSTM DSGU IndyGRU IndyLSTM IntersectionRNN JANET LiGRU LightRU MGU MUT1 MUT2 MUT3 "
        "MinimalRNN MultiplicativeLSTM NAS NBRC NestedLSTM ONLSTM OriginalLSTM PeepholeLSTM RHN ResLSTM SGU SLSTM SRU "
        "STAR TGRU TLSTM UGRNN WMCLSTM"
    ),
    "stable and dynamical": "AntisymmetricRNN CoRNN ExpRNN GatedAntisymmetricRNN LEM LMU LipschitzRNN TauGRU UnICORNN",
    "additive and simple": (
        "VanillaRNN CFN ClockworkRNN DeepTransitionRNN ESN FastGRNN FastRNN IndRNN RAN SCRN SGRN TRNN"
    ),
    "convolutional": "ConvGRU1D ConvGRU2D ConvGRU3D ConvLSTM1D ConvLSTM2D ConvLSTM3D",
    TIME: "",
    LINEAR: "",
}
PRODUCTS = re.compile(r"\b(no|one|two|three|four) (?:recurrent (?:matrix )?|matrix )products?\b")
COUNTS = ("no", "one", "two", "three", "four")
COLUMNS = ("name", "family", "states", "parallel", "timed", "products", "reference")


@dataclasses.dataclass(frozen=True)
class CellRow:
    """One recurrent layer and its cell.

    Attributes:
        name: the public name of the layer.
        family: one of `keras_rnnx.catalogue.FAMILIES`.
        summary: what the cell is, in one line.
        cell: the class of the cell.
        layer: the class of the layer.
        reference: the paper.
        states: the names of the states, in the order of `return_state`; with an argument `complex_state`, those of the
            complex state.
        parallel: whether the layer computes all steps at once, or many.
        timed: whether it reads `deltas`, the time between steps.
        products: how many recurrent products a step takes with the default arguments, 0 where it runs in parallel, None
            where the docstring of the cell states no number.
        arguments: the names of the arguments that only this cell has, beside those of all cells of its base.
    """

    name: str
    family: str
    summary: str
    cell: type
    layer: type
    reference: str
    states: tuple
    parallel: bool
    timed: bool
    products: int | None
    arguments: tuple


class CellList(list):
    """A list of `CellRow`s that prints as a table."""

    def __str__(self):
        rows = [COLUMNS, *([_text(getattr(row, column)) for column in COLUMNS] for row in self)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS) - 1)]
        lines = ["  ".join([*(f"{c:<{w}}" for c, w in zip(row, widths)), row[-1]]) for row in rows]  # noqa: B905
        return "\n".join(lines)

    __repr__ = __str__


def list_cells():
    """Lists the recurrent layers of this package that make their own cell, by family and name.

    Returns:
        A list of `keras_rnnx.catalogue.CellRow`, which prints as a table: `name`, `family`, `summary`, `cell`, `layer`,
        `reference`, `states`, `parallel`, `timed`, `products`, `arguments`.
    """
    public = vars(keras_rnnx).items()
    layers = [(name, value) for name, value in public if inspect.isclass(value) and issubclass(value, CellLayer)]
    order = list(FAMILIES)
    rows = [row_of(name, layer) for name, layer in layers]
    return CellList(sorted(rows, key=lambda row: (order.index(row.family), row.name.lower())))


def row_of(name, layer):
    """The `CellRow` of a layer class with a `CELL`; raises ValueError where its documentation is not complete."""
    cell = layer.CELL
    text = inspect.cleandoc(vars(cell).get("__doc__") or "")
    parallel = issubclass(cell, (LinearCell, MatrixCell))
    reference = labelled(text, "Reference")
    if reference is None:
        raise ValueError(f"Expected the docstring of {cell.__name__} to have a line `Reference: ...`")
    return CellRow(
        name=name,
        family=_family(name, cell, parallel),
        summary=text.split("\n")[0].removeprefix("One step of ").removesuffix("."),
        cell=cell,
        layer=layer,
        reference=reference,
        states=tuple(cell.STATES.split()),
        parallel=parallel,
        timed=cell.TIMED,
        products=0 if parallel else _products(text),
        arguments=_arguments(cell),
    )


def labelled(text, label):
    """What a docstring says after `<label>:`, up to the next line that is not indented, or None."""
    found = re.search(rf"^{label}:((?: .*)?(?:\n[ ]+.*)*)$", text, re.MULTILINE)
    return " ".join(found[1].split()) if found and found[1].strip() else None


def _family(name, cell, parallel):
    if parallel or cell.TIMED:
        return LINEAR if parallel else TIME
    found = [family for family, names in FAMILIES.items() if name in names.split()]
    if len(found) != 1:
        raise ValueError(f"Expected {name} in one family of `keras_rnnx.catalogue.FAMILIES`. Received: in {found}")
    return found[0]


def _products(text):
    found = PRODUCTS.search(labelled(text, "Cost per step") or "")
    return COUNTS.index(found[1]) if found else None


def _arguments(cell):
    """The arguments that the classes before the base add to those of the base."""
    chain = list(cell.__mro__)
    base = next(i for i, c in enumerate(chain) if c in (Cell, ProjectingCell))
    known = {n for c in chain[base:] if issubclass(c, ProjectingCell) for n in _named(c)} | set(cell.LACKS)
    return tuple(dict.fromkeys(n for c in chain[:base] for n in _named(c) if n not in known))


def _named(cls):
    """The names of the arguments of a class's own `__init__`."""
    if "__init__" not in vars(cls):
        return []
    parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
    return [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def _text(value):
    """A value as a cell of the table."""
    if isinstance(value, bool):
        return "yes" if value else ""
    return " ".join(value) if isinstance(value, tuple) else "?" if value is None else str(value)
