"""Targets in and out of the units the networks learn in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from skmdn.learning.rows import effective_number, mean_and_unit

#: Variances of what varies by less have lost their digits.
_LEAST_SPREAD = 1e-150
#: A target is all but a sum of those before it if they leave no more than this share of its
#: variance unexplained,
_ALL_BUT_A_SUM = 1e-4
#: as told by at least so many degrees of freedom.
_FEWEST_FREE = 10
#: Share of a target's values that counts as its densest.
_DENSEST = 0.1
#: Fewest such values that tell how dense they are.
_FEWEST_DENSEST = 5
#: Largest floor, relative to that of values that are all as dense as the densest. At 1, it would
#: cost 0.09 nats on yacht, whose targets lie close together at one end.
_OF_DENSEST = 1000.0
#: Smallest floor, as a share of the usual one: with the usual ``reg_covar``, a standard deviation
#: that single precision tells from none.
_LEAST_FLOOR = 1e-8


@dataclass(frozen=True)
class TargetScaling:
    """Where and how wide targets are: ``y = mean + unit * (root @ u)`` for standardised u.

    Parameters
    ----------
    mean, unit : ndarray of shape (D,)
    root : ndarray of shape (D, D), default=None
        Lower triangular, with a diagonal of ones; None for the identity.
    """

    mean: np.ndarray
    unit: np.ndarray
    root: np.ndarray | None = None

    @property
    def log_volume(self) -> float:
        """What log-densities of u are larger by than those of y."""
        return float(np.log(self.unit).sum())

    def in_units(self, y: np.ndarray) -> np.ndarray:
        """Return ``root @ u`` for y (n, D): u of targets that are tied to none before them."""
        return np.asarray((y - self.mean) / self.unit)

    def standardised(self, y: np.ndarray) -> np.ndarray:
        """Return u for targets y (n, D)."""
        u = self.in_units(y)
        return u if self.root is None else solve_triangular(self.root, u.T, lower=True).T

    def restored(self, u: np.ndarray) -> np.ndarray:
        """Return y for standardised ones (..., D)."""
        return (u if self.root is None else u @ self.root.T) * self.unit + self.mean

    def restored_factor(self, factor: np.ndarray) -> np.ndarray:
        """Return the Cholesky factors (..., D, D) of covariances of y for those of u."""
        return (factor if self.root is None else self.root @ factor) * self.unit[:, None]

    def untied(
        self,
        y: np.ndarray,
        weights: np.ndarray,
        which: np.ndarray,
        most_left: float = _ALL_BUT_A_SUM,
        by: np.ndarray | float = 1.0,
    ) -> TargetScaling:
        """Return a scaling in which no target of ``which`` is all but a sum of those before it.

        What those leave of such a target is learned in its place: as a small difference of two
        large numbers, each a network's output, it is hardly ever found.

        Parameters
        ----------
        y : ndarray of shape (n, D)
        weights : ndarray of shape (n,)
        which : ndarray of shape (D,) of bool
        most_left : float
            Share of its variance that those leave of such a target, at most.
        by : ndarray of shape (D,) of bool, default=1.0
            Which of those count.
        """
        u, n_targets = self.in_units(y), y.shape[1]
        of_others = u * by
        root, roots = np.eye(n_targets), np.sqrt(weights / weights.sum())
        for d in 1 + np.flatnonzero(which[1:]):
            if effective_number(weights) - d - 1 < _FEWEST_FREE:
                break
            line = np.linalg.lstsq(of_others[:, :d] * roots[:, None], u[:, d] * roots)[0]
            rest, whole = roots * (u[:, d] - of_others[:, :d] @ line), roots * u[:, d]
            if rest @ rest < most_left * (whole @ whole):
                root[d, :d] = line @ root[:d, :d]
        return self if (root == np.eye(n_targets)).all() else replace(self, root=root)

    def decorrelated(self, y: np.ndarray, weights: np.ndarray, which: np.ndarray) -> TargetScaling:
        """Return a scaling in which each target of ``which`` is what those before it leave of it.

        Rows far out say less, as the likelihood of a t distribution has it: they would else say
        it all.

        Parameters
        ----------
        y : ndarray of shape (n, D)
        weights : ndarray of shape (n,)
        which : ndarray of shape (D,) of bool
        """
        away = (self.in_units(y) ** 2).mean(axis=1)
        typical = np.median(away) or 1.0
        return self.untied(y, weights / (typical + away), which, np.inf, by=which)


def floors(y: np.ndarray) -> np.ndarray:
    """Return how many times as large as usual floors on variances (D,) of targets (n, D) may be.

    The usual one is a share of the variance, which far outliers and long tails make as large as
    they like. Where it would be wide beside the spread of the densest values, it is a share of
    that. Values that rows share count once.
    """
    return np.array([_floor_of(np.unique(column)) for column in y.T])


def _floor_of(values: np.ndarray) -> float:
    """Return the floor of ascending values."""
    n_densest = int(_DENSEST * len(values))
    if n_densest < _FEWEST_DENSEST:
        return 1.0
    shortest = (values[n_densest:] - values[:-n_densest]).min()
    spread = shortest / (2.0 * ndtri(0.5 + 0.5 * _DENSEST))  # as that of a normal distribution
    return min(max(_OF_DENSEST * float(spread) ** 2, _LEAST_FLOOR), 1.0)


def target_scaling(
    y: np.ndarray, weights: np.ndarray, one_unit: bool, least: np.ndarray | float = 0.0
) -> TargetScaling:
    """Return the scaling by the weighted mean and the unit of each target.

    Parameters
    ----------
    y : ndarray of shape (n, D)
    weights : ndarray of shape (n,)
    one_unit : bool
        Whether the targets must share one unit: the root of the mean variance of those that vary.
    least : ndarray of shape (D,), default=0.0
        Of units, where these are known to be representable.

    Raises
    ------
    ValueError
        If the variance of y is beyond float64, or below it but not zero.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, unit = mean_and_unit(y, weights)
    if not np.isfinite(unit).all():
        raise ValueError("y is too large: its variance is beyond float64")
    spread = np.ptp(y, axis=0)
    varies = spread > 0
    if np.max(least) == 0.0 and (varies & (spread < _LEAST_SPREAD)).any():
        raise ValueError(f"y is too small: it varies by {spread[varies].min():.3g}")
    if one_unit and varies.any():
        unit[:] = np.sqrt(np.mean(unit[varies] ** 2))
    return TargetScaling(mean, np.maximum(unit, least))


def fixed_variance(fixed_noise_level: float, unit: float) -> float:
    """Return a given noise level as a variance of standardised targets, within float32."""
    with np.errstate(over="ignore"):
        level = fixed_noise_level / unit
    if not 1e-15 <= level <= 1e15:
        raise ValueError(
            f"fixed_noise_level is {fixed_noise_level}, beyond 1e-15 to 1e15 standard deviations "
            f"of y ({unit:.3g})"
        )
    return float(level**2)
