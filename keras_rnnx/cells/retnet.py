"""Multi-scale retention, the recurrence of the retentive network (Sun et al., 2023)."""

import keras
import numpy as np
from keras import ops

from keras_rnnx.base.matrix import MatrixCell
from keras_rnnx.engine import memory, paths
from keras_rnnx.layers.rnn import CellLayer


def _rotated(a, cos, sin):
    """The pairs of the last axis of a, turned by angles of which these are cosine and sine (..., K / 2)."""
    first, second = a[..., ::2], a[..., 1::2]
    pairs = ops.stack([first * cos - second * sin, first * sin + second * cos], axis=-1)
    return ops.reshape(pairs, ops.shape(a))


class Turning(memory.ScalarDecay):
    """A memory whose keys are turned back by the angle of each chunk, so that positions count from its start."""

    @staticmethod
    def write(chunks, parts):
        """See `ScalarDecay`; and the angle of the whole chunk."""
        return {
            **memory.ScalarDecay.write(chunks, parts),
            **{name: parts[name][..., -1:, :] for name in ("cos", "sin")},
        }

    @staticmethod
    def carry(written, state):
        """See `ScalarDecay`."""
        shown, (kept,) = memory.ScalarDecay.carry(written, state)
        rows = _rotated(ops.swapaxes(kept, -1, -2), written["cos"], -written["sin"])
        return shown, [ops.swapaxes(rows, -1, -2)]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class RetNetCell(MatrixCell):
    r"""One step of multi-scale retention: a matrix memory that fades and turns, computed chunk by chunk.

    For each head j of n, with keys of size K and values of size V = H / n,
    $$ q_t = x_t W_Q, \qquad k_t = x_t W_K / \sqrt K, \qquad v_t = x_t W_V \tag{1} $$
    $$ S_t = \gamma_j \Theta^\top S_{t-1} + k_t^\top v_t, \qquad
       \gamma_j = 1 - 2^{-5 - j},\ j = 0, \dots, n - 1 \tag{2} $$
    $$ o_t = q_t S_t \tag{3} $$
    and for all heads side by side
    $$ y_t = \bigl(\mathrm{swish}(x_t W_G)
       \odot [\mathrm{GN}(o_t^0), \dots, \mathrm{GN}(o_t^{n-1})]\bigr) W_O \tag{4} $$

    \(\Theta\) turns the pairs (2p, 2p + 1) of the K rows of S: \(\Theta (a, b) = (a \cos\theta_p - b \sin\theta_p,\,
    a \sin\theta_p + b \cos\theta_p)\). This is the paper's first form, \(s_t = A s_{t-1} + k_t^\top v_t\) with
    \(A = \gamma e^{i \theta}\) diagonal, in real numbers; equally, q and k of step t are turned by \(\Theta^t\) and S
    only fades:
    $$ o_t = \sum_{s \le t} \gamma_j^{t - s}\, (\Theta^t q_t \cdot \Theta^s k_s)\, v_s . $$
    As S is kept relative to the present, no position is counted, and none loses precision. Masked steps do not turn.
    \(\theta_p = 10000^{-p / (K/2 - 1)}\), as in the authors' code (1 for K = 2). GN divides each head by its standard
    deviation, the mean taken off, with 1e-5 beside the variance; it has no weights, as in the authors' code.

    Differs from the paper: of its three normalizations of the scores only that by \(\sqrt K\) is here; GN cancels the
    others. The paper's language models have V = 2 K.

    Args:
        units: int > 0, H.
        use_bias: bool, whether q, k (divided by the root, too), v and the gate have a bias. Default False.
        heads: int > 0, n, that divides `units`. Default 1.
        key_units: even int > 0, K. Default: H / heads.
        **kwargs: see `ProjectingCell`. There is no `learn_initial_state`.

    Inputs and outputs: inputs (B, D), state [S (B, n, K, V)] -> output y (B, H), new state. S is the paper's s in
        s_t = A s_{t-1} + k_t^T v_t, in real numbers: its rows 2p and 2p + 1 turn and fade at each step. At a masked
        step before any valid one of the document y is zero.
    Weights: kernel (D, 2 n K + 2 H: q k v g), bias of as many, if any; head by head within each; output_kernel (H, H),
        W_O.
    Cost per step: 2 B D times the columns of the kernel and 2 B H H beside the recurrence, in chunks of L steps about
        2 B n (L K + L V + 2 K V) flops in it.
    Raises:
        ValueError: if an argument is out of range, or with `learn_initial_state`.
    Reference: Y. Sun et al., Retentive network: a successor to transformer for large language models, 2023,
        arXiv:2307.08621.
    """

    GATES, STATES = "q k v g", "S"
    MEMORY = Turning

    def __init__(self, units, use_bias=False, *, heads=1, key_units=None, **kwargs):
        super().__init__(units, use_bias=use_bias, heads=heads, key_units=key_units, **kwargs)
        if self.keys % 2:
            raise ValueError(f"Expected an even `key_units`, whose pairs are turned. Received: key_units={self.keys}")

    def columns(self):
        """The widths of q, k, v and g."""
        keys = self.heads * self.keys
        return {"q": keys, "k": keys, "v": self.units, "g": self.units}

    def build_own(self, width):
        """The bias, and the weights of the output."""
        super().build_own(width)
        self.build_output(gain=False)

    def inputs(self, a):
        """Equation (1), the decay in (2), the gate in (4), and how far each step turns."""
        q, k = (self.in_heads(a[name], self.keys) for name in ("q", "k"))
        step = ops.ones_like(q[..., 0])
        decay = np.log1p(-(2.0 ** (-5 - np.arange(self.heads))))
        parts = {"q": q, "k": k * self.keys**-0.5, "v": self.in_heads(a["v"], self.values)}
        parts |= {"log_decay": step * ops.convert_to_tensor(decay, step.dtype), "turn": step}
        return parts, ops.silu(a["g"])

    def in_chunk(self, parts):
        """q and k turned by their position, counted from the start of the chunk."""
        position = ops.cumsum(ops.cast(parts["turn"], "int32"), axis=-1)
        # From tables: Keras' cosine of float64 is one of float32 on JAX.
        angles = np.arange(paths.MEMORY_CHUNK + 1)[:, None] * 10000.0 ** -np.linspace(0.0, 1.0, self.keys // 2)
        tables = [ops.convert_to_tensor(f(angles), parts["q"].dtype) for f in (np.cos, np.sin)]
        cos, sin = (ops.take(table, position, axis=0) for table in tables)  # (N, B, heads, L, K / 2)
        return {**parts, **{name: _rotated(parts[name], cos, sin) for name in ("q", "k")}, "cos": cos, "sin": sin}

    def readout(self, y, beside):
        """Equation (4)."""
        return self.projected_output(beside * self.normed(y, centered=True))


@keras.saving.register_keras_serializable(package="keras_rnnx")
class RetNet(CellLayer):
    """The layer of multi-scale retention.

    Equations and cell arguments: `RetNetCell`. Layer arguments and call: `RNN`.
    """

    CELL = RetNetCell
