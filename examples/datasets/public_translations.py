"""Any TFDS set of sentences in two languages as pairs, such as "ted_hrlr_translate/pt_to_en".

Left are pairs of as few words and signs as those of `libreoffice`, of the training split the first `MOST`.
"""

import itertools

import libreoffice
import public_sets
import splits
import tensorflow_datasets as tfds

MOST = 100_000


def load(name, data_dir=None):
    """Returns the `splits.Splits` of `libreoffice.Pairs`; from the first to the second language of the set.

    Raises:
        ConnectionError: if the set is not prepared, and no server of it answers.
        ValueError: if it does not hold texts in two languages.
    """
    made = public_sets.builder(name, data_dir, default="libreoffice")
    keys = made.info.supervised_keys or ()
    if not isinstance(made.info.features, tfds.features.Translation) or len(keys) != 2:
        raise ValueError(f"Expected a set of texts in two languages. Received: {name!r} of {made.info.features}")
    return splits.Splits(*(_read(made, split, *keys) for split in splits.NAMES))


def _read(made, split, source, target):
    rows = tfds.as_numpy(made.as_dataset(split=split))
    pairs = ((row[source].decode(), row[target].decode()) for row in rows)
    short = (pair for pair in pairs if all(map(libreoffice.is_short, pair)))
    return libreoffice.Pairs(*map(list, zip(*itertools.islice(short, MOST), strict=True)))
