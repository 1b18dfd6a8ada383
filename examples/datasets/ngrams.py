"""Bits per character of an n-gram model with Witten and Bell's smoothing."""

import numpy as np


def bits_per_character(train, test, order):
    r"""Returns the mean of \(-\log_2 p(c_t | c_{t-n+1}, \dots, c_{t-1})\) over the test characters.

    The probability is interpolated with that after the context without its first character,

        p(c | h) = (N(h c) + T(h) p(c | h')) / (N(h) + T(h)),

    where N counts occurrences in the training texts and T(h) the different characters after h there. Below
    the empty context lies the uniform distribution over the training texts' characters and one more for
    all those that they lack. A text begins after n - 1 signs for its start.

    Args:
        train: list of texts to count in.
        test: list of texts to measure, with at least one character.
        order: int > 0, n: the number of characters that an n-gram has.

    Returns:
        A float, the bits per character of the test texts.

    Reference: Witten, Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37, 1991.
    """
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"Expected order to be an int > 0. Received: {order!r}")
    symbols = {symbol: number for number, symbol in enumerate(sorted(set("".join(train))), start=2)}
    size = len(symbols) + 2  # 0 is the start of a text, 1 an unknown character
    if size**order > 2**62:
        raise ValueError(f"Expected (characters + 2)**order < 2**62. Received: order={order}, {size - 2} characters")
    train_codes, test_codes = (_codes(texts, symbols, order - 1) for texts in (train, test))
    probability = np.full(len(test_codes[0]), 1 / (size - 1))
    train_context, test_context = (np.zeros_like(codes[0]) for codes in (train_codes, test_codes))
    for length in range(order):
        if length:
            scale = size ** (length - 1)
            train_context, test_context = (
                context + codes[length] * scale
                for context, codes in ((train_context, train_codes), (test_context, test_codes))
            )
        grams, gram_counts = np.unique(train_context * size + train_codes[0], return_counts=True)
        contexts, first, kinds = np.unique(grams // size, return_index=True, return_counts=True)
        context_counts = np.add.reduceat(gram_counts, first)
        seen = _look_up(grams, gram_counts, test_context * size + test_codes[0])
        total, different = (_look_up(contexts, values, test_context) for values in (context_counts, kinds))
        known = total > 0
        probability[known] = ((seen + different * probability) / np.maximum(total + different, 1))[known]
    return float(-np.log2(probability).mean())


def _codes(texts, symbols, before):
    """Returns a list of before + 1 int64 arrays: the numbers of all characters, and those 1, 2, ... back."""
    rows = [[symbols.get(character, 1) for character in text] for text in texts]
    padded = np.array([number for row in rows for number in [0] * before + row], "int64")
    lengths = [len(row) for row in rows]
    ends = np.cumsum([before + length for length in lengths])
    here = np.concatenate([np.arange(end - length, end) for end, length in zip(ends, lengths, strict=True)])
    return [padded[here - back] for back in range(before + 1)]


def _look_up(keys, values, wanted):
    """Returns the value at each wanted key, 0 where the sorted keys lack it."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
