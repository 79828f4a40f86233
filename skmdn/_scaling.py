"""Targets in and out of the units the networks learn in."""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import StandardScaler

#: Variances of what varies by less have lost their digits.
_LEAST_SPREAD = 1e-150


def target_scaling(
    y: np.ndarray, weights: np.ndarray, one_unit: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean and the unit of each target, (D,) both.

    Parameters
    ----------
    y : ndarray of shape (n, D)
    weights : ndarray of shape (n,)
    one_unit : bool
        Whether the targets must share one unit: the root of the mean variance of those that vary.

    Raises
    ------
    ValueError
        If the variance of y is beyond float64, or below it but not zero.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaler = StandardScaler().fit(y, sample_weight=weights)
    scale = scaler.scale_
    if not np.isfinite(scale).all():
        raise ValueError("y is too large: its variance is beyond float64")
    spread = np.ptp(y, axis=0)
    varies = spread > 0
    if (varies & (spread < _LEAST_SPREAD)).any():
        raise ValueError(f"y is too small: it varies by {spread[varies].min():.3g}")
    if one_unit and varies.any():
        scale[:] = np.sqrt(np.mean(scale[varies] ** 2))
    return scaler.mean_, scale


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
