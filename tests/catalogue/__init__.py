"""The cells beside the core ones, one module a family: rows of the same table as in `cases.py`."""

import importlib
import pathlib
import pkgutil

from cases import CASES

CATALOGUE = [
    case
    for module in sorted(found.name for found in pkgutil.iter_modules([str(pathlib.Path(__file__).parent)]))
    for case in importlib.import_module(f"catalogue.{module}").CASES
]
# A case for each layer of the package, by the name of its class.
LAYERS = {case.layer.__name__: case for case in reversed([*CASES, *CATALOGUE]) if case.layer is not None}
