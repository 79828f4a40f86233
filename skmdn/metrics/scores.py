"""Proper scores of predicted mixtures: smallest, on average, where predictions are right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from skmdn.distribution.batch import check_probability
from skmdn.distribution.density import RandomState
from skmdn.distribution.mixture import NormalMixture
from skmdn.distribution.scale import Array
from skmdn.metrics._rows import average, check_target, per_target


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
        Non-negative weights of the rows, for their average.
    aggregate : bool, default=True
        Whether to average over the rows.

    Returns
    -------
    float or ndarray of shape (n,)
        In nats.

    Raises
    ------
    TypeError
        If the mixture is not a NormalMixture.
    ValueError
        If ``y_true`` is not finite or not shaped like the mixture; or, to average, if it has no
        rows, or weights are negative, not finite, all zero or not as many.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> mixture = NormalMixture([[1.0], [1.0]], [[0.0], [0.0]], [[1.0], [1.0]])
    >>> metrics.negative_log_likelihood([0.0, 1.0], mixture, aggregate=False)
    array([0.91893853, 1.41893853])
    """
    y = check_target(y_true, mixture)
    return average(-mixture.logpdf(y), sample_weight, aggregate)


def crps(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
) -> float | Array:
    """Continuous ranked probability score, exact (Gneiting & Raftery 2007, JASA 102:359).

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, D)
        Observed targets.
    mixture : NormalMixture
        Predicted distributions, one a row.
    sample_weight : array-like of shape (n,), default=None
        Non-negative weights of the rows, for their average.
    aggregate : bool, default=True
        Whether to average over the rows.

    Returns
    -------
    float, or ndarray of shape (n,) or (n, D)
        In units of y; several targets are scored one by one.

    Raises
    ------
    TypeError
        If the mixture is not a NormalMixture.
    ValueError
        If ``y_true`` is not finite or not shaped like the mixture; or, to average, if it has no
        rows, or weights are negative, not finite, all zero or not as many.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> metrics.crps([0.0], NormalMixture([[1.0]], [[0.0]], [[1.0]]))
    0.23369497...
    """
    return average(per_target(NormalMixture.crps, y_true, mixture), sample_weight, aggregate)


def energy_score(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
    n_samples: int | None = None,
    random_state: RandomState = None,
) -> float | Array:
    """Energy score of all targets together; the CRPS for one target (Gneiting & Raftery 2007).

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, D)
        Observed targets.
    mixture : NormalMixture
        Predicted distributions, one a row.
    sample_weight : array-like of shape (n,), default=None
        Non-negative weights of the rows, for their average.
    aggregate : bool, default=True
        Whether to average over the rows.
    n_samples : int, default=None
        Pairs of draws a row to average over. None is exact, but where some of several targets are
        on grids: there it is 1,000 pairs, the same each time. See `NormalMixture.energy_score`.
    random_state : int, Generator, RandomState or None, default=None

    Returns
    -------
    float or ndarray of shape (n,)
        In units of y.

    Raises
    ------
    TypeError
        If the mixture is not a NormalMixture.
    ValueError
        If ``y_true`` is not finite or not shaped like the mixture, or ``n_samples`` of several
        targets is no positive integer; or, to average, if there are no rows, or weights are
        negative, not finite, all zero or not as many.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> mixture = NormalMixture([[1.0]], [[[0.0, 0.0]]], [[[[1.0, 0.0], [0.0, 1.0]]]])
    >>> metrics.energy_score([[3.0, 4.0]], mixture)
    4.21484271...
    """
    y = check_target(y_true, mixture)
    scores = mixture.energy_score(y, n_samples=n_samples, random_state=random_state)
    return average(np.asarray(scores), sample_weight, aggregate)


def interval_score(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    coverage: float = 0.9,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
) -> float | Array:
    """Winkler's score of the central interval: its width, and 2/(1 - coverage) times any miss.

    Winkler (1972, JASA 67:187), Gneiting & Raftery (2007, JASA 102:359).

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, D)
        Observed targets.
    mixture : NormalMixture
        Predicted distributions, one a row.
    coverage : float, default=0.9
        Probability of the intervals, strictly between 0 and 1.
    sample_weight : array-like of shape (n,), default=None
        Non-negative weights of the rows, for their average.
    aggregate : bool, default=True
        Whether to average over the rows.

    Returns
    -------
    float, or ndarray of shape (n,) or (n, D)
        In units of y; several targets are scored one by one.

    Raises
    ------
    TypeError
        If the mixture is not a NormalMixture.
    ValueError
        If ``y_true`` is not finite or not shaped like the mixture, or the coverage is not inside
        (0, 1); or, to average, if there are no rows, or weights are negative, not finite, all
        zero or not as many.

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

    return average(per_target(score, y_true, mixture), sample_weight, aggregate)


def pinball_loss(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    quantile: float = 0.5,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
) -> float | Array:
    """Pinball (quantile) loss of one predicted quantile.

    Half the absolute error of the median at the default.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, D)
        Observed targets.
    mixture : NormalMixture
        Predicted distributions, one a row.
    quantile : float, default=0.5
        Its level, strictly between 0 and 1.
    sample_weight : array-like of shape (n,), default=None
        Non-negative weights of the rows, for their average.
    aggregate : bool, default=True
        Whether to average over the rows.

    Returns
    -------
    float, or ndarray of shape (n,) or (n, D)
        In units of y; several targets are scored one by one.

    Raises
    ------
    TypeError
        If the mixture is not a NormalMixture.
    ValueError
        If ``y_true`` is not finite or not shaped like the mixture, or the quantile is not a
        number inside (0, 1); or, to average, if there are no rows, or weights are negative, not
        finite, all zero or not as many.

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

    return average(per_target(loss, y_true, mixture), sample_weight, aggregate)
