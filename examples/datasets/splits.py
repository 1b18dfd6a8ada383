"""Splits that keep together what belongs together."""

import hashlib
import typing

NAMES = ("train", "validation", "test")


class Splits(typing.NamedTuple):
    """The three parts of a data set, each of the type that its module documents."""

    train: typing.Any
    validation: typing.Any
    test: typing.Any


def split_of(key, parts=10, tests=1):
    """Returns the split of a text by its hash: of `parts`, `tests` are "test" and one is "validation"."""
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % parts
    return "test" if number >= parts - tests else "validation" if number == parts - tests - 1 else "train"


def connected(keys):
    """Returns the name of each item's group, where items that share a key are in one group.

    Sharing is passed on: if a shares a key with b, and b another with c, all three are together.

    Args:
        keys: for each item a sequence of at least one text.

    Returns:
        A list of texts, one for each item: the smallest key of its group.
    """
    parent = {}

    def root(key):
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for first, *others in keys:
        for other in others:
            low, high = sorted((root(first), root(other)))
            parent[high] = low
    return [root(first) for first, *_ in keys]


def divide(rows, names, kind):
    """Returns the `Splits` of rows, each part as columns.

    Args:
        rows: list of tuples, one value for each field of `kind`.
        names: for each row the name of its split, in `NAMES`.
        kind: NamedTuple type of a part; its fields become lists.
    """
    columns = {name: kind(*([] for _ in kind._fields)) for name in NAMES}
    for row, name in zip(rows, names, strict=True):
        for column, value in zip(columns[name], row, strict=True):
            column.append(value)
    return Splits(**columns)


def shortened(data, count):
    """Returns the `Splits` of the first `count` rows of each part, whose fields are columns: see `divide`."""
    return Splits(*(type(part)(*(column[:count] for column in part)) for part in data))
