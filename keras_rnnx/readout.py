"""A linear read-out in closed form, for layers whose own weights are not trained."""

import keras
import numpy as np
from keras import ops


def fit_readout(
    layer,
    inputs,
    targets=None,
    *,
    ridge=1e-6,
    mask=None,
    washout=0,
    batch_size=32,
    use_bias=True,
):
    r"""Fits a linear read-out of a layer's outputs by ridge regression, in one pass over the batches.

    With the outputs r as rows of R and the targets as rows of Y, the weights are
    $$ W = (R^\top R + \rho I)^{-1} R^\top Y \tag{1} $$
    where R has a column of ones for the bias, which is not penalized. \(R^\top R\) and \(R^\top Y\) are summed batch
    by batch in float64, so that the data need not fit into memory. At masked steps nothing is counted.

    Args:
        layer: a layer or model with outputs (B, O) or (B, T, O), such as an `ESN`. Of a tuple
            of results the first counts.
        inputs: an array with the batch in front; or, without `targets`, an iterable of batches `(inputs, targets)` or
            `(inputs, targets, mask)`, read once.
        targets: an array (N, K) for outputs (B, O), or (N, T, K) for (B, T, O); K may be left out where it is 1.
        ridge: float >= 0, rho, not divided by the number of rows.
        mask: (N, T) booleans or None, the mask of the inputs, passed on to the layer; a mask that the layer's outputs
            carry (of an Embedding, of lengths) counts as well.
        washout: int >= 0, how many valid steps at the start of each sequence are not counted, since the state still
            echoes its start.
        batch_size: int > 0, for arrays.
        use_bias: bool.

    Returns:
        A built `keras.layers.Dense` with the fitted weights.

    Raises:
        ValueError: if shapes do not fit, `ridge` or `washout` is negative, or there is no row to fit.

    Reference: H. Jaeger, The echo state approach to analysing and training recurrent neural networks, GMD report 148,
        2001.
    """
    if ridge < 0 or washout < 0:
        raise ValueError(f"Expected `ridge` >= 0 and `washout` >= 0. Received: ridge={ridge!r}, washout={washout!r}")
    squares = products = 0.0
    for batch in _batches(inputs, targets, mask, batch_size):
        r, y = _rows(layer, *batch, washout)
        if use_bias:
            r = np.concatenate([r, np.ones((len(r), 1))], axis=-1)
        squares, products = squares + r.T @ r, products + r.T @ y
    if not np.any(squares):
        raise ValueError("Expected at least one valid row with an output that is not zero. Received: none")
    penalty = np.full(len(squares), float(ridge))
    if use_bias:
        penalty[-1] = 0.0
    weights = np.linalg.solve(squares + np.diag(penalty), products)
    dense = keras.layers.Dense(products.shape[-1], use_bias=use_bias, dtype=layer.dtype_policy)
    dense.build((None, len(weights) - use_bias))
    dense.set_weights([weights[:-1], weights[-1]] if use_bias else [weights])
    return dense


def _batches(inputs, targets, mask, batch_size):
    """Pairs or triples of inputs, targets and mask."""
    if targets is None:
        if mask is not None:
            raise ValueError("Expected the masks of an iterable inside its batches. Received: mask")
        for batch in inputs:
            x, y, m = (*batch, None)[:3]
            yield x, y, m
        return
    arrays = [inputs, targets] if mask is None else [inputs, targets, mask]
    sizes = [len(a) for a in arrays]
    if len(set(sizes)) > 1:
        raise ValueError(f"Expected as many inputs as targets and masks. Received: {sizes}")
    for start in range(0, sizes[0], batch_size):
        yield (*[a[start : start + batch_size] for a in arrays], None)[:3]


def _rows(layer, x, y, mask, washout):
    """The outputs (rows, O) and targets (rows, K) that count, in float64."""
    results = layer(x, training=False) if mask is None else layer(x, mask=ops.convert_to_tensor(mask), training=False)
    outputs = results[0] if isinstance(results, (list, tuple)) else results
    carried = getattr(outputs, "_keras_mask", None)
    r, y = (ops.convert_to_numpy(a).astype("float64") for a in (outputs, y))
    y = y[..., None] if y.ndim == r.ndim - 1 else y
    if r.ndim not in (2, 3) or y.shape[:-1] != r.shape[:-1]:
        raise ValueError(f"Expected targets for outputs of shape {r.shape}. Received: targets of shape {y.shape}")
    if r.ndim == 2:
        return r, y
    counts = np.ones(r.shape[:2], bool)
    for m in (mask, carried):
        if m is not None:
            counts &= ops.convert_to_numpy(m).astype(bool)
    counts &= counts.cumsum(axis=1) > washout
    return r[counts], y[counts]
