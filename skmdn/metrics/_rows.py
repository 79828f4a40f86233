"""What all scores do: check the targets, ask each of several, average over the rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import assert_all_finite

from skmdn.distribution.batch import as_floats, broadcast, weighted_mean
from skmdn.distribution.mixture import NormalMixture
from skmdn.distribution.scale import Array


def check_target(y_true: npt.ArrayLike, mixture: NormalMixture) -> Array:
    """Return y_true as finite floats of the mixture's shape; one target may be a column or not."""
    if not isinstance(mixture, NormalMixture):
        kind = type(mixture).__name__
        raise TypeError(f"mixture must be a NormalMixture, of predict_mixture say; got {kind}")
    y = as_floats("y_true", y_true)
    expected = (len(mixture), *mixture.means.shape[2:])
    if mixture.n_targets == 1 and y.shape in ((len(mixture),), (len(mixture), 1)):
        y = y.reshape(expected)
    if y.shape != expected:
        raise ValueError(f"y_true must have the mixture's shape {expected}; got {y.shape}")
    assert_all_finite(y, input_name="y_true")
    return y


def per_target(
    question: Callable[[NormalMixture, Array], Array],
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
) -> Array:
    """Ask a mixture of a 1-D y, or each marginal: (n,) or (n, D)."""
    y = check_target(y_true, mixture)
    if y.ndim == 1:
        return question(mixture, y)
    columns = [question(mixture.marginal(d), y[:, d]) for d in range(y.shape[1])]
    return np.stack(columns, axis=1)


def average(scores: Array, sample_weight: npt.ArrayLike | None, aggregate: bool) -> float | Array:
    """Return rows' scores (n,) or (n, D), or their weighted mean."""
    if not aggregate:
        return scores
    weights = check_weights(sample_weight, scores)
    return float(np.mean(weighted_mean(scores, weights)))


def check_weights(sample_weight: npt.ArrayLike | None, rows: Array) -> Array:
    """Return weights (n,) of rows that have a mean."""
    if len(rows) == 0:
        raise ValueError("y_true has no rows, and their mean score is not defined")
    given = 1.0 if sample_weight is None else sample_weight
    weights = broadcast("sample_weight", given, rows.shape[:1])
    if (weights < 0).any() or not weights.any():
        raise ValueError("sample_weight must be non-negative and not all zero")
    return weights
