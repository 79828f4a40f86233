"""What features that are all but the same differ by: start and end, one price and the next.

As a small difference of large features a network would hardly find it, so it is a feature as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr, svd

from .rows import effective_number, exponents_of

#: Rows for each feature and contrast below which these do more harm than good.
_ROWS_A_FEATURE = 50
#: A sum of features, by coefficients whose squares, each times the variance of its feature, add up
#: to one, is a contrast if its own variance is less than this (two features correlated by more
#: than 0.975). Sums of up to 0.2 did harm on small real sets.
_CONTRAST = 0.025
#: Its variance must be more than so many times what rounding makes of it.
_TIMES_ROUNDING = 10.0


@dataclass(frozen=True)
class Contrasts:
    """Sums of features that hardly vary, where rows are many enough to learn from them.

    They are the last principal components of the standardised features.

    Parameters
    ----------
    exponents : ndarray of shape (F,) of int
        As `exponents_of` has them.
    centre : ndarray of shape (F,)
    directions : ndarray of shape (F, C)
    """

    exponents: np.ndarray
    centre: np.ndarray
    directions: np.ndarray

    @classmethod
    def among(cls, X: np.ndarray, weights: np.ndarray) -> Contrasts:
        """Return those of rows (n, F) of weights (n,)."""
        exponents = exponents_of(X)
        enough = effective_number(weights) / _ROWS_A_FEATURE - X.shape[1]
        none = cls(exponents, np.zeros(X.shape[1]), np.zeros((X.shape[1], 0)))
        if enough < 1.0:
            return none
        scaled, shares = np.ldexp(X, -exponents), weights / weights.sum()
        rounding = _rounding(scaled)
        is_constant = np.ptp(scaled, axis=0) == 0.0  # a mean of equal numbers may be another
        centre = shares @ scaled
        scaled -= centre
        spread = np.sqrt(shares @ scaled**2)
        spread[is_constant | (spread == 0.0)] = 1.0
        axes = _last_components(
            np.sqrt(shares)[:, None] * scaled / spread, np.minimum(rounding / spread, 1.0)
        )
        directions = axes.T / spread[:, None]
        directions = directions[:, _are_small(scaled, directions)]
        return cls(exponents, centre, directions) if directions.shape[1] <= enough else none

    def beside(self, X: np.ndarray) -> np.ndarray:
        """Return features (n, F) and their contrasts (n, F + C)."""
        contrasts = np.zeros((len(X), self.directions.shape[1]))
        if contrasts.shape[1] == 0:
            return X
        with np.errstate(over="ignore", invalid="ignore"):  # far beyond the rows seen
            scaled = np.ldexp(X, -self.exponents) - self.centre
            # Not a product of matrices, whose rounding depends on how many rows there are.
            for column, coefficients in zip(scaled.T, self.directions, strict=True):
                contrasts += column[:, None] * coefficients
        return np.hstack([X, np.nan_to_num(contrasts)])


def _rounding(scaled: np.ndarray) -> np.ndarray:
    """Return by how much features (n, F) of about one may be wrong, (F,).

    Those that single precision holds may have come in it.
    """
    is_single = (scaled == scaled.astype(np.float32)).all(axis=0)
    return np.where(is_single, np.finfo(np.float32).eps, np.finfo(np.float64).eps)


def _last_components(rows: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """Return the principal axes (C, F) of rows (n, F) that vary little, and not by rounding."""
    triangle = qr(rows, mode="r", check_finite=False)[0][: rows.shape[1]]
    _, deviations, axes = svd(triangle, check_finite=False)
    variances, of_rounding = deviations**2, axes**2 @ rounding**2
    return axes[(variances < _CONTRAST) & (variances > _TIMES_ROUNDING * of_rounding)]


def _are_small(scaled: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Tell which directions (F, C) are contrasts of most rows, too, and not of far ones alone.

    Features that share nothing but the code of a missing value vary together by that.
    """
    of_features, of_contrasts = (_robust_variance(part) for part in (scaled, scaled @ directions))
    return of_contrasts < _CONTRAST * (directions.T**2 @ of_features)


def _robust_variance(rows: np.ndarray) -> np.ndarray:
    """Return the squared distance between the quartiles of each column."""
    lower, upper = np.quantile(rows, [0.25, 0.75], axis=0)
    return (upper - lower) ** 2
