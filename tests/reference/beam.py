"""Beam search with plain lists and dictionaries, and a search of everything to hold it against.

A hypothesis is a dict: tokens (the end token included once it is written), log_probability (the sum over the tokens),
coverage (S,) (the sum over the tokens of the alignments with which each was written, or None), state (what the model
wants to see at the next token) and finished.
"""

import numpy as np


def length_penalty(length, alpha):
    """lp(Y) = (5 + |Y|)^alpha / (5 + 1)^alpha, Wu et al. 2016, arXiv:1609.08144, eq. 14."""
    return (5.0 + length) ** alpha / (5.0 + 1.0) ** alpha


def coverage_penalty(coverage, valid, beta):
    """cp(X; Y) = beta sum_i log(min(sum_j p_ij, 1)), the same eq.; i goes over the valid positions of the source."""
    if beta == 0 or coverage is None:
        return 0.0
    total = 0.0
    for i, sum_of_alignments in enumerate(coverage):
        if valid is None or valid[i]:
            total += np.log(min(sum_of_alignments, 1.0))
    return beta * total


def score(hypothesis, alpha=0.0, beta=0.0, valid=None):
    """s(Y, X) = log P(Y | X) / lp(Y) + cp(X; Y). |Y| counts all tokens written, the end token too."""
    normalized = hypothesis["log_probability"] / length_penalty(len(hypothesis["tokens"]), alpha)
    return normalized + coverage_penalty(hypothesis["coverage"], valid, beta)


def extensions(hypothesis, model, end, minimum):
    """The hypothesis with each token of the vocabulary after it, as far as these are possible.

    model: (tokens so far, state) -> log probabilities (V,), alignments (S,) or None, state.
    """
    logs, alignments, state = model(hypothesis["tokens"], hypothesis["state"])
    coverage = hypothesis["coverage"]
    if alignments is not None:
        coverage = alignments if coverage is None else coverage + alignments
    for token, log in enumerate(logs):
        if token == end and len(hypothesis["tokens"]) < minimum:
            continue
        if log == -np.inf:
            continue
        yield {
            "tokens": [*hypothesis["tokens"], token],
            "log_probability": hypothesis["log_probability"] + log,
            "coverage": coverage,
            "state": state,
            "finished": token == end,
        }


def search(model, state, *, width, end, maximum, minimum=0, alpha=0.0, beta=0.0, valid=None):
    """The `width` best hypotheses, the best first, of one row.

    The beam begins with the empty hypothesis. In each of at most `maximum` rounds every live hypothesis is followed
    by every token; the finished ones stay as they are and compete with the others by the same normalized score; of all
    these the `width` best stay. The end token is not written before `minimum` others. What is not finished after
    `maximum` tokens competes as it is.

    Args:
        model: (tokens so far, state) -> log probabilities (V,), alignments (S,) or None, state.
        state: what the model sees at the first token.
        width: hypotheses kept.
        end: the token that finishes.
        alpha, beta: of the length and the coverage penalty, 0 for none.
        valid: (S,) bool, the positions of the source that want to be covered.

    Returns:
        A list of hypotheses with their "score", at most `width`; of equal scores the earlier in the beam, then the
        smaller token, is before the other.
    """
    beam = [{"tokens": [], "log_probability": 0.0, "coverage": None, "state": state, "finished": False}]
    for _ in range(maximum):
        candidates = []
        for hypothesis in beam:
            if hypothesis["finished"]:
                candidates.append(hypothesis)
            else:
                candidates.extend(extensions(hypothesis, model, end, minimum))
        beam = best(candidates, width, alpha, beta, valid)
        if all(h["finished"] for h in beam):
            break
    return [{**h, "score": score(h, alpha, beta, valid)} for h in beam]


def best(hypotheses, count, alpha, beta, valid):
    return sorted(hypotheses, key=lambda h: -score(h, alpha, beta, valid))[:count]


def exhaustive(model, state, *, end, maximum, minimum=0, alpha=0.0, beta=0.0, valid=None):
    """All hypotheses that end with `end` or have `maximum` tokens, the best first."""
    live = [{"tokens": [], "log_probability": 0.0, "coverage": None, "state": state, "finished": False}]
    done = []
    for _ in range(maximum):
        longer = [new for h in live for new in extensions(h, model, end, minimum)]
        done += [h for h in longer if h["finished"]]
        live = [h for h in longer if not h["finished"]]
    ordered = best(done + live, None, alpha, beta, valid)
    return [{**h, "score": score(h, alpha, beta, valid)} for h in ordered]
