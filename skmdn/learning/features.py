"""Features on one footing: each is replaced by the normal scores of its ranks.

A network learns fastest where its inputs are spread evenly; outliers, heavy tails and units then
do not matter, since only the order of the values does. Between the values seen the map is linear,
beyond them it is constant: nothing at prediction is farther out than the training rows were.
Features of two values come last: between two points a wave is no better than a line, and networks
take them without. What features that are all but the same differ by (start and end, one price and
the next) is a feature, too: as a small difference of large ones networks would hardly find it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr, svd
from scipy.special import ndtri

#: Knots of each feature's map, and rows they are read off.
_KNOTS, _ROWS = 256, 2**16
#: Ranks, from 0 to 1, are at least this far from the ends.
_LEAST_RANK = 1e-9
#: Rows for each feature and contrast below which these do more harm than good.
_ROWS_A_FEATURE = 50
#: A sum of features of unit variance, its squared coefficients adding up to one, is a contrast if
#: its own variance is less; if this is less again, rounding.
_CONTRAST, _ROUNDING = 0.025, 1e-14


@dataclass(frozen=True)
class Contrasts:
    """Sums of features that hardly vary, where rows are many enough for them.

    They are the last principal components of the standardised features.

    Parameters
    ----------
    exponents : ndarray of shape (F,) of int
        Powers of two that take features to one at most: squares do not overflow.
    directions : ndarray of shape (F, C)
    """

    exponents: np.ndarray
    directions: np.ndarray

    @classmethod
    def among(cls, X: np.ndarray, weights: np.ndarray) -> Contrasts:
        """Return those of rows (n, F) of weights (n,)."""
        exponents = np.frexp(np.abs(X).max(axis=0))[1]
        n_rows, n_features = X.shape
        if n_rows < _ROWS_A_FEATURE * n_features:
            return cls(exponents, np.zeros((n_features, 0)))
        scaled, shares = np.ldexp(X, -exponents), weights / weights.sum()
        is_constant = np.ptp(scaled, axis=0) == 0.0  # a mean of equal numbers may be another
        scaled -= shares @ scaled
        spread = np.sqrt(shares @ scaled**2)
        spread[is_constant | (spread == 0.0)] = 1.0
        roots = np.sqrt(shares)[:, None]
        triangle = qr(roots * scaled / spread, mode="r", check_finite=False)[0][:n_features]
        _, deviations, axes = svd(triangle, check_finite=False)
        chosen = axes[(deviations**2 < _CONTRAST) & (deviations**2 > _ROUNDING)]
        if n_rows < _ROWS_A_FEATURE * (n_features + len(chosen)):
            chosen = chosen[:0]
        return cls(exponents, chosen.T / spread[:, None])

    def beside(self, X: np.ndarray) -> np.ndarray:
        """Return features (n, F) and their contrasts (n, F + C)."""
        if self.directions.shape[1] == 0:
            return X
        with np.errstate(over="ignore", invalid="ignore"):  # far beyond the rows seen
            contrasts = np.ldexp(X, -self.exponents) @ self.directions
        return np.hstack([X, np.nan_to_num(contrasts, nan=0.0)])


class NormalScores:
    """Maps each feature to ``Phi^-1`` of its mid-rank (van der Waerden 1952), by interpolation.

    So it does with contrasts of features.

    Parameters
    ----------
    X : ndarray of shape (n, F)
    weights : ndarray of shape (n,)
        A row of weight two counts as two.
    """

    #: Rows beyond this many tell nothing new about the ranks.
    max_rows = _ROWS

    def __init__(self, X: np.ndarray, weights: np.ndarray):
        self._contrasts = Contrasts.among(X, weights)
        knots = [_knots(column, weights) for column in self._contrasts.beside(X).T]
        #: How many scores there are.
        self.n_scores = len(knots)
        plain = np.array([len(values) <= 2 for values, _ in knots])
        #: Which feature is where among the scores.
        self.order = np.argsort(plain, kind="stable")
        self.knots = [knots[j] for j in self.order]
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
