"""Convolutional LSTM (Shi et al. 2015, arXiv 1506.04214), equation (3), for maps of any number of dimensions."""

import numpy as np

from .activations import sigmoid
from .products import masked, split


def several(value, count):
    """A number for each of the spatial dimensions."""
    return (value,) * count if np.isscalar(value) else tuple(value)


def correlate(x, kernel, *, strides=1, padding="valid", dilation=1):
    """What networks call the convolution W * X: y[p] = sum_o x[p stride + o dilation - before] W[o], zero outside x.

    "valid" has only the p whose whole window lies in x. "same" has ceil(size / stride) of them, so that the first
    and the last window hang over x by as much, or the last one by one more.

    Args:
        x: (*space, C).
        kernel: (*window, C, N).
        strides, dilation: a number, or one for each dimension.
        padding: "valid" or "same".
    """
    count = x.ndim - 1
    space, window = x.shape[:-1], kernel.shape[:-2]
    strides, dilation = several(strides, count), several(dilation, count)
    sizes, before = [], []
    for n, k, stride, d in zip(space, window, strides, dilation, strict=True):
        reach = (k - 1) * d + 1
        if padding == "same":
            size = -(-n // stride)
            sizes.append(size)
            before.append(max((size - 1) * stride + reach - n, 0) // 2)
        elif padding == "valid":
            sizes.append((n - reach) // stride + 1)
            before.append(0)
        else:
            raise ValueError(f"Expected padding 'valid' or 'same'. Received: padding={padding!r}")
    y = np.zeros((*sizes, kernel.shape[-1]))
    for place in np.ndindex(*sizes):
        for offset in np.ndindex(*window):
            source = tuple(
                p * stride + o * d - b
                for p, stride, o, d, b in zip(place, strides, offset, dilation, before, strict=True)
            )
            if all(0 <= s < n for s, n in zip(source, space, strict=True)):
                y[place] += x[source] @ kernel[offset]
    return y


def projected(w, x, gates, kernel_size, strides, padding, dilation):
    """W_g * X + b_g of each gate, in storage order."""
    count = x.ndim - 1
    if w["kernel"].shape[:count] != several(kernel_size, count):
        raise ValueError(f"Expected a kernel of size {kernel_size}. Received: shape {w['kernel'].shape}")
    biases = split(w["bias"], gates) if "bias" in w else [0.0] * gates
    return [
        correlate(x, W, strides=strides, padding=padding, dilation=dilation) + b
        for W, b in zip(split(w["kernel"], gates), biases, strict=True)
    ]


def step(
    w,
    x,
    h,
    c,
    *,
    kernel_size,
    strides=1,
    padding="valid",
    dilation=1,
    peepholes=False,
    activation=np.tanh,
    recurrent_activation=sigmoid,
    left_masks=None,
):
    """One step: (H_{t-1}, C_{t-1}) -> (H_t, C_t), for one example x (*space, C). Stored gate order: i f g o.

    i_t = sigma(W_xi * X_t + W_hi * H_{t-1} + W_ci o C_{t-1} + b_i)
    f_t = sigma(W_xf * X_t + W_hf * H_{t-1} + W_cf o C_{t-1} + b_f)
    C_t = f_t o C_{t-1} + i_t o tanh(W_xc * X_t + W_hc * H_{t-1} + b_c)
    o_t = sigma(W_xo * X_t + W_ho * H_{t-1} + W_co o C_t + b_o)
    H_t = o_t o tanh(C_t)

    The maps of H keep their size: W_h has stride 1 and zeros around them. Without peepholes W_c. are absent.
    """
    sigma, tanh = recurrent_activation, activation
    x_i, x_f, x_g, x_o = projected(w, x, 4, kernel_size, strides, padding, dilation)
    h = masked(h, left_masks, 0)
    h_i, h_f, h_g, h_o = (correlate(h, U, padding="same") for U in split(w["recurrent_kernel"], 4))
    p_i, p_f, p_o = (w[name] for name in ("p_i", "p_f", "p_o")) if peepholes else (0.0, 0.0, 0.0)
    i = sigma(x_i + h_i + p_i * c)
    f = sigma(x_f + h_f + p_f * c)
    c_new = f * c + i * tanh(x_g + h_g)
    o = sigma(x_o + h_o + p_o * c_new)
    return o * tanh(c_new), c_new
