"""sLSTM (Beck et al. 2024)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(
    w,
    x,
    h,
    c,
    n,
    m,
    *,
    forget_gate="sigmoid",
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: (h, c, n, m)_{t-1} -> (h, c, n, m)_t. Stored gate order: z i f o, a_. = x_t W_. + h_{t-1} R_. + b_.

    z_t = tanh(a_z),  o_t = sigma(a_o),  i_t = exp(a_i),  f_t = sigma(a_f) or exp(a_f)
    m_t = max(log f_t + m_{t-1}, log i_t);  log i_t for a unit with n_{t-1} = 0
    i'_t = exp(log i_t - m_t),  f'_t = exp(log f_t + m_{t-1} - m_t)
    c_t = f'_t * c_{t-1} + i'_t * z_t
    n_t = f'_t * n_{t-1} + i'_t
    h_t = o_t * c_t / n_t
    """
    x_z, x_i, x_f, x_o = projected(w, x, 4, normalization)
    u_z, u_i, u_f, u_o = products_of(w, 4, structure, blocks, normalization)
    h = masked(h, left_masks, 0)
    z, o = np.tanh(x_z + u_z(h)), sigmoid(x_o + u_o(h))
    log_i, a_f = x_i + u_i(h), x_f + u_f(h)
    log_f = np.log(sigmoid(a_f)) if forget_gate == "sigmoid" else a_f
    m_new = np.where(n == 0.0, log_i, np.maximum(log_f + m, log_i))
    stable_i, stable_f = np.exp(log_i - m_new), np.exp(log_f + m - m_new)
    c_new = stable_f * c + stable_i * z
    n_new = stable_f * n + stable_i
    return o * c_new / n_new, c_new, n_new, m_new
