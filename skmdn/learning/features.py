"""Features on one footing: each is replaced by the normal scores of its ranks.

A network learns fastest where its inputs are spread evenly; outliers, heavy tails and units then
do not matter, since only the order of the values does. Between the values seen the map is linear,
beyond them it is constant: nothing at prediction is farther out than the training rows were. What
features that are all but the same differ by has a score of its own (see `contrasts`).
Features of two values come last: between two points a wave is no better than a line, and networks
take them without.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from .contrasts import Contrasts

#: Most knots of each feature's map.
_KNOTS = 256
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

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the scores (n, n_scores) of features (n, F), in an order of their own."""
        X = self._contrasts.beside(X)
        scores = np.empty(X.shape)
        for i, (j, (values, knots)) in enumerate(zip(self.order, self.knots, strict=True)):
            scores[:, i] = np.interp(X[:, j], values, knots)
        return scores


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
    return values, ndtri(ranks)
