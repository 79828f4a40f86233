"""What raw outputs of networks stand for: components on the way, and finished mixtures.

Arrays are laid out (members E, components K, targets D, rows B), finished ones (E, B, K, D).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .arrays import Array, namespace
from .atoms import Pins
from .bounds import Bounds
from .rounding import Rounding


class Components(NamedTuple):
    """Means and variances of components, broadcastable to (E, K, D, B), and how they came about.

    Attributes
    ----------
    means : array
    excess : array
        The variances above their floor; where they are given, the variance.
    couplings : array of shape (E, K, D (D - 1) / 2, B)
    slope, bend : array or None
        m' and m'' / m' of the curve, where there is one.
    """

    means: Array
    excess: Array
    couplings: Array
    slope: Array | None = None
    bend: Array | None = None

    def pinned(self, pins: Pins) -> Components:
        """Return them with some targets pinned."""
        # The slope may stay: pinned targets are not coupled, and `MixtureLoss.gradient` leaves
        # their locations without a gradient.
        return self._replace(
            means=pins.means(self.means),
            excess=self.excess * pins.free,
            couplings=self.couplings * pins.coupled,
        )

    def rounded(self, rounding: Rounding, locations: Array, excess: Array) -> Components:
        """Return them with targets on grids as they are learned: on no curve."""
        if self.slope is None or self.bend is None:
            return self
        xp, free = namespace(locations), rounding.free == 1.0
        return self._replace(
            means=xp.where(free, self.means, locations),
            excess=xp.where(free, self.excess, excess),
            slope=xp.where(free, self.slope, xp.ones_like(self.slope)),
            bend=self.bend * rounding.free,
        )

    def within(self, bounds: Bounds, learned: bool) -> Components:
        """Return them within bounds; variances that are not ``learned`` are what they are."""
        excess = bounds.excess(self.excess) if learned else self.excess
        return self._replace(means=bounds.means(self.means), excess=excess)


@dataclass(frozen=True)
class MixtureParameters:
    """What raw outputs stand for.

    Attributes
    ----------
    weights : ndarray of shape (E, B, K + A)
    means : ndarray of shape (E, B, K, D)
    sds : ndarray of shape (E, B, K, D)
        Conditional standard deviations; the marginal ones where ``factor`` is None.
    factor : ndarray of shape (E, B, K, D, D) or None
        Lower Cholesky factors of the covariances, where targets are correlated.
    cells : ndarray of shape (2, E, B, K, G) or None
        Location and steepness of what is rounded to grids, where some targets are.
    """

    weights: np.ndarray
    means: np.ndarray
    sds: np.ndarray
    factor: np.ndarray | None
    cells: np.ndarray | None = None
