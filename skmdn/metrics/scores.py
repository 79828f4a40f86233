"""Scores of predicted mixtures: what a row is worth, and its weighted mean over rows.

All take what `negative_log_likelihood` takes, and raise what it raises.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import assert_all_finite

from skmdn.distribution.batch import (
    as_floats,
    broadcast,
    check_coverage,
    check_probability,
    weighted_mean,
)
from skmdn.distribution.density import RandomState
from skmdn.distribution.mixture import NormalMixture
from skmdn.distribution.scale import Array


def negative_log_likelihood(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
) -> float | Array:
    """Minus the joint log-density of the targets.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, D)
        Observed targets.
    mixture : NormalMixture
        Predicted distributions, one a row.
    sample_weight : array-like of shape (n,), default=None
        Non-negative weights of the rows.
    aggregate : bool, default=True
        Whether to average over the rows.

    Returns
    -------
    float or ndarray of shape (n,)
        In nats.

    Raises
    ------
    TypeError
        If the mixture is none.
    ValueError
        If ``y_true`` is not finite or not shaped like the mixture, or weights are negative, all
        zero or of another number.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> mixture = NormalMixture([[1.0], [1.0]], [[0.0], [0.0]], [[1.0], [1.0]])
    >>> metrics.negative_log_likelihood([0.0, 1.0], mixture, aggregate=False)
    array([0.91893853, 1.41893853])
    """
    y = check_target(y_true, mixture)
    return _average(-mixture.logpdf(y), sample_weight, aggregate)


def crps(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
) -> float | Array:
    """Continuous ranked probability score, exact, in units of y (Gneiting & Raftery 2007).

    Parameters and returned values are those of `negative_log_likelihood`, with the rows' values
    (n, D) for several targets.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> metrics.crps([0.0], NormalMixture([[1.0]], [[0.0]], [[1.0]]))
    0.23369497...
    """
    return _average(_per_target(NormalMixture.crps, y_true, mixture), sample_weight, aggregate)


def energy_score(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
    n_samples: int | None = None,
    random_state: RandomState = None,
) -> float | Array:
    """Energy score of all targets together, in units of y; the CRPS for one target.

    Exact, or by the same draws each time where targets are on grids, unless ``n_samples`` asks for
    draws: see `NormalMixture.energy_score`. The other parameters are those of
    `negative_log_likelihood`.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> mixture = NormalMixture([[1.0]], [[[0.0, 0.0]]], [[[[1.0, 0.0], [0.0, 1.0]]]])
    >>> metrics.energy_score([[3.0, 4.0]], mixture)
    4.21484271...
    """
    y = check_target(y_true, mixture)
    scores = mixture.energy_score(y, n_samples=n_samples, random_state=random_state)
    return _average(np.asarray(scores), sample_weight, aggregate)


def interval_score(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    coverage: float = 0.9,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
) -> float | Array:
    """Winkler's score of the central interval: its width, and 2/(1 - coverage) times any miss.

    In units of y (Winkler 1972, JASA 67:187; Gneiting & Raftery 2007, JASA 102:359). Parameters
    are those of `negative_log_likelihood` and ``coverage``, strictly between 0 and 1.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> metrics.interval_score([0.0], NormalMixture([[1.0]], [[0.0]], [[1.0]]), coverage=0.9)
    3.28970725...
    """

    def score(part: NormalMixture, y: Array) -> Array:
        """Return each row's score of one target."""
        lower, upper = part.interval(coverage)
        miss = np.maximum(lower - y, 0) + np.maximum(y - upper, 0)
        return upper - lower + 2 / (1 - coverage) * miss

    return _average(_per_target(score, y_true, mixture), sample_weight, aggregate)


def pinball_loss(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    quantile: float = 0.5,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
) -> float | Array:
    """Pinball (quantile) loss of one predicted quantile, in units of y.

    Half the absolute error of the median at the default. Parameters are those of
    `negative_log_likelihood` and ``quantile``, strictly between 0 and 1.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> metrics.pinball_loss([3.0], NormalMixture([[1.0]], [[0.0]], [[1.0]]), quantile=0.5)
    1.5
    """
    checked = check_probability("quantile", quantile)
    if checked.ndim > 0:
        raise ValueError(f"quantile must be one number; got {quantile!r:.60}")
    quantile = float(checked)

    def loss(part: NormalMixture, y: Array) -> Array:
        """Return each row's loss of one target."""
        excess = y - part.ppf(quantile)
        return np.maximum(quantile * excess, (quantile - 1) * excess)

    return _average(_per_target(loss, y_true, mixture), sample_weight, aggregate)


def pit_values(y_true: npt.ArrayLike, mixture: NormalMixture) -> Array:
    """Probability integral transforms, cdf(y): uniform on (0, 1) where predictions are right.

    Takes ``y_true`` (n,) or (n, D) and a mixture; returns an array of y's shape.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> metrics.pit_values([0.0], NormalMixture([[1.0]], [[0.0]], [[1.0]]))
    array([0.5])
    """
    return _per_target(NormalMixture.cdf, y_true, mixture)


def interval_coverage(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    coverage: float = 0.9,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
) -> float | Array:
    """Share of rows inside their central interval: about ``coverage`` where predictions are right.

    Parameters are those of `negative_log_likelihood` and ``coverage``, strictly between 0 and 1;
    rows' values are 1 inside and 0 outside.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> mixture = NormalMixture([[1.0]] * 4, [[0.0]] * 4, [[1.0]] * 4)
    >>> metrics.interval_coverage([-1.0, 0.0, 1.0, 2.0], mixture, coverage=0.9)
    0.75
    """
    tail = (1 - check_coverage(coverage)) / 2

    def inside(part: NormalMixture, y: Array) -> Array:
        """Tell without a root: ask both tails."""
        return ((part.cdf(y) >= tail) & (part.sf(y) >= tail)).astype(np.float64)

    return _average(_per_target(inside, y_true, mixture), sample_weight, aggregate)


def region_coverage(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    coverage: float = 0.9,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
    n_samples: int = 10_000,
    random_state: RandomState = None,
) -> float | Array:
    """Share of rows inside their joint highest-density region; see `NormalMixture.in_region`.

    Parameters are those of `negative_log_likelihood` and `NormalMixture.region_level`; rows'
    values are 1 inside and 0 outside, (n,) for any number of targets.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> mixture = NormalMixture([[0.5, 0.5]] * 2, [[-5.0, 5.0]] * 2, [[1.0, 1.0]] * 2)
    >>> metrics.region_coverage([0.0, 5.0], mixture)  # 0 lies between the two intervals
    0.5
    """
    y = check_target(y_true, mixture)
    inside = mixture.in_region(y, coverage, n_samples=n_samples, random_state=random_state)
    return _average(inside.astype(np.float64), sample_weight, aggregate)


def calibration_error(
    y_true: npt.ArrayLike, mixture: NormalMixture, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Area between the calibration curve and the diagonal.

    The curve of Kuleshov, Fenner & Ermon (2018, ICML) plots the share F(p) of rows below their
    predicted p-quantile against p. The area, the integral of |F(p) - p| over (0, 1), is taken
    exactly, without bins: 0 is perfect, 1/2 the worst. With n perfect predictions it is about
    0.4 / sqrt(n). For several targets, the mean over their marginals.

    Parameters are those of `negative_log_likelihood`, but ``aggregate``; returns a float.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> metrics.calibration_error([0.0], NormalMixture([[1.0]], [[0.0]], [[1.0]]))
    0.25
    """
    pit = pit_values(y_true, mixture)
    weights = _check_weights(sample_weight, pit)
    weights = weights / weights.max()  # sums of huge ones would overflow
    columns = pit.reshape(len(pit), -1).T
    return float(np.mean([_area_off_diagonal(column, weights) for column in columns]))


def _area_off_diagonal(pit: Array, weights: Array) -> float:
    """The integral of |F(p) - p|, for the step function F that jumps at the values by weights."""
    order = pit.argsort()
    edges = np.concatenate([[0.0], pit[order], [1.0]])
    height = np.concatenate([[0.0], np.cumsum(weights[order]) / weights.sum()])
    above, below = edges[1:] - height, edges[:-1] - height
    return float((above * np.abs(above) - below * np.abs(below)).sum() / 2)


def sharpness(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    coverage: float = 0.9,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
) -> float | Array:
    """Width of the central interval, in units of y (Gneiting et al. 2007, JRSS B 69:243).

    A property of the predictions alone: ``y_true`` is there to keep one signature, and checked.
    The parameters are those of `interval_score`.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> metrics.sharpness([0.0], NormalMixture([[1.0]], [[0.0]], [[1.0]]), coverage=0.9)
    3.28970725...
    """

    def width(part: NormalMixture, _: Array) -> Array:
        """Return each row's width for one target."""
        lower, upper = part.interval(coverage)
        return upper - lower

    return _average(_per_target(width, y_true, mixture), sample_weight, aggregate)


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


def _per_target(
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


def _average(scores: Array, sample_weight: npt.ArrayLike | None, aggregate: bool) -> float | Array:
    if not aggregate:
        return scores
    weights = _check_weights(sample_weight, scores)
    return float(np.mean(weighted_mean(scores, weights)))


def _check_weights(sample_weight: npt.ArrayLike | None, rows: Array) -> Array:
    if len(rows) == 0:
        raise ValueError("y_true has no rows, and their mean score is not defined")
    given = 1.0 if sample_weight is None else sample_weight
    weights = broadcast("sample_weight", given, rows.shape[:1])
    if (weights < 0).any() or not weights.any():
        raise ValueError("sample_weight must be non-negative and not all zero")
    return weights
