"""The linear-chain conditional random field (Lafferty et al. 2001), by going through all tag sequences.

The score of the tags y_1 ... y_n of the n valid steps of one row is

    s(y) = a_{y_1} + sum_t E[t, y_t] + sum_{t > 1} A[y_{t-1}, y_t] + z_{y_n},    p(y) = exp(s(y)) / Z

with E the emissions (T, K), A `transitions` (K, K) from the row's tag to the column's, a `start` (K,) and z `end` (K,);
an absent weight is zero. Masked steps are left out, as if the row were shorter. A row without valid steps has one tag
sequence, the empty one, with score 0.
"""

from itertools import product

import numpy as np


def score(w, emissions, tags):
    """s(y) of one row in which every step is valid."""
    if len(tags) == 0:
        return 0.0
    K = emissions.shape[1]
    start, end = w.get("start", np.zeros(K)), w.get("end", np.zeros(K))
    total = start[tags[0]] + end[tags[-1]]
    for t, tag in enumerate(tags):
        total += emissions[t, tag]
    for before, tag in zip(tags, tags[1:], strict=False):
        total += w["transitions"][before, tag]
    return total


def all_scores(w, emissions):
    """{tags: s(tags)} for the K^n sequences, in lexicographic order."""
    steps, K = emissions.shape
    return {tags: score(w, emissions, tags) for tags in product(range(K), repeat=steps)}


def row(w, emissions, valid):
    """One row: log Z, marginals (T, K), the best tags (T,) and their score. Masked steps have zeros."""
    scores = all_scores(w, emissions[valid])
    highest = max(scores.values())
    log_partition = highest + np.log(sum(np.exp(s - highest) for s in scores.values()))
    marginals = np.zeros_like(emissions)
    steps = np.flatnonzero(valid)
    for tags, s in scores.items():
        for t, tag in zip(steps, tags, strict=True):
            marginals[t, tag] += np.exp(s - log_partition)
    best = max(scores, key=scores.get)
    path = np.zeros(len(emissions), int)
    path[valid] = best
    return log_partition, marginals, path, scores[best]


def rows(w, emissions, mask=None):
    """A batch of emissions (B, T, K): log Z (B,), marginals (B, T, K), best tags (B, T) and their scores (B,)."""
    mask = np.ones(emissions.shape[:2], bool) if mask is None else np.asarray(mask, bool)
    return [np.array(each) for each in zip(*[row(w, e, m) for e, m in zip(emissions, mask, strict=True)], strict=True)]


def log_likelihood(w, emissions, tags, mask=None):
    """log p(y) of the given tags (B, T), for each row (B,); tags at masked steps are not read."""
    mask = np.ones(emissions.shape[:2], bool) if mask is None else np.asarray(mask, bool)
    log_partition = rows(w, emissions, mask)[0]
    own = [score(w, e[m], y[m]) for e, y, m in zip(emissions, tags, mask, strict=True)]
    return np.array(own) - log_partition
