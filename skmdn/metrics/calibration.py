"""Whether what happens is as likely as predicted mixtures say, and how much these leave open."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from skmdn.distribution.batch import check_coverage
from skmdn.distribution.density import RandomState
from skmdn.distribution.mixture import NormalMixture
from skmdn.distribution.scale import Array
from skmdn.metrics._rows import average, check_target, check_weights, per_target


def pit_values(y_true: npt.ArrayLike, mixture: NormalMixture) -> Array:
    """Probability integral transforms, cdf(y): uniform on (0, 1) where predictions are right.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, D)
        Observed targets.
    mixture : NormalMixture
        Predicted distributions, one a row.

    Returns
    -------
    ndarray of shape (n,) or (n, D)
        Probabilities; those of several targets one by one.

    Raises
    ------
    TypeError
        If the mixture is not a NormalMixture.
    ValueError
        If ``y_true`` is not finite or not shaped like the mixture.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> metrics.pit_values([0.0], NormalMixture([[1.0]], [[0.0]], [[1.0]]))
    array([0.5])
    """
    return per_target(NormalMixture.cdf, y_true, mixture)


def interval_coverage(
    y_true: npt.ArrayLike,
    mixture: NormalMixture,
    *,
    coverage: float = 0.9,
    sample_weight: npt.ArrayLike | None = None,
    aggregate: bool = True,
) -> float | Array:
    """Share of rows inside their central interval: about ``coverage`` where predictions are right.

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
        A share; of rows, 1 inside and 0 outside. Several targets are looked at one by one.

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
    >>> mixture = NormalMixture([[1.0]] * 4, [[0.0]] * 4, [[1.0]] * 4)
    >>> metrics.interval_coverage([-1.0, 0.0, 1.0, 2.0], mixture, coverage=0.9)
    0.75
    """
    tail = (1 - check_coverage(coverage)) / 2

    def inside(part: NormalMixture, y: Array) -> Array:
        """Tell without a root: ask both tails."""
        return ((part.cdf(y) >= tail) & (part.sf(y) >= tail)).astype(np.float64)

    return average(per_target(inside, y_true, mixture), sample_weight, aggregate)


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

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, D)
        Observed targets.
    mixture : NormalMixture
        Predicted distributions, one a row.
    coverage : float, default=0.9
        Probability of the regions, strictly between 0 and 1.
    sample_weight : array-like of shape (n,), default=None
        Non-negative weights of the rows, for their average.
    aggregate : bool, default=True
        Whether to average over the rows.
    n_samples : int, default=10_000
        Draws a row, where there are several targets; see `NormalMixture.region_level`.
    random_state : int, Generator, RandomState or None, default=None

    Returns
    -------
    float or ndarray of shape (n,)
        A share; of rows, 1 inside and 0 outside.

    Raises
    ------
    TypeError
        If the mixture is not a NormalMixture.
    ValueError
        If ``y_true`` is not finite or not shaped like the mixture, the coverage is not inside
        (0, 1), or ``n_samples`` of several targets is no positive integer; or, to average, if
        there are no rows, or weights are negative, not finite, all zero or not as many.

    Examples
    --------
    >>> from skmdn import NormalMixture, metrics
    >>> mixture = NormalMixture([[0.5, 0.5]] * 2, [[-5.0, 5.0]] * 2, [[1.0, 1.0]] * 2)
    >>> metrics.region_coverage([0.0, 5.0], mixture)  # 0 lies between the two intervals
    0.5
    """
    y = check_target(y_true, mixture)
    inside = mixture.in_region(y, coverage, n_samples=n_samples, random_state=random_state)
    return average(inside.astype(np.float64), sample_weight, aggregate)


def calibration_error(
    y_true: npt.ArrayLike, mixture: NormalMixture, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Area between the calibration curve and the diagonal.

    The curve of Kuleshov, Fenner & Ermon (2018, ICML) plots the share F(p) of rows below their
    predicted p-quantile against p. The area, the integral of |F(p) - p| over (0, 1), is taken
    exactly, without bins: 0 is perfect, 1/2 the worst. With n perfect predictions it is about
    0.31 / sqrt(n), the mean area under a Brownian bridge's absolute value.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, D)
        Observed targets.
    mixture : NormalMixture
        Predicted distributions, one a row.
    sample_weight : array-like of shape (n,), default=None
        Non-negative weights of the rows.

    Returns
    -------
    float
        Between 0 and 1/2; for several targets, the mean over their marginals.

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
    >>> metrics.calibration_error([0.0], NormalMixture([[1.0]], [[0.0]], [[1.0]]))
    0.25
    """
    pit = pit_values(y_true, mixture)
    weights = check_weights(sample_weight, pit)
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
    """Width of the central interval (Gneiting et al. 2007, JRSS B 69:243).

    A property of the predictions alone: ``y_true`` is there to keep one signature, and checked.

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
        In units of y; several targets one by one.

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
    >>> metrics.sharpness([0.0], NormalMixture([[1.0]], [[0.0]], [[1.0]]), coverage=0.9)
    3.28970725...
    """

    def width(part: NormalMixture, _: Array) -> Array:
        """Return each row's width for one target."""
        lower, upper = part.interval(coverage)
        return upper - lower

    return average(per_target(width, y_true, mixture), sample_weight, aggregate)
