"""How far learned components may reach: as far as the targets do, before factors of variances.

A component with next to no weight tells held-out rows nothing, wherever it is and however wide;
but at 1e10 standard deviations, its weight of 1e-10 is the mean, and all of the variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import Array, ArrayParts


@dataclass(frozen=True)
class Bounds(ArrayParts):
    """Bounds on the means and variances of components, for each of D targets.

    Parameters
    ----------
    lowest, highest : array of shape (D, 1)
        Between these the means are.
    largest : array of shape (D, 1) or (1, 1)
        The largest variance above the floor.
    """

    lowest: Array
    highest: Array
    largest: Array

    @classmethod
    def around(cls, extent: np.ndarray, per_target: bool) -> Bounds:
        """Return those of targets that lie between ``extent`` (2, D).

        Means may be beyond by as much as these are apart, and a standard deviation as large; or,
        where targets share one, as the largest of theirs. Standardised targets that are less than
        one apart vary by rounding alone.
        """
        lowest, highest = extent[:, :, None]
        width = np.maximum(highest - lowest, 1.0)
        largest = width**2 if per_target else width.max(keepdims=True) ** 2
        return cls(lowest - width, highest + width, largest)

    def means(self, means: Array) -> Array:
        """Return means (..., D, B) within the bounds."""
        return means.clip(self.lowest, self.highest)

    def excess(self, excess: Array) -> Array:
        """Return variances above their floor, (..., D, B) or (..., 1, B), within the bounds."""
        return excess.clip(None, self.largest)
