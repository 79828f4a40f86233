"""Whether predictions are calibrated: transforms and coverage of all rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from skmdn.distribution.batch import check_count
from skmdn.metrics.calibration import pit_values

from .base import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self

CHANCE = 0.95  # how often right predictions keep inside a grey band
BAND: dict[str, Any] = {"color": "0.85", "zorder": 0, "label": f"{CHANCE:.0%} chance band"}
CALIBRATED = "calibrated"


class PITDisplay(Display):
    """Histogram of the probability integral transforms F(y | x), flat where predictions are right.

    A hump says that predictions are too wide, a valley too narrow, a slope too high or too low.
    Where many rows share a value of y, they share a transform, too: half-way up the jump of F.

    Parameters
    ----------
    y_true, mixture, target
        As for `ConditionalDensityDisplay`.

    Attributes
    ----------
    bars_ : BarContainer
        The density of the transforms.
    band_ : PolyCollection
        Holds a bar of right predictions 95 times in 100.
    line_ : Line2D
        The uniform density.
    ax_, figure_ : Axes, Figure

    Examples
    --------
    >>> import numpy as np
    >>> from skmdn import NormalMixture
    >>> from skmdn.display import PITDisplay
    >>> mixture = NormalMixture(np.ones((4, 1)), np.zeros((4, 1)), np.ones((4, 1)))
    >>> display = PITDisplay.from_predictions([-0.2, -0.1, 0.1, 2.0], mixture, n_bins=4)
    >>> [float(bar.get_height()) for bar in display.bars_]
    [0.0, 2.0, 1.0, 1.0]
    """

    bars_: Any

    def plot(self, ax: Axes | None = None, *, n_bins: int = 10, **kwargs: Any) -> Self:
        """Draw the histogram over the band in which chance alone would keep it.

        Parameters
        ----------
        ax : Axes, default=None
        n_bins : int, default=10
        **kwargs
            Passed to `Axes.hist`.

        Returns
        -------
        PITDisplay
            The display itself.

        Raises
        ------
        ValueError
            If ``n_bins`` is not a positive integer.
        """
        share = 1 / check_count("n_bins", n_bins)
        expected = len(self.y_true) * share
        low, high = stats.binom.interval(CHANCE, len(self.y_true), share)
        ax = self._begin(ax)
        self.band_ = ax.fill_between([0, 1], low / expected, high / expected, **BAND)
        style = {"color": "tab:blue", "alpha": 0.7, "edgecolor": "white", **kwargs}
        pit = pit_values(self.y_true, self.mixture)
        _, _, self.bars_ = ax.hist(pit, n_bins, range=(0, 1), density=True, **style)
        (self.line_,) = ax.plot([0, 1], [1, 1], "k:", label=CALIBRATED)
        ax.set(xlabel="probability integral transform F(y | x)", ylabel="density", xlim=(0, 1))
        ax.legend(loc="lower right", framealpha=1)
        return self


class CoverageDisplay(Display):
    """Share of rows inside their central intervals, against the probability of these.

    Right predictions follow the diagonal; too narrow ones, or ones off the mark, run below it, too
    wide ones above. A second display on the same axes adds its curve alone.

    Parameters
    ----------
    y_true, mixture, target
        As for `ConditionalDensityDisplay`.

    Attributes
    ----------
    line_ : Line2D
        The measured shares.
    ax_, figure_ : Axes, Figure

    Examples
    --------
    >>> import numpy as np
    >>> from skmdn import NormalMixture
    >>> from skmdn.display import CoverageDisplay
    >>> mixture = NormalMixture(np.ones((4, 1)), np.zeros((4, 1)), np.ones((4, 1)))
    >>> display = CoverageDisplay.from_predictions([-0.2, -0.1, 0.1, 2.0], mixture, n_levels=3)
    >>> display.line_.get_xydata()
    array([[0.25, 0.75],
           [0.5 , 0.75],
           [0.75, 0.75]])
    """

    def plot(
        self, ax: Axes | None = None, *, n_levels: int = 19, name: str = "measured", **kwargs: Any
    ) -> Self:
        """Draw the curve, the diagonal, and the band in which chance alone would keep a point.

        Parameters
        ----------
        ax : Axes, default=None
        n_levels : int, default=19
            How many evenly spaced probabilities to ask.
        name : str, default="measured"
            What the legend calls the curve.
        **kwargs
            Passed to `Axes.plot`.

        Returns
        -------
        CoverageDisplay
            The display itself.

        Raises
        ------
        ValueError
            If ``n_levels`` is not a positive integer.
        """
        levels = np.arange(1, check_count("n_levels", n_levels) + 1) / (n_levels + 1)
        off_centre = 2.0 * np.abs(pit_values(self.y_true, self.mixture) - 0.5)
        shares = [(off_centre <= level).mean() for level in levels]
        ax = self._begin(ax)
        if CALIBRATED not in ax.get_legend_handles_labels()[1]:
            n, probabilities = len(self.y_true), np.linspace(0, 1, 201)
            low, high = stats.binom.interval(CHANCE, n, probabilities)
            ax.fill_between(probabilities, low / n, high / n, **BAND)
            ax.plot([0, 1], [0, 1], "k:", label=CALIBRATED)
        style = {"marker": "s", "markersize": 4, "label": name, **kwargs}
        (self.line_,) = ax.plot(levels, shares, **style)
        ax.set(xlabel="probability of the central interval", ylabel="share of rows inside")
        ax.legend(loc="lower right")
        return self
