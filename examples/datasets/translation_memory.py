"""A translation memory: what a test text would get from the training text most like it."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

ROWS = 512  # of the similarities at a time, which are (ROWS, training texts)


def nearest(train, test, **features):
    """Returns the number of the training text nearest to each test text, by the cosine of n-gram counts.

    Args:
        train: list of texts.
        test: list of texts.
        **features: which n-grams, as arguments of scikit-learn's TfidfVectorizer.

    Returns:
        An int array, one number for each test text; the first of those that are equally near.
    """
    vectorizer = TfidfVectorizer(use_idf=False, **features)
    known = vectorizer.fit_transform(train).T.tocsr()
    asked = vectorizer.transform(test)
    parts = [asked[start : start + ROWS] @ known for start in range(0, len(test), ROWS)]
    return np.concatenate([np.asarray(part.argmax(axis=1)).ravel() for part in parts])
