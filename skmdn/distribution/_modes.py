"""Modes and highest-density regions of batches of one-dimensional Gaussian mixtures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ._roots import Array, Components, blocks, find_root

Rows = NDArray[np.intp]
_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)


def columns(components: Components, rows: Rows) -> Components:
    """The components of the given rows, one column a row: ``(K, len(rows))``."""
    weights, means, scales = components
    return (
        np.ascontiguousarray(weights[rows].T),
        np.ascontiguousarray(means[rows].T),
        np.ascontiguousarray(scales[rows].T),
    )


def find_modes(weights: Array, means: Array, scales: Array) -> tuple[Rows, Array]:
    """All local maxima of the density: their rows (ascending) and locations (ascending in a row).

    Between neighbours in {m_k, m_k +- s_k, m_k +- sqrt(3) s_k} every component's first and second
    derivative is monotone, so sums of their values at the ends bound the mixture's. An interval
    is settled where these bounds show the first derivative to have at most one root; otherwise it
    is halved. What is left is too narrow for two maxima that float64 could tell apart.
    """
    components = (weights, means, scales)
    rows, left, right = _first_intervals(means, scales)
    found: list[tuple[Rows, Array, Array]] = []
    while rows.size:
        settled, holds_mode = np.empty((2, rows.size), bool)
        for some in blocks(rows.size, weights.shape[1]):
            here = columns(components, rows[some])
            settled[some], holds_mode[some] = _settle(left[some], right[some], *here)
        found.append((rows[holds_mode], left[holds_mode], right[holds_mode]))
        open_ = np.flatnonzero(~settled)
        rows, left, right = rows[open_], left[open_], right[open_]
        middle = left + 0.5 * (right - left)
        rows = np.concatenate([rows, rows])
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
    rows, left, right = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((left, rows))
    rows, left, right = rows[order], left[order], right[order]
    located = columns(components, rows)
    maxima = np.ones(rows.size)
    modes = find_root(_critical_step, 0.5 * left + 0.5 * right, left, right, maxima, *located)
    return _merge(rows, modes, *located)


def _first_intervals(means: Array, scales: Array) -> tuple[Rows, Array, Array]:
    multiples = np.array([-np.sqrt(3), -1, 0, 1, np.sqrt(3)])[:, None]
    points = (means[:, None] + multiples * scales[:, None]).reshape(len(means), -1)
    margin = scales.min(axis=1)
    first = np.minimum(means.min(axis=1) - margin, np.nextafter(means.min(axis=1), -np.inf))
    last = np.maximum(means.max(axis=1) + margin, np.nextafter(means.max(axis=1), np.inf))
    points = np.clip(points, first[:, None], last[:, None])
    points = np.concatenate([points, first[:, None], last[:, None]], axis=1)
    points.sort(axis=1)
    rows, index = np.nonzero(points[:, 1:] > points[:, :-1])
    return rows, points[rows, index], points[rows, index + 1]


def _settle(
    left: Array, right: Array, weights: Array, means: Array, scales: Array
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether an interval holds at most one critical point, or is too narrow; and if a maximum."""
    log_peaks = _log(weights) - np.log(scales)
    slope_left, bend_left, density_left = _derivatives(left, log_peaks, means, scales)
    slope_right, bend_right, density_right = _derivatives(right, log_peaks, means, scales)
    # one common factor a column, so that both ends compare
    top = np.maximum(density_left[1], density_right[1])
    factor_left, factor_right = np.exp(density_left[1] - top), np.exp(density_right[1] - top)
    one_sign = np.zeros(left.shape, bool)
    for at_left, at_right in ((slope_left, slope_right), (bend_left, bend_right)):
        a, b = at_left * factor_left, at_right * factor_right
        one_sign |= (np.minimum(a, b).sum(axis=0) >= 0) | (np.maximum(a, b).sum(axis=0) <= 0)
    a, b = density_left[0] * factor_left, density_right[0] * factor_right
    relative = ((right - left) / scales) ** 4
    narrow = (relative * np.maximum(a, b)).sum(axis=0) <= 1e-15 * np.minimum(a, b).sum(axis=0)
    middle = left + 0.5 * (right - left)
    settled = one_sign | narrow | (middle <= left) | (middle >= right)
    return settled, settled & (slope_left.sum(axis=0) >= 0) & (slope_right.sum(axis=0) < 0)


def _derivatives(
    x: Array, log_peaks: Array, means: Array, scales: Array
) -> tuple[Array, Array, tuple[Array, Array]]:
    """Components' first and second derivatives at x, and densities, all over exp(largest log)."""
    z = (x - means) / scales
    square = z * z
    log_density = log_peaks - 0.5 * square
    top = np.maximum(log_density.max(axis=0), -1e308)
    density = np.exp(log_density - top)
    slope = -z / scales * density
    bend = (square - 1) / scales**2 * density
    return slope, bend, (density, top)


def _critical_step(
    x: Array, side: Array, weights: Array, means: Array, scales: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Newton's step towards a maximum (side 1) or a minimum (side -1) of the density."""
    slopes, bends, (density, _) = _derivatives(x, _log(weights) - np.log(scales), means, scales)
    slope, bend = side * slopes.sum(axis=0), side * bends.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.where(bend < 0, -slope / bend, np.copysign(np.inf, slope))
        width = np.sqrt(density.sum(axis=0) / np.abs(bend))
    noise = np.abs(slope) <= 4e-16 * np.abs(slopes).sum(axis=0)
    step[noise] = 0
    return step, noise | (np.abs(step) <= 2e-16 * (np.abs(x) + width))


def _log(weights: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(weights)


def _merge(
    rows: Rows, modes: Array, weights: Array, means: Array, scales: Array
) -> tuple[Rows, Array]:
    """Drop a mode so close to the one before that no float64 density shows a dip between them.

    Three critical points within d bound the dip by d^4 max|f''''| / 384, and |f''''| by 3 f_k / s_k^4.
    """
    gap = np.diff(modes, prepend=-np.inf)
    gap[np.diff(rows, prepend=-1) > 0] = np.inf
    _, _, (density, _) = _derivatives(modes, _log(weights) - np.log(scales), means, scales)
    apart = (density * (gap / scales) ** 4).sum(axis=0) > 1e-15 * density.sum(axis=0)
    apart |= np.isinf(gap)
    return rows[apart], modes[apart]


# Highest-density regions -----------------------------------------------------------------------


def find_region(
    coverage: Array, weights: Array, means: Array, scales: Array
) -> tuple[Array, Array]:
    """Ends of the highest-density region, ``(n, 2 M)`` ascending, nan where absent; log level.

    Between neighbouring critical points the density is monotone and meets a level at most once.
    The probability above a level is therefore an alternating sum of cdfs at these crossings; it
    falls as the level rises, and the level is its bracketed root.
    """
    n = len(weights)
    segments = _Segments(weights, means, scales)
    top = np.full(n, -np.inf)
    np.maximum.at(top, segments.rows, segments.log_high)
    # f >= w_k f_k, so P(f < level) <= sum_k w_k P_k(w_k f_k < level), each a chi-square tail
    tail = 0.5 * special.chdtri(1, 1 - coverage)
    log_peaks = np.where(weights > 0, _log(weights) - np.log(scales), np.inf) - _LOG_SQRT_2PI
    floor = log_peaks.min(axis=1) - tail - 1e-9
    start = np.maximum(top - tail, floor)
    level = find_root(segments.level_step, start, floor, top, np.arange(n), coverage)
    return segments.ends(level), level


class _Segments:
    """The pieces between critical points of the density, two a mode: a rising and a falling one.

    Places are kept as distances from the segment's mode, so that a narrow mode far from 0 loses
    no digits. The other end is at ``low``, infinite for the outermost; ``log_high`` and
    ``log_low`` are the log-densities at both ends.
    """

    def __init__(self, weights: Array, means: Array, scales: Array) -> None:
        components = (weights, means, scales)
        mode_rows, modes = find_modes(*components)
        same = np.flatnonzero(np.diff(mode_rows) == 0)
        located = columns(components, mode_rows[same])
        low, high = modes[same], modes[same + 1]
        minima = np.full(same.size, -1.0)
        antimodes = find_root(_critical_step, 0.5 * (low + high), low, high, minima, *located)
        self.n = len(weights)
        self.rows = np.repeat(mode_rows, 2)
        self.falling = np.tile([-1.0, 1.0], modes.size)
        self.mode = np.repeat(modes, 2)
        low = np.tile([-np.inf, np.inf], modes.size)
        low[2 * same + 1] = low[2 * same + 2] = antimodes
        self.low = low - self.mode
        weights, means, scales = columns(components, self.rows)
        self.columns = weights, means - self.mode, scales
        self.x = np.zeros(self.rows.size)  # where the last level was met
        self.log_high = _log_density(self.x, *self.columns)
        self.log_low = _log_density(self.low, *self.columns)

    def cross(self, level: Array) -> tuple[NDArray[np.intp], Components]:
        """Meet ``level`` (one a row): the segments that do, their columns; places in ``self.x``."""
        levels = level[self.rows]
        met = np.flatnonzero((self.log_low < levels) & (levels < self.log_high))
        weights, means, scales = (component[:, met] for component in self.columns)
        levels, falling = levels[met], self.falling[met]
        # at this distance from its mean each component's density is at most level / K
        excess = _log(weights) - np.log(scales) - _LOG_SQRT_2PI + np.log(len(weights)) - levels
        reach = scales * np.sqrt(2 * np.maximum(excess, 0))
        outside = falling * (falling * means + reach).max(axis=0)
        end = np.where(np.isinf(self.low[met]), outside, self.low[met])
        low, high = np.minimum(end, 0), np.maximum(end, 0)
        known = (low < self.x[met]) & (self.x[met] < high)
        start = np.where(known, self.x[met], 0.5 * (low + high))
        arguments = (levels, falling, weights, means, scales)
        self.x[met] = find_root(_crossing_step, start, low, high, *arguments)
        return met, (weights, means, scales)

    def level_step(
        self, level: Array, rows: Rows, coverage: Array
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Newton's step of the level towards probability ``coverage`` above it."""
        levels = np.full(self.n, np.inf)
        levels[rows] = level
        met, (weights, means, scales) = self.cross(levels)
        x = self.x[met]
        slope, _, (density, _) = _derivatives(x, _log(weights) - np.log(scales), means, scales)
        inverse_score = np.abs(density.sum(axis=0) / slope.sum(axis=0))
        cdf = (weights * special.ndtr((x - means) / scales)).sum(axis=0)
        inside = np.bincount(self.rows[met], self.falling[met] * cdf, self.n)[rows]
        width = np.bincount(self.rows[met], inverse_score, self.n)[rows]
        converged = np.abs(inside - coverage) <= 1e-13
        with np.errstate(divide="ignore"):
            step = (inside - coverage) / (np.exp(level) * width)
        return np.where(converged, 0, step), converged

    def ends(self, level: Array) -> Array:
        """Where the density meets ``level``: ``(n, 2 M)``, ascending, then nan."""
        met, _ = self.cross(level)
        first = np.searchsorted(self.rows, self.rows[met])
        ends = np.full((self.n, np.bincount(self.rows).max()), np.nan)
        ends[self.rows[met], met - first] = self.mode[met] + self.x[met]
        ends.sort(axis=1)
        return ends


def _log_density(x: Array, weights: Array, means: Array, scales: Array) -> Array:
    _, _, (density, top) = _derivatives(x, _log(weights) - np.log(scales), means, scales)
    return np.log(density.sum(axis=0)) + top - _LOG_SQRT_2PI


def _crossing_step(
    x: Array, level: Array, falling: Array, weights: Array, means: Array, scales: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Newton's step towards log f(x) = level on a piece where f is monotone."""
    slopes, bends, (densities, top) = _derivatives(
        x, _log(weights) - np.log(scales), means, scales
    )
    density, slope = densities.sum(axis=0), slopes.sum(axis=0)
    score, bend = slope / density, bends.sum(axis=0) / density - (slope / density) ** 2
    missing = level - (np.log(density) + top - _LOG_SQRT_2PI)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = missing / score
    wrong_way = np.sign(step) != -falling * np.sign(missing)
    step = np.where(wrong_way, np.copysign(np.inf, -falling * missing), step)
    noise = np.abs(missing) <= 4e-16 * np.maximum(np.abs(level), 1)
    step[noise] = 0
    with np.errstate(invalid="ignore"):
        error = np.abs(0.5 * bend * step**2)
    short = (np.abs(missing) < 0.01) & (error <= 1e-16 * np.maximum(np.abs(level), 1))
    return step, noise | short
