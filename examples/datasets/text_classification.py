"""Any TFDS text classification set as arrays."""

import typing

import movie_sentences
import numpy as np
import public_sets
import tensorflow_datasets as tfds
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

TEXT_NAMES = ("text", "sentence", "review", "content")
LABEL_NAMES = ("label", "polarity")


class Split(typing.NamedTuple):
    """texts (N,) of str, labels (N,) of int from 0, ratings (N,) of float or None."""

    texts: np.ndarray
    labels: np.ndarray
    ratings: np.ndarray | None

    def part(self, rows):
        """Returns the rows that an index, a slice or a mask selects."""
        return Split(*(None if column is None else column[rows] for column in self))


def load(name, data_dir=None):
    """Returns the splits of a data set, which is prepared first if it is not yet.

    Where the set has no validation split, the last tenth of the training split becomes one; where
    the test labels are hidden (-1), the validation split is the test split.

    Args:
        name: name of a TFDS set with one text and one label, "movie_sentences" for ours.
        data_dir: folder of the prepared sets; None for the one of TFDS, `~/tensorflow_datasets`.

    Returns:
        A dict of "train", "validation" and "test" to `Split`, and the list of label names.
    """
    if name.partition(":")[0] == movie_sentences.MovieSentences.name:  # a version may follow
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
        tfds.disable_progress_bar()
        public_sets.prepare(builder)
    else:
        builder = public_sets.builder(name, data_dir, default=movie_sentences.MovieSentences.name)
    features = builder.info.features
    text_key, label_key = find_key(features, TEXT_NAMES), find_key(features, LABEL_NAMES)
    splits = {
        split: _read(builder, split, text_key, label_key)
        for split in ("train", "validation", "test")
        if split in builder.info.splits
    }
    values = np.unique(splits["train"].labels)
    splits = standard({split: known(data, values) for split, data in splits.items()})
    names = getattr(features[label_key], "names", None) or [str(value) for value in values]
    return splits, names


def find_key(features, names):
    """Returns the first of `names` that is a feature; raises ValueError if there is none."""
    for name in names:
        if name in features:
            return name
    raise ValueError(f"expected a feature called one of {names}, received {sorted(features)}")


def bag_of_words_accuracy(splits):
    """Returns the test accuracy of a logistic regression on the TF-IDF of words and word pairs.

    Its regularization is chosen on the validation split.
    """
    vectorizer = TfidfVectorizer(ngram_range=(1, 2))
    features = {"train": vectorizer.fit_transform(splits["train"].texts)}
    features |= {name: vectorizer.transform(splits[name].texts) for name in ("validation", "test")}

    def fit(c):
        model = LogisticRegression(C=c, max_iter=1000)
        return model.fit(features["train"], splits["train"].labels)

    models = [fit(c) for c in (1, 3, 10, 30)]
    best = max(models, key=lambda m: m.score(features["validation"], splits["validation"].labels))
    return best.score(features["test"], splits["test"].labels)


def _read(builder, split, text_key, label_key):
    texts, labels, ratings = [], [], []
    for batch in tfds.as_numpy(builder.as_dataset(split=split, batch_size=1024)):
        texts.extend(text.decode() for text in batch[text_key])
        labels.extend(batch[label_key])
        ratings.extend(batch.get("rating", ()))
    return Split(np.array(texts, object), np.array(labels), np.array(ratings) if ratings else None)


def known(data, values):
    """Leaves out rows whose label the training split lacks, and numbers the labels from 0."""
    data = data.part(np.isin(data.labels, values))
    return data._replace(labels=np.searchsorted(values, data.labels))


def standard(splits):
    """Fills the gaps: a test split without labels, a missing validation split."""
    if "test" not in splits or not len(splits["test"].texts):
        if "validation" not in splits:
            raise ValueError(f"expected a labelled test or validation split, received {[*splits]}")
        splits["test"] = splits.pop("validation")
    if "validation" not in splits:
        train = splits["train"]
        cut = len(train.texts) * 9 // 10
        splits["train"], splits["validation"] = train.part(slice(cut)), train.part(slice(cut, None))
    return splits
