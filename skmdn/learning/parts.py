"""The score of several targets as a sum of parts, one of each: log p(y_d | y_1, ..., y_d-1, x)."""

from __future__ import annotations

import numpy as np

from .arrays import Array, namespace, softmax
from .loss import HALF_LOG_2PI, MixtureLoss
from .noise import regressions


def n_parts(loss: MixtureLoss) -> int:
    """Return how many parts have raw outputs of their own: one of each target, or all in one."""
    return loss.n_targets if loss.noise.per_target else 1


def outputs_of(loss: MixtureLoss, target: int) -> np.ndarray:
    """Return which raw outputs tell of one target alone."""
    which = np.arange(loss.n_outputs).reshape(1, -1, 1)
    _, locations, variances, couplings, _ = loss.split(which)
    own = [locations[:, :, target], variances[:, :, target]]
    rows = dict(regressions(loss.n_targets if couplings.shape[2] else 1))
    if target in rows:
        own.append(couplings[:, :, rows[target]])
    return np.concatenate([part.ravel() for part in own])


def target_log_densities(loss: MixtureLoss, raw: Array, y: Array, factor: float) -> Array:
    """Return the log-density of each target, given x and the targets before it, in nats.

    Parameters
    ----------
    loss : MixtureLoss
    raw : array of shape (E, P, B)
    y : array of shape (E, D, B)
    factor : float
        What variances are multiplied by.

    Returns
    -------
    array of shape (E, D, B)
        Their sum over the targets is `MixtureLoss.log_density`.
    """
    xp = namespace(raw)
    logits, terms_at, _ = loss.terms(raw, y)
    terms = terms_at(factor)
    if loss.still is not None:
        squares = (y[:, None] - loss.still.means) ** 2 / loss.still.variances
        terms = xp.concatenate([terms, squares + xp.log(loss.still.variances)], axis=1)
    of_first = softmax(logits[:, :, None] - 0.5 * terms.cumsum(2))[1]
    of_first = of_first - softmax(logits)[1][:, None]
    others = of_first[:, 1:] - of_first[:, :-1]
    return xp.concatenate([of_first[:, :1], others], axis=1) - HALF_LOG_2PI
