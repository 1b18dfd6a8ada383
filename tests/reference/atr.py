"""Addition-subtraction twin-gated recurrent network (Zhang et al. 2018)."""

from .activations import sigmoid
from .products import masked, products_of, projected


def step(w, x, h, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t.

    p_t = W x_t (+ b),  q_t = U h_{t-1}
    i_t = sigma(p_t + q_t)
    f_t = sigma(p_t - q_t)
    h_t = i_t * p_t + f_t * h_{t-1}
    """
    (p,) = projected(w, x, 1, normalization)
    (u_q,) = products_of(w, 1, structure, blocks, normalization)
    q = u_q(masked(h, left_masks, 0))
    i, f = sigmoid(p + q), sigmoid(p - q)
    return (i * p + f * h,)
