"""Modes and highest-density regions of batches of one-dimensional Gaussian mixtures.

Everything here runs with NumPy's floating-point warnings off: logs of empty weights and densities
that underflow are part of the work.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import signal, special

from ._roots import LOG_SQRT_2PI, Array, Components, Rows, blocks, columns, find_root, halves


def find_modes(
    components: Components, highest: bool = False, prominence: float = 0.0
) -> tuple[Rows, Array, Array]:
    """All local maxima of the density, or those that may be its highest, or that stand out.

    Between neighbouring means, bounds of every component's first and second derivative over an
    interval add up to bounds of the mixture's. An interval is settled where these show that the
    first derivative has at most one root; otherwise it is halved, until it is too narrow for two
    maxima that float64 could tell apart.

    Returns rows (ascending), locations (ascending within a row) and log-densities.
    """
    rows, left, right = _first_intervals(components, highest)
    found: list[tuple[Rows, Array, Array]] = []
    while rows.size:
        settled, holds_mode = np.empty((2, rows.size), bool)
        for some in blocks(rows.size, 2 * components[0].shape[1]):
            here = columns(components, rows[some])
            settled[some], holds_mode[some] = _settle(left[some], right[some], *here)
        found.append((rows[holds_mode], left[holds_mode], right[holds_mode]))
        rows, left, right = halves(rows[~settled], left[~settled], right[~settled])
    if found:
        rows, left, right = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((left, rows))
    rows, left, right = rows[order], left[order], right[order]
    modes = _merge(rows, _critical_points(1.0, rows, left, right, components), components)
    if prominence > 0:
        stand_out = _prominences(*modes, components) >= prominence
        modes = modes[0][stand_out], modes[1][stand_out], modes[2][stand_out]
    return modes


def _first_intervals(components: Components, highest: bool) -> tuple[Rows, Array, Array]:
    """The gaps between neighbouring means, cut where the derivatives of these two turn.

    All modes lie between the least and the greatest mean; a margin shows the density fall.
    """
    _, means, scales = components
    order, margin = means.argsort(axis=1), scales.min(axis=1, keepdims=True)
    means, scales = (np.take_along_axis(part, order, axis=1) for part in (means, scales))
    first, last = means[:, :1], means[:, -1:]
    low = np.minimum(first - margin, np.nextafter(first, -np.inf))
    high = np.maximum(last + margin, np.nextafter(last, np.inf))
    knots, widths = np.hstack([low, means, high]), np.hstack([margin, scales, margin])
    rows, gap = np.nonzero(
        _may_hold_the_highest(knots, components) if highest else np.diff(knots) > 0
    )
    low, high = knots[rows, gap], knots[rows, gap + 1]
    cuts = [low, high]
    for turn in (1, np.sqrt(3)):
        cuts += [low + turn * widths[rows, gap], high - turn * widths[rows, gap + 1]]
    points = np.sort(np.clip(cuts, low, high), axis=0)
    index, pieces = np.nonzero(points[1:] > points[:-1])
    return rows[pieces], points[index, pieces], points[index + 1, pieces]


def _may_hold_the_highest(knots: Array, components: Components) -> NDArray[np.bool_]:
    """Which gaps between neighbouring knots can hold the highest mode.

    Every component is monotone in between, so the sum of its larger ends bounds the density; it
    has to reach the density at every mean.
    """
    result = np.empty((len(knots), knots.shape[1] - 1), bool)
    for some in blocks(len(knots), knots.shape[1] ** 2):
        weights, means, scales = (part[some].T[..., None] for part in components)
        log_peaks = np.log(weights) - np.log(scales)
        z = (knots[some] - means) / scales
        density = np.exp(log_peaks - log_peaks.max(axis=0) - 0.5 * z * z)
        bound = np.maximum(density[..., 1:], density[..., :-1]).sum(axis=0)
        result[some] = bound >= (1 - 1e-12) * density.sum(axis=0).max(axis=1, keepdims=True)
    return result


def _derivatives(
    x: Array, weights: Array, means: Array, scales: Array
) -> tuple[Array, Array, Array, Array]:
    """Components' densities, their first and second derivatives at x, all over exp(``top``)."""
    rates = 1 / scales
    z = (x - means) * rates
    square = z * z
    density = np.log(weights) - np.log(scales) - LOG_SQRT_2PI - 0.5 * square
    top = np.maximum(density.max(axis=0), -1e308)
    density -= top
    np.exp(density, out=density)
    slope = density * rates
    square -= 1
    square *= slope
    square *= rates
    z *= slope
    return density, np.negative(z, out=z), square, top


def _log_density(x: Array, *components: Array) -> Array:
    density, _, _, top = _derivatives(x, *components)
    return np.log(density.sum(axis=0)) + top


def _settle(
    left: Array, right: Array, *components: Array
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether an interval holds at most one critical point, or is too narrow; and if a maximum.

    The sign of the slope at a point depends on nothing but the point, and 0 counts as rising:
    neighbours agree at their common end, and no maximum is lost or seen twice.
    """
    ends = np.stack([left, right])
    density, slope, bend, top = _derivatives(ends, *(part[:, None] for part in components))
    rises, level = slope.sum(axis=0) >= 0, top.max(axis=0)
    for part in (density, slope, bend):
        part *= np.exp(top - level)
    steepest, most_bent = _turns(ends, slope[:, 0], bend[:, 0], level, *components)
    settled = (_least(slope, steepest) >= 0) | (_greatest(slope, steepest) <= 0)
    settled |= (_least(bend, most_bent) >= 0) | (_greatest(bend, most_bent) <= 0)
    middle = left + 0.5 * (right - left)
    settled |= (middle <= left) | (middle >= right)
    dip = np.maximum(density[:, 0], density[:, 1]) * ((right - left) / components[2]) ** 4
    settled |= dip.sum(axis=0) < 1e-15 * _least(density, density[:, 0])
    return settled, settled & rises[0] & ~rises[1]


def _turns(
    ends: Array, slope: Array, bend: Array, level: Array, *components: Array
) -> tuple[Array, Array]:
    """Extremes of components' derivatives inside the interval, over exp(level); else the given.

    A first derivative is extreme one scale from its mean, a second sqrt(3) scales. No mean is
    inside the interval.
    """
    weights, means, scales = components
    distance = np.abs(ends - means[:, None]) / scales[:, None]
    extreme = np.exp(np.log(weights) - np.log(scales) - LOG_SQRT_2PI - 0.5 - level) / scales
    np.copysign(extreme, means - ends[1], out=extreme)
    turns = (distance[:, 0] < 1) != (distance[:, 1] < 1)
    steepest = np.where(turns, extreme, slope)
    turns = (distance[:, 0] < np.sqrt(3)) != (distance[:, 1] < np.sqrt(3))
    return steepest, np.where(turns, 2 / np.e * np.abs(extreme) / scales, bend)


def _least(ends: Array, inside: Array) -> Array:
    return np.minimum(np.minimum(ends[:, 0], ends[:, 1]), inside).sum(axis=0)


def _greatest(ends: Array, inside: Array) -> Array:
    return np.maximum(np.maximum(ends[:, 0], ends[:, 1]), inside).sum(axis=0)


def _critical_points(
    side: float, rows: Rows, left: Array, right: Array, components: Components
) -> Array:
    """The maximum (side 1) or minimum (side -1) of the density in each interval."""
    sides = np.full(rows.size, side)
    start = left + 0.5 * (right - left)
    return find_root(_critical_step, start, left, right, sides, *columns(components, rows))


def _critical_step(
    x: Array, side: Array, weights: Array, means: Array, scales: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Newton's step to a root of the slope, towards where ``side`` times the density grows."""
    density, slopes, bends, _ = _derivatives(x, weights, means, scales)
    slope, bend = side * slopes.sum(axis=0), side * bends.sum(axis=0)
    step = np.where(bend < 0, -slope / bend, np.copysign(np.inf, slope))
    noise = np.abs(slope) <= 4e-16 * np.abs(slopes).sum(axis=0)
    step[noise] = 0
    width = np.sqrt(density.sum(axis=0) / np.abs(bend))
    return step, noise | (np.abs(step) <= 2e-16 * (np.abs(x) + width))


def _merge(rows: Rows, modes: Array, components: Components) -> tuple[Rows, Array, Array]:
    """Drop a mode so close to the one before that no float64 density shows a dip between them.

    The dip of three critical points within d is at most d^4 max|f''''| / 384, where component
    k's share of f'''' is at most 3 / s_k^4 times its largest density in between.
    """
    log_densities = _log_density(modes, *columns(components, rows))
    second = np.flatnonzero(np.diff(rows) == 0) + 1
    before, mode = modes[second - 1], modes[second]
    weights, means, scales = columns(components, rows[second])
    nearest = (np.clip(means, before, mode) - means) / scales
    largest = np.log(weights) - np.log(scales) - LOG_SQRT_2PI - 0.5 * nearest**2
    relative = np.exp(largest - np.minimum(log_densities[second - 1], log_densities[second]))
    dip = (relative * ((mode - before) / scales) ** 4).sum(axis=0) / 128
    keep = np.ones(rows.size, bool)
    keep[second[dip < 1e-17]] = False
    return rows[keep], modes[keep], log_densities[keep]


def _prominences(rows: Rows, modes: Array, log_densities: Array, components: Components) -> Array:
    """How far modes stand out, as shares of the highest density in their row.

    A mode does so by its height above the lowest point that must be passed on the way to a higher
    one, which is 0 for the highest. These are the prominences of scipy.signal, of all critical
    values in turn; between two rows the density is 0.
    """
    before, valleys = _valleys(rows, modes, components)
    top = np.full(len(components[0]), -np.inf)
    np.maximum.at(top, rows, log_densities)
    heights, places = np.zeros(2 * rows.size + 1), 2 * np.arange(rows.size) + 1
    heights[places] = np.exp(log_densities - top[rows])
    in_valleys = _log_density(valleys, *columns(components, rows[before]))
    heights[places[before] + 1] = np.exp(in_valleys - top[rows[before]])
    with warnings.catch_warnings():  # of modes whose dip is lost to rounding: theirs is 0
        warnings.simplefilter("ignore", RuntimeWarning)
        found, _, _ = signal.peak_prominences(heights, places, wlen=4 * np.bincount(rows).max())
    return np.asarray(found)


def _valleys(rows: Rows, modes: Array, components: Components) -> tuple[Rows, Array]:
    """Which modes have a next one in their row, and where the density is lowest in between."""
    before = np.flatnonzero(np.diff(rows) == 0)
    between = rows[before], modes[before], modes[before + 1]
    return before, _critical_points(-1.0, *between, components)


# Highest-density regions -----------------------------------------------------------------------


def find_region(coverage: Array, components: Components) -> tuple[Array, Array]:
    """Ends of the highest-density region, ``(n, 2 M)`` ascending, nan where absent; log level.

    One that float64 cannot tell from its peak is that point.

    Between neighbouring critical points the density is monotone and meets a level at most once.
    The probability above a level is therefore an alternating sum of cdfs at these crossings; it
    falls as the level rises, and the level is its bracketed root.
    """
    weights, _, scales = components
    segments = _Segments(components)
    top = np.full(len(weights), -np.inf)
    np.maximum.at(top, segments.rows, segments.log_high)
    # f >= w_k f_k, so P(f < level) <= sum_k w_k P_k(w_k f_k < level), each a chi-square tail
    tail = 0.5 * special.chdtri(1, 1 - coverage)
    log_peaks = np.where(weights > 0, np.log(weights) - np.log(scales) - LOG_SQRT_2PI, np.inf)
    floor = log_peaks.min(axis=1) - tail - 1e-9
    start = np.maximum(top - tail, floor)
    level = find_root(segments.level_step, start, floor, top, np.arange(len(weights)), coverage)
    ends = segments.ends(level)
    missing = np.isnan(ends[:, 0])
    if missing.any():
        ends[missing, :2] = segments.peaks(top)[missing, None]
    return ends, level


def find_coverage(levels: Array, components: Components) -> Array:
    """Probability of densities of at least ``exp(levels)``, ``(L, n)``."""
    segments = _Segments(components)
    found = [segments.probability(*segments.cross(level)) for level in levels]
    return np.reshape(found, levels.shape)


class _Segments:
    """The pieces between critical points of the density: a rising and a falling one a mode.

    Places are kept as distances from the piece's mode, so that a narrow mode far from 0 loses no
    digits. The other end is at ``low``, infinite for the outermost pieces; ``log_high`` and
    ``log_low`` are the log-densities at both ends.
    """

    def __init__(self, components: Components) -> None:
        rows, modes, log_densities = find_modes(components)
        before, valleys = _valleys(rows, modes, components)
        self.n = len(components[0])
        self.rows = np.repeat(rows, 2)
        self.falling = np.tile([-1.0, 1.0], rows.size)
        self.mode = np.repeat(modes, 2)
        ends = np.tile([-np.inf, np.inf], rows.size)
        ends[2 * before + 1] = ends[2 * before + 2] = valleys
        self.low = ends - self.mode
        weights, means, scales = columns(components, self.rows)
        self.columns = weights, means - self.mode, scales
        self.log_high = np.repeat(log_densities, 2)
        self.log_low = _log_density(self.low, *self.columns)
        self.x = np.zeros(self.rows.size)  # where the last level was met

    def cross(self, level: Array) -> tuple[Rows, Components]:
        """Place ``self.x`` where pieces meet the level of their row; which do, their columns."""
        levels = level[self.rows]
        met = np.flatnonzero((self.log_low < levels) & (levels < self.log_high))
        weights, means, scales = (part[:, met] for part in self.columns)
        levels, falling, low = levels[met], self.falling[met], self.low[met]
        # at this distance from its mean each component's density is at most level / K
        excess = np.log(weights) - np.log(scales) - LOG_SQRT_2PI + np.log(len(weights)) - levels
        distance = scales * np.sqrt(2 * np.maximum(excess, 0))
        outside = falling * (falling * means + distance).max(axis=0)
        end = np.where(np.isinf(low), outside, low)
        left, right = np.minimum(end, 0), np.maximum(end, 0)
        known = (left < self.x[met]) & (self.x[met] < right)
        start = np.where(known, self.x[met], 0.5 * end)
        arguments = (levels, falling, weights, means, scales)
        self.x[met] = find_root(_crossing_step, start, left, right, *arguments)
        return met, (weights, means, scales)

    def level_step(
        self, level: Array, rows: Rows, coverage: Array
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Newton's step of the level towards probability ``coverage`` above it."""
        levels = np.full(self.n, np.inf)
        levels[rows] = level
        met, here = self.cross(levels)
        density, slope, _, _ = _derivatives(self.x[met], *here)
        width = np.abs(density.sum(axis=0) / slope.sum(axis=0))
        # dP / dlevel = -sum over crossings of 1 / |f'|, times f for the log of the level
        step = self.probability(met, here)[rows] - coverage
        converged = np.abs(step) <= 1e-13
        step /= np.exp(level) * np.bincount(self.rows[met], width, self.n)[rows]
        return np.where(converged, 0, step), converged

    def probability(self, met: Rows, here: Components) -> Array:
        """Probability above the level just crossed, which the pieces ``met`` do, ``(n,)``."""
        weights, means, scales = here
        cdf = (weights * special.ndtr((self.x[met] - means) / scales)).sum(axis=0)
        return np.asarray(np.bincount(self.rows[met], self.falling[met] * cdf, self.n), float)

    def peaks(self, top: Array) -> Array:
        """Where the density is highest, ``(n,)``, given its logarithm there."""
        peaks, highest = np.empty(self.n), self.log_high == top[self.rows]
        peaks[self.rows[highest]] = self.mode[highest]
        return peaks

    def ends(self, level: Array) -> Array:
        """Where the density meets ``level``: ``(n, 2 M)``, ascending, then nan."""
        met, _ = self.cross(level)
        place = np.arange(self.rows.size) - np.searchsorted(self.rows, self.rows)
        ends = np.full((self.n, place.max() + 1), np.nan)
        ends[self.rows[met], place[met]] = self.mode[met] + self.x[met]
        return np.sort(ends, axis=1)


def _crossing_step(
    x: Array, level: Array, falling: Array, *components: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Newton's step towards log f(x) = level on a piece where f is monotone."""
    density, slope, bend, top = _derivatives(x, *components)
    total = density.sum(axis=0)
    score = slope.sum(axis=0) / total
    missing = level - (np.log(total) + top)
    step = missing / score
    wrong_way = np.sign(step) != -falling * np.sign(missing)
    step = np.where(wrong_way, np.copysign(np.inf, -falling * missing), step)
    noise = 1e-16 * np.maximum(np.abs(level), 1)
    at_root = np.abs(missing) <= 4 * noise
    step[at_root] = 0
    # what the step leaves behind, to second order
    left_over = np.abs(0.5 * (bend.sum(axis=0) / total - score**2) * step**2)
    return step, at_root | ((np.abs(missing) < 0.01) & (left_over <= noise))
