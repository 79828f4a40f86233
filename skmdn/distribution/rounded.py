"""Components rounded to grids: where some of several targets have a few values alone.

Given the component, such a target is independent of all others, and how likely its values are is
told by a logistic distribution cut into cells, one for each value: with location m and scale s,

    P(value) = S((upper end - m) / s) - S((lower end - m) / s),    S(x) = 1 / (1 + exp(-x)).

At each value the density is a narrow normal one, so that all questions about densities have an
answer. The other targets, and components that are not rounded, are as a normal scale has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit, log_ndtr, ndtr, ndtri

from skmdn.distribution.scale import LOG_2PI, Array, Diagonal, Scale, concatenate

#: Least share of a cell on either side of a draw: it lies no farther from its value than the
#: quantile of that.
_INSIDE = 1e-12


class Grid(NamedTuple):
    """The values of one target.

    Attributes
    ----------
    values : ndarray of shape (A,)
        In ascending order.
    ends : ndarray of shape (A + 1,)
        Where the cells of the logistic distribution end, the outermost at infinity.
    sd : float
        Standard deviation of the normal distribution at each value.
    """

    values: Array
    ends: Array
    sd: float

    def nearest(self, y: Array) -> np.ndarray:
        """Return the positions of the values nearest to y."""
        return np.searchsorted(0.5 * (self.values[1:] + self.values[:-1]), y)

    def logpdf(self, y: Array, location: Array, steepness: Array) -> Array:
        """Log-density at y (..., n, 1) of components that have these m and 1 / s, (n, K)."""
        k = self.nearest(y)
        z = (y - self.values[k]) / self.sd
        n_sets = math.prod(y.shape[:-2])
        if n_sets > len(self.values):  # many draws: each value's share is found once
            ends = self.ends[:, None, None]
            of_values = _log_share(ends[:-1], ends[1:], location, steepness)
            share = of_values[k[..., 0], np.arange(len(location))]
        else:
            share = _log_share(self.ends[k], self.ends[k + 1], location, steepness)
        with np.errstate(over="ignore"):
            return np.asarray(share - 0.5 * (z * z + LOG_2PI) - np.log(self.sd))

    def entropy(self, location: Array, steepness: Array) -> Array:
        """Differential entropy of components, shape (...)."""
        entropy = np.full(location.shape, 0.5 * (1.0 + LOG_2PI) + np.log(self.sd))
        for lower, upper in zip(self.ends[:-1], self.ends[1:], strict=True):
            share = _log_share(lower, upper, location, steepness)
            entropy -= np.exp(share) * np.maximum(share, -1e3)  # 0 log 0 is 0
        return entropy

    def likeliest(self, location: Array, steepness: Array) -> Array:
        """The value that has the largest share of each component, shape (...)."""
        shares = np.full(location.shape, -np.inf)
        value = np.full(location.shape, self.values[0])
        for k, ends in enumerate(zip(self.ends[:-1], self.ends[1:], strict=True)):
            share = _log_share(*ends, location, steepness)
            value[share > shares] = self.values[k]
            shares = np.maximum(share, shares)
        return value

    def draw(self, z: Array, location: Array, steepness: Array) -> Array:
        """Draws (...) that standard normal numbers turn into.

        They choose a cell, inverting the cdf, and where in their cell they lie is where the draw
        lies about its value.
        """
        latent = location + (log_ndtr(z) - log_ndtr(-z)) / steepness
        k = np.searchsorted(self.ends[1:-1], latent)
        lower, upper = (expit((self.ends[at] - location) * steepness) for at in (k, k + 1))
        with np.errstate(invalid="ignore", divide="ignore"):  # a cell too narrow for its cdf
            inside = np.nan_to_num((ndtr(z) - lower) / (upper - lower), nan=0.5)
        return np.asarray(self.values[k] + self.sd * ndtri(inside.clip(_INSIDE, 1.0 - _INSIDE)))

    def shares(self, weights: Array, location: Array, steepness: Array) -> Array:
        """Probabilities (n, A) of the values in mixtures of components (n, K)."""
        ends = [
            (weights * expit((end - location) * steepness)).sum(axis=1) for end in self.ends[1:-1]
        ]
        below = np.stack([np.zeros(len(weights)), *ends, weights.sum(axis=1)], axis=1)
        return np.diff(below, axis=1).clip(0.0)


class Rounded:
    """Components of which some targets are rounded.

    Parameters
    ----------
    scale : Diagonal or Triangular
        Of all targets, by the moments of those that are rounded, which are uncorrelated.
    grids : mapping of int to Grid
        Of the G targets that are.
    location, steepness : ndarray of shape (..., G)
        m and 1 / s of each component; a steepness of zero is that of one which is not rounded.
    """

    __slots__ = ("grids", "location", "scale", "steepness")

    def __init__(self, scale: Scale, grids: Mapping[int, Grid], location: Array, steepness: Array):
        self.scale, self.grids = scale, grids
        self.location, self.steepness = location, steepness

    def __getitem__(self, index: Any) -> Rounded:
        """Index the leading axes."""
        parts = self.location[index], self.steepness[index]
        return Rounded(self.scale[index], self.grids, *parts)

    def broadcast_to(self, leading: tuple[int, ...]) -> Rounded:
        """Broadcast the leading axes to this shape, without a copy."""
        shape = (*leading, len(self.grids))
        parts = (np.broadcast_to(part, shape) for part in (self.location, self.steepness))
        return Rounded(self.scale.broadcast_to(leading), self.grids, *parts)

    def numbers(self) -> Array:
        """All it holds, but the grids."""
        return np.concatenate([self.scale.numbers(), self.location, self.steepness], axis=-1)

    def standard_deviations(self) -> Array:
        """Of each target, shape (..., D)."""
        return self.scale.standard_deviations()

    def covariances(self) -> Array:
        """Covariance matrices, shape (..., D, D)."""
        return self.scale.covariances()

    def logpdf(self, points: Array, means: Array) -> Array:
        """Log-density at points (..., D) of components of such means."""
        dims = range(means.shape[-1])
        logpdf = self.scale.logpdf(self._of_others(points - means, dims), 0.0)
        return np.asarray(logpdf + self._of_grids(points, dims))

    def entropy(self) -> Array:
        """Differential entropy, shape (...)."""
        entropy, sds = self.scale.entropy(), self.standard_deviations()
        for d, grid, is_rounded, *cells in self._rounded():
            normal = 0.5 * (1.0 + LOG_2PI) + np.log(sds[..., d])
            entropy = entropy + np.where(is_rounded, grid.entropy(*cells) - normal, 0.0)
        return entropy

    def draw(self, z: Array, means: Array) -> Array:
        """Draws that standard normal z (..., D) turn into."""
        y = self.scale.draw(z, means)
        for d, grid, is_rounded, *cells in self._rounded():
            y[..., d] = np.where(is_rounded, grid.draw(z[..., d], *cells), y[..., d])
        return y

    def exact(self, free: Array) -> Rounded:
        """The same with no width where ``free`` is zero, and none about values."""
        grids = {d: grid._replace(sd=0.0) for d, grid in self.grids.items()}
        return Rounded(self.scale.exact(free), grids, self.location, self.steepness)

    def likeliest(self, means: Array) -> Array:
        """Where components of such means (..., D) are densest."""
        points = means.copy()
        for d, grid, is_rounded, *cells in self._rounded():
            points[..., d] = np.where(is_rounded, grid.likeliest(*cells), points[..., d])
        return points

    def on_grids(self, points: Array) -> Array:
        """Points (..., D) with the values of grids in place of what is drawn about these."""
        points = points.copy()
        for d, grid in self.grids.items():
            value = grid.values[grid.nearest(points[..., d])]
            is_about = np.abs(points[..., d] - value) <= -ndtri(_INSIDE) * grid.sd
            points[..., d] = np.where(is_about, value, points[..., d])
        return points

    def marginal(self, dims: Sequence[int]) -> ComponentScale:
        """The scale of y[dims], in that order."""
        return self._with(self.scale.marginal(dims), dims)

    def condition(
        self, dims: Sequence[int], rest: Sequence[int], points: Array, means: Array
    ) -> tuple[Array, Array, ComponentScale]:
        """What knowing y[dims] says of y[rest]; see `Diagonal.condition`."""
        residual = self._of_others(points - means, dims)
        logpdf, shift, scale = self.scale.condition(dims, rest, residual, 0.0)
        return logpdf + self._of_grids(points, dims), shift, self._with(scale, rest)

    def split(self, weights: Array, means: Array) -> tuple[Array, Array, Diagonal]:
        """Weights, means and scale of one target's mixtures with a component for each value.

        Components (n, K) that are not rounded come first.
        """
        ((_, grid, is_rounded, *cells),) = self._rounded()
        plain = ~is_rounded.all(axis=0)
        shares = grid.shares(weights * is_rounded, *cells)
        values = np.broadcast_to(grid.values, shares.shape)
        sds = np.full(shares.shape, grid.sd)
        own = (weights * ~is_rounded, means[..., 0], self.standard_deviations()[..., 0])
        parts = [
            np.concatenate([part[:, plain], of_values], axis=1)
            for part, of_values in zip(own, (shares, values, sds), strict=True)
        ]
        return parts[0], parts[1][..., None], Diagonal(parts[2][..., None])

    def _with(self, scale: Scale, dims: Sequence[int]) -> ComponentScale:
        """Join a scale of y[dims] with what is rounded of these."""
        found = list(self.grids)
        kept = [d for d in dims if d in self.grids]
        if not kept:
            return scale
        grids = {i: self.grids[d] for i, d in enumerate(dims) if d in self.grids}
        at = [found.index(d) for d in kept]
        return Rounded(scale, grids, self.location[..., at], self.steepness[..., at])

    def _rounded(self) -> Iterator[tuple[int, Grid, npt.NDArray[np.bool_], Array, Array]]:
        """Yield targets that are rounded, their grid, which components are, and m and 1 / s.

        Of components that are not, the latter say nothing.
        """
        for i, (d, grid) in enumerate(self.grids.items()):
            is_rounded = self.steepness[..., i] > 0
            steepness = np.where(is_rounded, self.steepness[..., i], 1.0)
            yield d, grid, is_rounded, self.location[..., i], steepness

    def _of_others(self, residual: Array, dims: Sequence[int]) -> Array:
        """The residual (..., len(dims)) of y[dims] that is left where nothing is rounded."""
        residual = residual.copy()
        for d, _, is_rounded, *_ in self._rounded():
            if d in dims:
                at = list(dims).index(d)
                residual[..., at] = np.where(is_rounded, 0.0, residual[..., at])
        return residual

    def _of_grids(self, points: Array, dims: Sequence[int]) -> Array:
        """What is rounded adds to the log-density of residuals `_of_others`."""
        found, sds = np.zeros(1), self.standard_deviations()
        for d, grid, is_rounded, *cells in self._rounded():
            if d in dims:
                own = grid.logpdf(points[..., list(dims).index(d)], *cells)
                normal = np.log(sds[..., d]) + 0.5 * LOG_2PI  # which a residual of zero leaves
                found = found + np.where(is_rounded, own + normal, 0.0)
        return found


#: What the components of a mixture may be like.
ComponentScale: TypeAlias = Scale | Rounded


def join(scales: Sequence[ComponentScale], axis: int) -> ComponentScale:
    """Join along a leading axis; components that are not rounded may join ones that are.

    Raises
    ------
    ValueError
        If some are rounded to other grids than others.
    """
    grids = next((scale.grids for scale in scales if isinstance(scale, Rounded)), None)
    if grids is None:
        return concatenate([s for s in scales if not isinstance(s, Rounded)], axis)
    parts = [_as_rounded(scale, grids) for scale in scales]
    if not all(_are_equal(part.grids, grids) for part in parts):
        raise ValueError("mixtures must be rounded to the same grids")
    scale = concatenate([part.scale for part in parts], axis)
    location = np.concatenate([part.location for part in parts], axis)
    steepness = np.concatenate([part.steepness for part in parts], axis)
    return Rounded(scale, grids, location, steepness)


def _as_rounded(scale: ComponentScale, grids: Mapping[int, Grid]) -> Rounded:
    if isinstance(scale, Rounded):
        return scale
    none = np.zeros((*scale.standard_deviations().shape[:-1], len(grids)))
    return Rounded(scale, grids, none, none)


def _are_equal(some: Mapping[int, Grid], others: Mapping[int, Grid]) -> bool:
    if some.keys() != others.keys():
        return False
    pairs = ((some[d], others[d]) for d in some)
    return all(
        one.sd == other.sd
        and np.array_equal(one.values, other.values)
        and np.array_equal(one.ends, other.ends)
        for one, other in pairs
    )


def _log_share(lower: Array, upper: Array, location: Array, steepness: Array) -> Array:
    """log(S(u) - S(v)) = log S(u) + log S(-v) + log(1 - exp(v - u)), without cancellation."""
    v, u = ((end - location) * steepness for end in (lower, upper))
    with np.errstate(divide="ignore"):  # a cell of no width
        return np.asarray(log_expit(u) + log_expit(-v) + np.log(-np.expm1(v - u)))
