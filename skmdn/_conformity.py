"""Conformity scores of mixtures, and the sets that reach up to one.

The sets a mixture proposes for y are nested: the larger the coverage asked for, the larger the
set. The score of y says which of them has it on its border: minus the log of the probability
outside, in nats. Models are wrong far out in the tails, and float64 ends there: beyond the set
with `_LEAST_OUTSIDE` outside, sets grow by distance instead, one standard deviation a nat, so that
finite values of y have finite scores and sets.
"""

from __future__ import annotations

import math

import numpy as np

from skmdn.distribution.batch import check_coverage
from skmdn.distribution.mixture import NormalMixture
from skmdn.distribution.one_target import Region
from skmdn.distribution.scale import Array

#: Probability outside a set below which it grows by distance (see above).
_LEAST_OUTSIDE = 1e-9
_LARGEST_TAIL_SCORE = -math.log(_LEAST_OUTSIDE)
#: Draws of several targets that rank a density among all of its row's.
_N_DRAWS = 1000
#: Nats by which equal densities may differ by rounding.
_TIED = 1e-9
#: By how much sets are larger than they need be, as a share of the score and in nats: y at the
#: very border of its set, or at the peak that is all of it, stays inside. Ends of regions are
#: right to 1e-9 of the probability.
_SLACK = 1e-6
#: Products of coverages and numbers of rows are whole numbers up to this.
_ROUNDING = 1e-9


def threshold(scores: Array, coverage: float) -> Array:
    """Return the score up to which sets reach, (), or (D,) for scores (m, D) that ascend."""
    coverage = check_coverage(coverage)
    m = len(scores)
    rank = max(1, math.ceil((m + 1) * coverage - _ROUNDING))
    if rank > m:
        needed = math.ceil(coverage / (1 - coverage) - _ROUNDING)
        raise ValueError(
            f"coverage={coverage} needs calibration on {needed} rows or more, and there were {m}"
        )
    return np.asarray(scores[rank - 1] * (1 + _SLACK) + _SLACK)


# Equal-tailed intervals (Chernozhukov, Wuethrich & Zhu 2021, PNAS 118:e2107794118) ---------------


def interval_scores(mixture: NormalMixture, y: Array) -> Array:
    """Return scores (n,), or (n, D): twice the probability of the smaller tail at y."""
    if y.ndim == 2:
        columns = (interval_scores(mixture.marginal(d), y[:, d]) for d in range(y.shape[1]))
        return np.column_stack(list(columns))
    outside = 2 * np.minimum(mixture.cdf(y), mixture.sf(y))
    lower, upper = mixture.interval(1 - _LEAST_OUTSIDE)
    return _score(outside, _distance(mixture, y, lower, upper))


def interval(mixture: NormalMixture, limit: Array) -> Array:
    """Return intervals (n, 2), or (n, D, 2), that reach up to a score (), or (D,)."""
    if limit.ndim == 1:
        columns = [interval(mixture.marginal(d), own) for d, own in enumerate(limit)]
        return np.stack(columns, axis=1)
    lower, upper = mixture.interval(_coverage(limit))
    beyond = _beyond(limit) * mixture.std()
    return np.stack([lower - beyond, upper + beyond], axis=-1)


# Highest-density regions (Izbicki, Shimizu & Stern 2022, JMLR 23:87) -----------------------------


def region_scores(mixture: NormalMixture, y: Array) -> Array:
    """Return scores (n,): the probability of a density below that at y."""
    if mixture.n_targets > 1:
        return _joint_scores(mixture, y)
    mixture, y = mixture.marginal(0), y.ravel()
    outside = 1 - mixture.region_probability(y)
    far = np.flatnonzero(outside < _LEAST_OUTSIDE)
    beyond = np.zeros(len(y))
    if far.size:
        lower, upper = _hull(mixture[far].region(1 - _LEAST_OUTSIDE))
        beyond[far] = _distance(mixture[far], y[far], lower, upper)
    return _score(outside, beyond)


def region(mixture: NormalMixture, limit: Array) -> Region:
    """Return regions of one target that reach up to a score."""
    found = mixture.region(_coverage(limit))
    beyond = _beyond(limit) * mixture.marginal(0).std()
    if not beyond.any():
        return found
    lower, upper = _hull(found)
    ends = np.stack([lower - beyond, upper + beyond], axis=-1)
    return Region(ends[:, None], np.ones_like(found.counts), np.full(len(ends), np.nan))


def _joint_scores(mixture: NormalMixture, y: Array) -> Array:
    """Rank the log-density at y among those of draws; below all of them, go on by log-density.

    The draws of every row come from the same random numbers: a row's score depends on nothing but
    the row, which is what the guarantee rests on.
    """
    rng = np.random.default_rng(0)
    uniform = rng.random((_N_DRAWS, 1))
    normal = rng.standard_normal((_N_DRAWS, 1, mixture.n_targets))
    score = np.empty(len(mixture))
    for rows in mixture._blocks(_N_DRAWS * mixture.n_targets):
        part = mixture[rows]
        draws = part._on_grids(part._transport(uniform, normal))
        level, drawn = part.logpdf(part._on_grids(y[rows])), part.logpdf(draws)
        outside = (1 + (drawn <= level + _TIED).sum(axis=0)) / (1 + _N_DRAWS)
        score[rows] = np.maximum(drawn.min(axis=0) - level, 0) - np.log(outside)
    return score


def majority(regions: list[Region]) -> Region:
    """Return what more than half of the regions hold: counting intervals from left to right."""
    if len(regions) == 1:
        return regions[0]
    ends = np.concatenate([found.intervals for found in regions], axis=1)
    ends = ends.reshape(len(ends), -1)
    opened = np.where(np.isnan(ends), 0, np.tile([1, -1], ends.shape[1] // 2))
    order = np.lexsort((-opened, ends), axis=1)  # openings first: a point is an interval, too
    ends, opened = (np.take_along_axis(part, order, axis=1) for part in (ends, opened))
    inside = opened.cumsum(axis=1) > len(regions) / 2
    border = np.diff(inside, axis=1, prepend=False)
    counts = border.sum(axis=1) // 2
    held = np.full_like(ends, np.nan)
    held[np.arange(ends.shape[1]) < 2 * counts[:, None]] = ends[border]
    return Region(held.reshape(len(ends), -1, 2), counts, np.full(len(ends), np.nan))


def _hull(region: Region) -> tuple[Array, Array]:
    last = region.intervals[np.arange(len(region.counts)), region.counts - 1]
    return region.intervals[:, 0, 0], last[:, 1]


def _distance(mixture: NormalMixture, y: Array, lower: Array, upper: Array) -> Array:
    """How far y lies outside an interval, in standard deviations."""
    with np.errstate(over="ignore"):  # too far even for float64: an infinite score
        return np.maximum(np.maximum(lower - y, y - upper), 0) / mixture.std()


def _score(outside: Array, distance: Array) -> Array:
    return distance - np.log(np.maximum(outside, _LEAST_OUTSIDE))


def _coverage(limit: Array) -> float:
    """Return the probability of sets that reach up to a score, but for what is beyond."""
    return -math.expm1(-min(float(limit), _LARGEST_TAIL_SCORE))


def _beyond(limit: Array) -> float:
    return max(float(limit) - _LARGEST_TAIL_SCORE, 0.0)
