"""Prediction sets: a mixture's own, and calibrated ones (split conformal prediction).

The sets a mixture proposes for y are nested: the larger the coverage asked for, the larger the
set. The conformity score of (x, y) says which of them has y on its border. With scores of m rows
that the mixtures do not know, exchangeable with a new row, the set of the ceil((m + 1) coverage)th
smallest score holds the new y with at least that probability, whatever the mixtures are worth
(Vovk, Gammerman & Shafer 2005; Lei et al. 2018, JASA 113:1094).

A score is minus the log of the probability outside the set, in nats. Models are wrong far out in
the tails, and float64 ends there: beyond the set with `_LEAST_OUTSIDE` outside, sets grow by
distance instead, one standard deviation a nat, so that finite values of y have finite scores and
sets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import NotFittedError

from skmdn._prediction import MixturePredictions, per_target, row_blocks
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


class ConformityScores(NamedTuple):
    """Scores of the rows that prediction sets are calibrated on, ascending."""

    intervals: Array
    """Of the equal-tailed intervals of each target, (m,) or (m, D)."""
    regions: Array
    """Of the highest-density regions of all targets together, (m,)."""
    out_of_fold: bool
    """Whether they are scores of single networks, each of the rows it held out."""


class PredictionSets(MixturePredictions):
    """Intervals and regions of an estimator's mixtures, and what calibrates them.

    The estimator gives, besides what `MixturePredictions` takes, ``_network_mixtures(X)``: each
    network's own; ``_judges(X)``: which of them held out each of the training rows, (n, E); and
    ``_line_shift_left_out()``: by how much the mixtures of these rows would be shifted, had each
    been left out of all else, (n, D).
    """

    conformity_scores_: ConformityScores
    _network_mixtures: Callable[..., list[NormalMixture]]
    _judges: Callable[..., np.ndarray]
    _line_shift_left_out: Callable[..., np.ndarray]

    def calibrate(self, X, y, out_of_fold=False):
        """Learn from data how far prediction sets must reach to hold what they promise.

        Afterwards ``conformal=True`` is there for `predict_interval`, `predict_region` and
        `in_region`. With m rows that `fit` has not seen, exchangeable with the rows to come, their
        sets hold a new y with at least the probability asked for, and with at most 1 / (m + 1)
        more if scores have no ties, for whatever the networks have learned: on average over
        calibration data and new rows, not for each x (Vovk, Gammerman & Shafer 2005; Lei et al.
        2018, JASA 113:1094). The guarantee is on each target's interval by itself, and on the
        region of all targets together.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        out_of_fold : bool, default=False
            Whether these are the very rows `fit` was given, in the same order, which spares a
            second data set: each is then judged by the network that held it out, and sets are what
            more than half of the networks' own sets hold (intervals are between the medians of
            their ends, which may hold a little more). If these hold a new y with the
            probability asked for, the majority's do with at least 2 * coverage - 1 (Gasparin &
            Ramdas 2024, "Merging uncertainty sets via majority vote"), though training was stopped
            by the same rows. In simulations, sets for 0.9 held 0.89 to 0.95; they are wider than
            calibrated ones of all networks together. Where coverage is small, regions of networks
            may have nothing in common, and the majority's may be empty.

        Returns
        -------
        self : object
            The estimator itself.

        Raises
        ------
        ValueError
            If the data do not fit, or out of fold for the reasons `oof_mixture` names.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-1, 1, size=(3000, 1))
        >>> y = X[:, 0] + rng.standard_cauchy(3000)
        >>> model = MDNRegressor(n_components=1, n_estimators=1, max_iter=10, random_state=0)
        >>> model.fit(X[:500], y[:500]).calibrate(X[500:1500], y[500:1500])
        MDNRegressor(...)
        >>> lower, upper = model.predict_interval(X[1500:], coverage=0.9, conformal=True).T
        >>> bool(abs(np.mean((lower <= y[1500:]) & (y[1500:] <= upper)) - 0.9) < 0.03)
        True
        """
        X = self._check_rows(X)
        y = self._check_targets(X, y)
        if out_of_fold:
            # Sets of one row's networks, shifted by b, hold y + b where they held y.
            judged, y = self._judges(X), y - self._line_shift_left_out().reshape(y.shape)
        else:
            judged = np.ones((len(y), 1), dtype=bool)
        scores = [
            (
                interval_scores(mixture[mine], y[rows][mine]),
                region_scores(mixture[mine], y[rows][mine]),
            )
            for rows, mixtures in self._voters(X, out_of_fold)
            for mixture, mine in zip(mixtures, judged[rows].T, strict=True)
        ]
        intervals, regions = (np.concatenate(part) for part in zip(*scores, strict=True))
        self.conformity_scores_ = ConformityScores(
            np.sort(intervals, axis=0), np.sort(regions), out_of_fold
        )
        return self

    def _voters(self, X, out_of_fold) -> Iterator[tuple[slice, list[NormalMixture]]]:
        """Yield blocks of checked rows, and the mixtures that each have sets of their own."""
        for rows in row_blocks(X.shape[0], self._numbers_per_row()):
            part = X[rows]
            yield rows, self._network_mixtures(part) if out_of_fold else [self._mixtures(part)]

    def _calibration(self) -> ConformityScores:
        if not hasattr(self, "conformity_scores_"):
            raise NotFittedError("conformal=True needs scores of other data: call calibrate first")
        return self.conformity_scores_

    def predict_interval(self, X, coverage=0.9, conformal=False):
        """Return equal-tailed prediction intervals of each target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        coverage : float, default=0.9
            Probability inside, strictly between 0 and 1.
        conformal : bool, default=False
            Whether the probability is what `calibrate` guarantees, not what the networks believe.
            The interval is then the one they give another coverage, the same for all rows
            (Chernozhukov, Wuethrich & Zhu 2021, PNAS 118:e2107794118).

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper ends, in the units of y.

        Raises
        ------
        ValueError
            If the coverage is not inside (0, 1), or there are too few calibration rows for a
            finite interval with this coverage.
        NotFittedError
            If ``conformal`` and `calibrate` has not been called.
        """
        if conformal:
            limit = threshold(self._calibration().intervals, coverage)
            X = self._check_rows(X)
            votes = (
                [interval(mixture, limit) for mixture in mixtures]
                for _, mixtures in self._voters(X, self.conformity_scores_.out_of_fold)
            )
            return np.concatenate([np.median(vote, axis=0) for vote in votes])
        return self._answers(
            X, lambda m: per_target(m, lambda one: np.stack(one.interval(coverage), axis=-1))
        )

    def predict_region(self, X, coverage=0.9, conformal=False):
        """Return highest-density regions of one target: unions of disjoint intervals.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        coverage : float, default=0.9
            Probability inside, strictly between 0 and 1.
        conformal : bool, default=False
            Whether the probability is what `calibrate` guarantees, not what the networks believe.
            The region is then the one they give another coverage, the same for all rows (Izbicki,
            Shimizu & Stern 2022, JMLR 23:87).

        Returns
        -------
        Region
            ``intervals`` (n_samples, m, 2), ascending and padded with NaN, m being the most
            intervals a row has; ``counts`` (n_samples,); ``log_level`` (n_samples,), the
            log-density at their ends; NaN for conformal regions whose ends share none.

        Raises
        ------
        ValueError
            For several targets, which have `in_region`, and as `predict_interval`.
        """
        X = self._check_rows(X)
        if conformal:
            limit = threshold(self._calibration().regions, coverage)
            parts = [
                _majority([region(mixture, limit) for mixture in mixtures])
                for _, mixtures in self._voters(X, self.conformity_scores_.out_of_fold)
            ]
        else:
            parts = [mixture.region(coverage) for _, mixture in self._mixture_blocks(X)]
        intervals, counts, log_level = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Region(intervals[:, : counts.max()], counts, log_level)

    def in_region(self, X, y, coverage=0.9, conformal=False):
        """Tell which rows' y lie in their highest-density region, of all targets together.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        coverage : float, default=0.9
            Probability inside, strictly between 0 and 1.
        conformal : bool, default=False
            As in `predict_region`.

        Returns
        -------
        ndarray of bool, shape (n_samples,)
            Exact for one target, up to a coverage of 1 - 1e-9. For several, a density is ranked
            among those of 1,000 draws, from the same random numbers in every row; a conformal
            guarantee is exact even so.

        Raises
        ------
        ValueError
            As for `predict_interval`, or if y does not fit.
        """
        X = self._check_rows(X)
        y = self._check_targets(X, y)
        if not conformal:
            limit: Array | float = -math.log1p(-check_coverage(coverage))
            out_of_fold = False
        else:
            _, scores, out_of_fold = self._calibration()
            limit = threshold(scores, coverage)
        votes = (
            [region_scores(mixture, y[rows]) <= limit for mixture in mixtures]
            for rows, mixtures in self._voters(X, out_of_fold)
        )
        return np.concatenate([np.mean(vote, axis=0) > 0.5 for vote in votes])


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


def _majority(regions: list[Region]) -> Region:
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
