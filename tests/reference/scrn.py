"""Structurally constrained recurrent network (Mikolov et al. 2014, arXiv 1412.7753)."""

from .activations import sigmoid
from .products import masked, products_of, projected


def step(
    w,
    x,
    h,
    s,
    *,
    activation=sigmoid,
    alpha=0.95,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: (h_{t-1}, s_{t-1}) -> (h_t, s_t). A, B, P, R are the paper's matrices, b a bias.

    s_t = (1 - alpha) x_t B + alpha s_{t-1}
    h_t = sigma(s_t P + x_t A + h_{t-1} R + b)

    With a weight `alpha_logit` each context unit has its own alpha = sigma(alpha_logit).
    left_masks: of s_t before P, of h_{t-1} before R.
    """
    if "alpha_logit" in w:
        alpha = sigmoid(w["alpha_logit"])
    (x_A,) = projected(w, x, 1, normalization)
    (u_R,) = products_of(w, 1, structure, blocks, normalization)
    s_new = (1 - alpha) * (x @ w["context_kernel"]) + alpha * s
    s_P = masked(s_new, left_masks, 0) @ w["context_to_hidden_kernel"]
    return activation(s_P + x_A + u_R(masked(h, left_masks, 1))), s_new
