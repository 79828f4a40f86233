"""One-dimensional Gaussian mixtures, a batch at a time: exact answers, vectorised over rows.

Every function takes what it is asked first, and then a batch of n mixtures of K components:
``weights`` (nonnegative, each row sums to 1; a weight may be exactly 0), ``means`` and ``scales``
(standard deviations, > 0), each ``(n, K)`` float64. What is asked at points takes them in shape
``(..., n)``, or in any that broadcasts with ``(n,)``, and answers in that shape; means, scales,
points and answers that are places or distances are in the units of y. Nothing is validated here.

Examples
--------
>>> import numpy as np
>>> from skmdn.distribution import univariate
>>> mixture = np.array([[0.3, 0.7]]), np.array([[-2.0, 3.0]]), np.array([[0.5, 1.0]])
>>> univariate.cdf(univariate.ppf(1e-12, *mixture), *mixture)
array([1.e-12])
>>> intervals, counts, log_level = univariate.region(0.9, *mixture)
>>> intervals.round(3), counts
(array([[[-2.79 , -1.21 ],
        [ 1.325,  4.675]]]), array([2]))
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from ._entropy import N_NODES, find_entropy
from ._modes import find_coverage, find_modes, find_region
from ._roots import (
    BLOCK,
    SQRT_2PI,
    Array,
    Rows,
    blocks,
    columns,
    log_density,
    logsumexp,
    tail_quantile,
    without_empty,
)


def _quietly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let logarithms of 0 (empty components) and underflow far away pass without a warning.

    As a decorator itself, ``np.errstate`` is not safe in threads before NumPy 2.
    """

    @functools.wraps(function)
    def quiet(*arguments: Any, **options: Any) -> Any:
        """Do the same without warnings."""
        with np.errstate(all="ignore"):
            return function(*arguments, **options)

    return quiet


def _pointwise(kernel: Callable[..., Array], size: int = BLOCK) -> Callable[..., Array]:
    """Run ``kernel`` on blocks: points ``(L, B)``, components ``(K, 1, B)``; result ``(L, B)``."""

    @_quietly
    @functools.wraps(kernel)
    def function(*arguments: ArrayLike) -> Array:
        """Do the same for points of any shape and components ``(n, K)``."""
        *points, weights, means, scales = (np.asarray(a, np.float64) for a in arguments)
        n, n_components = weights.shape
        shape = np.broadcast_shapes((n,), *(point.shape for point in points))
        result = np.empty((int(np.prod(shape[:-1])), n))
        points = [np.broadcast_to(point, shape).reshape(result.shape) for point in points]
        leads = min(len(result), 8)
        for rows in blocks(n, n_components * leads, size):
            here = [part[:, None] for part in columns((weights, means, scales), rows)]
            for some in blocks(len(result), here[0].size, size):
                result[some, rows] = kernel(*(point[some, rows] for point in points), *here)
        return result.reshape(shape)

    return function


# Density and distribution function -------------------------------------------------------------


@_pointwise
def logpdf(y: Array, weights: Array, means: Array, scales: Array) -> Array:
    """Log-density at ``y``, in nats per unit of y."""
    return log_density(_standardise(y, means, scales), weights, scales)


@_pointwise
def cdf(y: Array, weights: Array, means: Array, scales: Array) -> Array:
    """P(Y <= y); the lower tail keeps its relative accuracy."""
    return _lower_tail(_standardise(y, means, scales), weights)


@_pointwise
def sf(y: Array, weights: Array, means: Array, scales: Array) -> Array:
    """P(Y > y); the upper tail keeps its relative accuracy."""
    return _lower_tail(_standardise(-y, -means, scales), weights)


@_pointwise
def logcdf(y: Array, weights: Array, means: Array, scales: Array) -> Array:
    """log P(Y <= y), in nats; both tails keep their relative accuracy."""
    return _log_lower_tail(_standardise(y, means, scales), weights)


@_pointwise
def logsf(y: Array, weights: Array, means: Array, scales: Array) -> Array:
    """log P(Y > y), in nats; both tails keep their relative accuracy."""
    return _log_lower_tail(_standardise(-y, -means, scales), weights)


def _standardise(y: Array, means: Array, scales: Array) -> Array:
    z = y - means
    z /= scales
    return z


def _lower_tail(z: Array, weights: Array) -> Array:
    """Sum of w Phi(z); overwrites ``z``."""
    special.ndtr(z, out=z)
    z *= weights
    return np.minimum(z.sum(axis=0), 1)


def _log_lower_tail(z: Array, weights: Array) -> Array:
    upper = _lower_tail(-z, weights)
    lower = _lower_tail(z.copy(), weights)
    result = np.where(lower < 0.5, np.log(lower), np.log1p(-upper))
    deep = lower < 1e-290  # where a component's share may have underflowed
    if deep.any():
        log_weights = np.log(np.broadcast_to(weights, z.shape)[:, deep])
        result[deep] = logsumexp(log_weights + special.log_ndtr(z[:, deep]))
    return result


@_pointwise
def probability_between(
    low: Array, high: Array, weights: Array, means: Array, scales: Array
) -> Array:
    """P(low < Y <= high) for low <= high, to full relative accuracy in tails and when narrow."""
    width, middle = (high - low) / scales, ((low - means) + (high - means)) / (2 * scales)
    below, above = _standardise(low, means, scales), _standardise(high, means, scales)
    # in the upper half, the difference of two upper tails and not of two cdfs near 1
    side = np.where(middle > 0, -1.0, 1.0)
    mass = side * (special.ndtr(side * above) - special.ndtr(side * below))
    narrow = width * (1 + np.abs(middle)) < 0.5  # where that difference would cancel
    if narrow.any():
        mass[narrow] = _narrow_mass(middle[narrow], width[narrow])
    return (weights * mass).sum(axis=0)


def _narrow_mass(middle: Array, width: Array) -> Array:
    """Probability of a narrow interval under N(0, 1): Gauss-Legendre, exact to 1e-16."""
    nodes, node_weights = np.polynomial.legendre.leggauss(6)
    total = np.zeros_like(middle)
    for node, weight in zip(nodes, node_weights, strict=True):
        total += weight * np.exp(-0.5 * (middle + 0.5 * node * width) ** 2)
    return 0.5 * width * total / SQRT_2PI


# Quantiles -------------------------------------------------------------------------------------


def ppf(q: ArrayLike, weights: Array, means: Array, scales: Array) -> Array:
    """Quantile: the y with P(Y <= y) = q; -inf where q is 0, inf where it is 1.

    Where the cdf is flat in float64, between components far apart, this is one of the points
    whose cdf is q to a few units in the last place.
    """
    q = np.asarray(q, np.float64)
    lower = q <= 0.5
    return _quantile(np.where(lower, q, 1 - q), np.where(lower, 1, -1), weights, means, scales)


def isf(q: ArrayLike, weights: Array, means: Array, scales: Array) -> Array:
    """Upper quantile: the y with P(Y > y) = q, exact also where 1 - q would round."""
    q = np.asarray(q, np.float64)
    upper = q <= 0.5
    return _quantile(np.where(upper, q, 1 - q), np.where(upper, -1, 1), weights, means, scales)


def _quantile(p: Array, side: Array, weights: Array, means: Array, scales: Array) -> Array:
    return _inside_quantile(p, side, *without_empty(weights, means, scales))


@functools.partial(_pointwise, size=4 * BLOCK)  # all roots of a block are found together
def _inside_quantile(p: Array, side: Array, weights: Array, means: Array, scales: Array) -> Array:
    here = (part[:, 0] for part in (weights, means, scales))
    y = tail_quantile(np.where(p > 0, p, 0.25), side, *here)
    return np.where(p > 0, y, np.where(p == 0, -side * np.inf, np.nan))


# Partial moments and scores --------------------------------------------------------------------


@_pointwise
def expected_improvement(best: Array, weights: Array, means: Array, scales: Array) -> Array:
    """E[max(Y - best, 0)]: the gain over ``best`` expected when y is to be maximised.

    A component gives s (phi(z) + z Phi(z)) with z = (mean - best) / s (Jones, Schonlau & Welch
    1998), here without cancellation in the far tail.
    """
    return _weighted(weights, _positive_part(means - best, scales))


@_pointwise
def lower_partial_moment(target: Array, weights: Array, means: Array, scales: Array) -> Array:
    """E[max(target - Y, 0)]: the lower partial moment of order one."""
    return _weighted(weights, _positive_part(target - means, scales))


def expected_shortfall(level: ArrayLike, weights: Array, means: Array, scales: Array) -> Array:
    """E[Y | Y <= ppf(level)]: the mean of the lower tail of probability ``level``, in (0, 1).

    As the quantile minus E[max(quantile - Y, 0)] / level (Rockafellar & Uryasev 2000), which an
    error of the quantile enters only squared.
    """
    quantile = ppf(level, weights, means, scales)
    return quantile - lower_partial_moment(quantile, weights, means, scales) / np.asarray(level)


def _weighted(weights: Array, gains: Array) -> Array:
    """Sum over components; infinitely much of nothing is nothing."""
    return (weights * np.where(weights > 0, gains, 0.0)).sum(axis=0)


def _positive_part(mean: Array, scales: Array) -> Array:
    """E[max(Y, 0)] of Y ~ N(mean, scales^2): what it is without noise, and what noise adds.

    With u = |mean| / s noise adds s (phi(u) - u Phi(-u)) = s phi(u) (1 - u R(u)), R Mills' ratio.
    """
    u = np.minimum(np.abs(mean) / scales, 40)  # where phi has underflowed
    mills_ratio = np.sqrt(np.pi / 2) * special.erfcx(u / np.sqrt(2))
    noise = np.exp(-0.5 * u * u) / SQRT_2PI * (1 - u * mills_ratio)
    return np.maximum(mean, 0) + scales * noise


def crps(y: ArrayLike, weights: Array, means: Array, scales: Array) -> Array:
    """Continuous ranked probability score of ``y``, in units of y; smaller is better.

    E|Y - y| - E|Y - Y'| / 2 in closed form (Grimit et al. 2006). The part that is left when all
    scales vanish is a sum of squares and not a difference: components far apart do not cancel.
    """
    return _distance(y, weights, means, scales) - _blur_of_pairs(weights, means, scales)


@_pointwise
def _distance(y: Array, weights: Array, means: Array, scales: Array) -> Array:
    """CRPS of the components' means as point masses, plus what their scales add to E|Y - y|.

    Point masses score the integral of (F(t) - 1{t >= y})^2, F constant between the means.
    """
    order = means.argsort(axis=0)
    weights, means, scales = (
        np.take_along_axis(p, order, axis=0) for p in (weights, means, scales)
    )
    difference = y - means
    gaps = np.diff(means, axis=0)
    left = np.clip(difference[:-1], 0, gaps)
    below = np.cumsum(weights[:-1], axis=0)
    above = np.cumsum(weights[:0:-1], axis=0)[::-1]
    result = np.maximum(-difference[0], 0) + np.maximum(difference[-1], 0)
    result += (below**2 * left + above**2 * (gaps - left)).sum(axis=0)
    return result + (weights * _blur(difference, scales)).sum(axis=0)


@_pointwise
def _blur_of_pairs(weights: Array, means: Array, scales: Array) -> Array:
    """What the components' scales add to E|Y - Y'| / 2."""
    variances = scales**2
    result = (weights**2 * scales).sum(axis=0) / np.sqrt(np.pi)
    for lag in range(1, len(weights)):
        scale = np.sqrt(variances[lag:] + variances[:-lag])
        blur = _blur(means[lag:] - means[:-lag], scale)
        result += np.einsum("kln,kln,kln->ln", weights[lag:], weights[:-lag], blur)
    return result


def _blur(distance: Array, scales: Array) -> Array:
    """E|D| - |distance| of D ~ N(distance, s^2): 2 s (phi(u) - u Phi(-u)), u = |distance| / s."""
    u = np.abs(distance)
    u /= scales
    np.minimum(u, 1e100, out=u)
    density = u * u
    density *= -0.5
    np.exp(density, out=density)
    density *= 1 / SQRT_2PI
    u *= special.ndtr(-u)
    density -= u
    density *= scales
    density *= 2
    return density


# Modes, regions, entropy -----------------------------------------------------------------------


@_quietly
def modes(
    weights: Array, means: Array, scales: Array, *, prominence: float = 0.0
) -> tuple[Array, Array, Rows]:
    """All local maxima of the density, found by isolating every root of its derivative.

    A one-dimensional Gaussian mixture has at most K. Maxima so close that the density between
    them dips by less than float64 resolves count as one. With ``prominence``, only those that
    stand out by this share of the highest density.

    Returns
    -------
    locations, log_densities : ndarray of shape (n, K)
        Ascending in location, then nan.
    counts : ndarray of shape (n,)
        How many there are.
    """
    components = without_empty(weights, means, scales)
    locations, log_densities = np.full((2, *weights.shape), np.nan)
    counts = np.empty(len(weights), np.intp)
    for some in blocks(*weights.shape):
        rows, *found = find_modes(_rows(components, some), prominence=prominence)
        place = np.arange(rows.size) - np.searchsorted(rows, rows)
        locations[some][rows, place], log_densities[some][rows, place] = found
        counts[some] = np.bincount(rows, minlength=len(counts[some]))
    return locations, log_densities, counts


@_quietly
def mode(weights: Array, means: Array, scales: Array) -> Array:
    """Where the density is highest; the lowest of such places where several tie."""
    components = without_empty(weights, means, scales)
    result = np.empty(len(weights))
    for some in blocks(*weights.shape):
        rows, locations, log_densities = find_modes(_rows(components, some), highest=True)
        best = np.lexsort((-locations, log_densities, rows))  # a row's last one stays
        result[some][rows[best]] = locations[best]
    return result


@_quietly
def region(
    coverage: ArrayLike, weights: Array, means: Array, scales: Array
) -> tuple[Array, Rows, Array]:
    """Highest-density region (Hyndman 1996): where the density is at least the level it needs.

    Parameters
    ----------
    coverage : float or array_like of shape (n,)
        Probability of the region, in (0, 1). Met to 1e-9, as far as float64 resolves the ends.
    weights, means, scales : ndarray of shape (n, K)
        The mixtures.

    Returns
    -------
    intervals : ndarray of shape (n, K, 2)
        Disjoint intervals, ascending, then nan.
    counts : ndarray of shape (n,)
        How many there are.
    log_level : ndarray of shape (n,)
        Log-density at all their ends.
    """
    components = without_empty(weights, means, scales)
    coverage = np.broadcast_to(np.asarray(coverage, np.float64), len(weights))
    ends = np.full((len(weights), 2 * weights.shape[1]), np.nan)
    log_level = np.empty(len(weights))
    for some in blocks(*weights.shape):
        found, log_level[some] = find_region(coverage[some], _rows(components, some))
        ends[some, : found.shape[1]] = found
    intervals = ends.reshape(*weights.shape, 2)
    return intervals, (~np.isnan(intervals[..., 0])).sum(axis=1), log_level


@_quietly
def region_probability(y: ArrayLike, weights: Array, means: Array, scales: Array) -> Array:
    """P(p(Y) >= p(y)): probability of the highest-density region with y on its border."""
    components = without_empty(weights, means, scales)
    levels = np.maximum(logpdf(y, weights, means, scales), -1e300)  # where the density is 0
    coverage = np.empty((int(np.prod(levels.shape[:-1])), len(weights)))
    for some in blocks(*weights.shape):
        here = levels.reshape(coverage.shape)[:, some]
        coverage[:, some] = find_coverage(here, _rows(components, some))
    return np.where(np.isnan(levels), np.nan, coverage.reshape(levels.shape))


def _rows(components: tuple[Array, ...], rows: slice) -> tuple[Array, Array, Array]:
    weights, means, scales = (part[rows] for part in components)
    return weights, means, scales


@_quietly
def entropy(weights: Array, means: Array, scales: Array, tol: float = 1e-8) -> Array:
    """Differential entropy -E[log p(Y)] in nats, to the absolute tolerance ``tol``.

    Adaptive Gauss-Legendre quadrature on intervals that no component near is narrower than.
    """
    components = without_empty(weights, means, scales)
    result = np.empty(len(weights))
    for some in blocks(len(weights), N_NODES * weights.shape[1]):
        result[some] = find_entropy(_rows(components, some), tol)
    return result
