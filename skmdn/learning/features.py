"""Features on one footing: each is replaced by the normal scores of its ranks.

A network learns fastest where its inputs are spread evenly; outliers, heavy tails and units then
do not matter, since only the order of the values does. Between the values seen the map is linear,
beyond them it is constant: nothing at prediction is farther out than the training rows were. What
features that are all but the same differ by has a score of its own (see `contrasts`).
Features of two values come last: between two points a wave is no better than a line, and networks
take them without.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtri

from .contrasts import Contrasts

#: Most knots of each feature's map.
_KNOTS = 256
#: Numbers from which on looking up all features in step takes less time than one after the other.
_MANY = 2000
#: Distance of two knots, at least: of nearer ones, the slope would overflow.
_LEAST_DISTANCE = 1e-306
#: Ranks, from 0 to 1, are at least this far from the ends.
_LEAST_RANK = 1e-9


class NormalScores:
    """Maps each feature to ``Phi^-1`` of its mid-rank (van der Waerden 1952), by interpolation.

    So it does with contrasts of features.

    Parameters
    ----------
    X : ndarray of shape (n, F)
    weights : ndarray of shape (n,)
        A row of weight two counts as two.
    """

    def __init__(self, X: np.ndarray, weights: np.ndarray):
        self._contrasts = Contrasts.among(X, weights)
        knots = [_knots(column, weights) for column in self._contrasts.beside(X).T]
        #: How many scores there are.
        self.n_scores = len(knots)
        plain = np.array([len(values) <= 2 for values, _ in knots])
        #: Which feature is where among the scores.
        self.order = np.argsort(plain, kind="stable")
        self.knots = [knots[j] for j in self.order]
        #: Which scores are those of features themselves.
        self.is_own = self.order < X.shape[1]
        #: How many features have two values at most.
        self.n_plain = int(plain.sum())

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what knots tell."""
        return {name: value for name, value in vars(self).items() if name != "_maps"}

    @cached_property
    def _maps(self) -> tuple[Interpolation, Interpolation]:
        """The maps of features with waves, and of plain ones, which have two knots."""
        n_waving = self.n_scores - self.n_plain
        return Interpolation(self.knots[:n_waving]), Interpolation(self.knots[n_waving:])

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the scores (n, n_scores) of features (n, F), in an order of their own."""
        columns = self._contrasts.beside(X).T[self.order]
        waving, plain = self._maps
        if columns.size < _MANY or not (waving.is_finite and plain.is_finite):
            pairs = zip(columns, self.knots, strict=True)
            return np.array([np.interp(column, *knots) for column, knots in pairs]).T
        n = len(waving.places)
        return np.concatenate([waving.at(columns[:n]), plain.at(columns[n:])]).T


class Interpolation:
    """``np.interp`` of many points of several curves, the same to the bit, in less time.

    All points take the same steps of a binary search: there is no branch to mispredict.

    Parameters
    ----------
    knots : list of (ndarray, ndarray)
        The places of each curve's knots, ascending, and its values there.
    """

    def __init__(self, knots: list[tuple[np.ndarray, np.ndarray]]):
        longest = max((len(places) for places, _ in knots), default=1)
        shape = len(knots), 1 << (longest - 1).bit_length()
        self.first, self.last = np.zeros((2, len(knots), 1))
        self.places, (self.values, self.slopes) = np.full(shape, np.inf), np.zeros((2, *shape))
        #: Whether all slopes and distances are: `at` knows no others.
        self.is_finite = True
        for i, (places, values) in enumerate(knots):
            self.first[i], self.last[i] = places[[0, -1]]
            self.places[i, : len(places)], self.values[i, : len(values)] = places, values
            with np.errstate(over="ignore"):
                distances = np.diff(places)
                slopes = self.slopes[i, : len(places) - 1] = np.diff(values) / distances
            self.is_finite &= bool(np.isfinite([distances, slopes]).all())

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return the curves at x (F, B), beyond the ends what they are there."""
        x, n_knots = x.clip(self.first, self.last), self.places.shape[1]
        below = np.tile(n_knots * np.arange(len(x))[:, None], x.shape[1])
        probed, found, is_below = np.empty_like(below), np.empty_like(x), np.empty(x.shape, bool)
        step = n_knots // 2
        while step:
            self.places.take(np.add(below, step, out=probed), out=found, mode="clip")
            below += np.multiply(np.less_equal(found, x, out=is_below), step, out=probed)
            step //= 2
        x -= self.places.take(below, out=found, mode="clip")
        x *= self.slopes.take(below, out=found, mode="clip")
        x += self.values.take(below, out=found, mode="clip")
        return x


def _knots(column: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values of a feature, ascending, and their scores; a constant one scores zero."""
    values, positions = np.unique(column, return_inverse=True)
    shares = np.bincount(positions, weights / weights.sum())
    # Bounded, as a row of hardly any weight would else lie at infinity.
    ranks = (np.cumsum(shares) - 0.5 * shares).clip(_LEAST_RANK, 1.0 - _LEAST_RANK)
    if len(values) > _KNOTS:
        # Equal steps in score, so that the tails are not cut short.
        scores = np.linspace(ndtri(ranks[0]), ndtri(ranks[-1]), _KNOTS)
        kept = np.unique(np.searchsorted(ndtri(ranks), scores).clip(0, len(values) - 1))
        values, ranks = values[kept], ranks[kept]
    with np.errstate(over="ignore"):
        apart = np.append(True, np.diff(values) >= _LEAST_DISTANCE)
    return values[apart], ndtri(ranks[apart])
