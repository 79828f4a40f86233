"""Prediction sets: a mixture's own, and calibrated ones (split conformal prediction).

The conformity score of (x, y) says which of the nested sets that x's mixture proposes has y on its
border (see `skmdn._conformity`). With scores of m rows that the mixtures do not know, exchangeable
with a new row, the set of the ceil((m + 1) coverage)th smallest score holds the new y with at
least that probability, whatever the mixtures are worth (Vovk, Gammerman & Shafer 2005; Lei et al.
2018, JASA 113:1094).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import NotFittedError

from skmdn._conformity import (
    interval,
    interval_scores,
    majority,
    region,
    region_scores,
    threshold,
)
from skmdn._prediction import MixturePredictions, per_target, row_blocks
from skmdn.distribution.batch import check_coverage
from skmdn.distribution.mixture import NormalMixture
from skmdn.distribution.one_target import Region
from skmdn.distribution.scale import Array


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
        NotFittedError
            Before `fit`.
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
            If X is not as it was in `fit`, the coverage is not inside (0, 1), or there are too
            few calibration rows for a finite interval with this coverage.
        NotFittedError
            Before `fit`, or if ``conformal`` and `calibrate` has not been called.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(0).normal(size=200)
        >>> model = MDNRegressor(n_estimators=1, random_state=0).fit(X, y)
        >>> model.predict_interval([[0.5]], coverage=0.95).round(1)
        array([[0.3, 0.7]])
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
        NotFittedError
            As `predict_interval`.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> y = np.where(np.random.default_rng(0).random(200) < 0.5, 1.0, -1.0) * (2 + X[:, 0])
        >>> model = MDNRegressor(n_estimators=1, max_iter=50, random_state=0).fit(X, y)
        >>> model.predict_region([[0.0]]).intervals.mean(axis=2).round(1)  # about 2, and -2
        array([[-2.,  2.]])
        """
        X = self._check_rows(X)
        if conformal:
            limit = threshold(self._calibration().regions, coverage)
            parts = [
                majority([region(mixture, limit) for mixture in mixtures])
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
            Exact for one target, up to a coverage of 1 - 1e-9; but as regions take in the middles
            of values that many rows share, they hold more of such a y than asked. For several, a
            density is ranked among those of 1,000 draws, from the same random numbers in every
            row; a conformal guarantee is exact even so.

        Raises
        ------
        ValueError
            As for `predict_interval`, or if y does not fit.
        NotFittedError
            As `predict_interval`.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(0).normal(size=200)
        >>> model = MDNRegressor(n_estimators=1, random_state=0).fit(X, y)
        >>> model.in_region([[0.5], [0.5]], [0.5, 1.0], coverage=0.9)
        array([ True, False])
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
