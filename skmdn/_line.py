"""A line through the rows, and their residuals: where data are all but linear.

Networks find a linear function of many features slowly, and from few rows never quite; of several
targets that vary together they would have to find each sum that hardly varies. Ridge regression
(Hoerl & Kennard 1970) has all of it at once, and networks may learn what is left. That must not be
less than will be left of new rows, so it is what a line through all other rows leaves of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import svd

from skmdn.learning.rows import effective_number, exponents_of, mean_and_unit

#: Penalties that are tried, relative to the rows, whose features have unit variance.
_PENALTIES = np.logspace(-6, 3, 19)
#: Most rows that a line is drawn through, and most numbers in all of them: its time is bounded.
_MOST_ROWS = 2**16
_MOST_NUMBERS = 2**24
#: Fewest rows, beyond as many as there are targets, that say how good it is.
_FEWEST_FREE = 10
#: How far a line goes on, in widths of the rows. Where features have heavy tails, new rows lie
#: well beyond all that were seen; and residuals of rows left out are those of endless lines.
_FARTHEST = 100.0


@dataclass(frozen=True)
class Line:
    """A linear function of the features: ``level + (2^-exponents X - centre) @ slopes``.

    It is zero for targets that it is not drawn through.

    Beyond the training rows it goes on for a hundred times as far as they reach, feature by
    feature, and is constant from there on.

    Parameters
    ----------
    exponents : ndarray of shape (F,) of int
        As `exponents_of` has them.
    lowest, highest : ndarray of shape (F,)
        Between these, features count.
    centre : ndarray of shape (F,)
    slopes : ndarray of shape (F, D)
    level : ndarray of shape (D,)
    which : ndarray of shape (D,) of bool
        The targets that it is drawn through.
    """

    exponents: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    centre: np.ndarray
    slopes: np.ndarray
    level: np.ndarray
    which: np.ndarray

    def at(self, X: np.ndarray) -> np.ndarray:
        """Return the targets (n, D) it has for features (n, F)."""
        with np.errstate(over="ignore"):  # bounds come next
            features = np.ldexp(X, -self.exponents).clip(self.lowest, self.highest)
        return (features - self.centre) @ self.slopes + self.level

    def only(self, which: np.ndarray) -> Line:
        """Return the line of those targets (D,) alone: it is zero for the others."""
        parts = {"slopes": self.slopes * which, "level": self.level * which}
        return replace(self, which=which, **parts)


def is_drawable(n_features: int, n_targets: int, weights: np.ndarray) -> bool:
    """Tell whether a line is worth a look: rows are neither too few to tell, nor too many."""
    is_small = len(weights) <= _MOST_ROWS and len(weights) * n_features <= _MOST_NUMBERS
    return is_small and effective_number(weights) >= n_targets + _FEWEST_FREE


def line_through(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[Line, np.ndarray]:
    """Return a line through rows, and what lines through all others leave of each (n, D).

    Of each target, the penalty is the one with which these are smallest, as in scikit-learn's
    `RidgeCV`, which would hold what is left with all penalties at once.

    Parameters
    ----------
    X : ndarray of shape (n, F)
    y : ndarray of shape (n, D)
    weights : ndarray of shape (n,)
    """
    exponents = exponents_of(X)
    X = np.ldexp(X, -exponents)
    (centre, unit), (level, unit_of_y) = (mean_and_unit(part, weights) for part in (X, y))
    roots = np.sqrt(weights)[:, None]
    axes, sizes, directions = svd(roots * ((X - centre) / unit), full_matrices=False)
    residuals, shrunk = _least_left_out(axes, sizes, roots * ((y - level) / unit_of_y), weights)
    slopes = directions.T @ (shrunk * unit_of_y) / unit[:, None]
    lowest, highest = X.min(axis=0), X.max(axis=0)
    far = _FARTHEST * (highest - lowest)
    all_targets = np.full(y.shape[1], True)
    line = Line(exponents, lowest - far, highest + far, centre, slopes, level, all_targets)
    return line, residuals / roots * unit_of_y


def _least_left_out(
    axes: np.ndarray, sizes: np.ndarray, y: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return residuals (n, D), each row left out, and the line along the directions (r, D).

    With the rows ``U diag(s) V'``, centred and times the roots of their weights as y is, and the
    penalty p, H = U diag(s^2 / (s^2 + p)) U' fits y, and a row left out leaves
    ``(y - H y)_i / (1 - H_ii - w_i / sum w)`` (Allen 1974, PRESS); the last term is the level's.
    """
    along, squares = axes.T @ y, sizes**2
    residuals, shrunk = np.full(y.shape, np.inf), np.zeros(along.shape)
    for penalty in _PENALTIES * weights.sum():
        kept = squares / (squares + penalty)
        free = 1.0 - axes**2 @ kept - weights / weights.sum()
        left = (y - axes @ (kept[:, None] * along)) / free[:, None]
        better = (left**2).sum(axis=0) < (residuals**2).sum(axis=0)
        residuals[:, better] = left[:, better]
        shrunk[:, better] = (along * sizes[:, None] / (squares + penalty)[:, None])[:, better]
    return residuals, shrunk


def normal_log_density(
    residuals: np.ndarray, weights: np.ndarray, coupled: bool, floor: np.ndarray | float = 0.0
) -> float:
    """Return the mean log-density of residuals (n, D), as if they were normal.

    Parameters
    ----------
    residuals : ndarray of shape (n, D)
    weights : ndarray of shape (n,)
    coupled : bool
        Whether targets may be correlated.
    floor : ndarray of shape (D,), default=0.0
        What is added to their variances.
    """
    moments = residuals.T @ (residuals * (weights / weights.sum())[:, None])
    moments = moments if coupled else np.diag(np.diag(moments))
    log_volume = np.linalg.slogdet(moments + np.diag(np.zeros(len(moments)) + floor))[1]
    return -0.5 * float(log_volume + len(moments) * (1.0 + math.log(2.0 * math.pi)))
