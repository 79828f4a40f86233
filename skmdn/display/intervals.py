"""The rows one by one: their intervals, and what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Display, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self


class IntervalDisplay(Display):
    """Central intervals of the rows and what happened, in the order of their medians.

    Parameters
    ----------
    y_true, mixture, target
        As for `ConditionalDensityDisplay`.

    Attributes
    ----------
    intervals_ : LineCollection
    line_ : Line2D
        The medians.
    inside_, outside_ : PathCollection
        What happened, inside the intervals and out of them.
    ax_, figure_ : Axes, Figure

    Examples
    --------
    >>> import numpy as np
    >>> from skmdn import NormalMixture
    >>> from skmdn.display import IntervalDisplay
    >>> mixture = NormalMixture(np.ones((4, 1)), np.zeros((4, 1)), np.ones((4, 1)))
    >>> display = IntervalDisplay.from_predictions([-0.2, -0.1, 0.1, 2.0], mixture)
    >>> display.outside_.get_label()
    'outside: 25%'
    """

    def plot(
        self, ax: Axes | None = None, *, coverage: float = 0.9, subsample: int = 200, **kwargs: Any
    ) -> Self:
        """Draw the intervals side by side; the legend counts all rows.

        Parameters
        ----------
        ax : Axes, default=None
        coverage : float, default=0.9
            Probability of the intervals.
        subsample : int, default=200
            The most rows to draw, evenly spread over their order.
        **kwargs
            Passed to `Axes.scatter`.

        Returns
        -------
        IntervalDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the coverage is not inside (0, 1), or ``subsample`` is not a positive integer.
        """
        (lower, upper), median = self.mixture.interval(coverage), self.mixture.median()
        rank = spread(len(median), subsample)
        rows = median.argsort(kind="stable")[rank]
        ax = self._begin(ax)
        style: dict[str, Any] = {"alpha": 0.4, "label": f"{100 * coverage:.3g}% interval"}
        self.intervals_ = ax.vlines(rank, lower[rows], upper[rows], color="tab:blue", **style)
        (self.line_,) = ax.plot(rank, median[rows], color="tab:blue", label="median")
        inside = (lower <= self.y_true) & (self.y_true <= upper)

        def drawn(name, those, color):
            """Draw the targets of those rows, and say in the legend what share they are."""
            label, shown = f"{name}: {100 * those.mean():.3g}%", those[rows]
            style = {"label": label, "s": 4, "color": color, "zorder": 2.5, **kwargs}
            return ax.scatter(rank[shown], self.y_true[rows[shown]], **style)

        self.inside_ = drawn("inside", inside, "black")
        self.outside_ = drawn("outside", ~inside, "tab:red")
        ax.set(xlabel=f"{len(median)} rows, in the order of their medians", ylabel="y")
        ax.set_ylim(top=np.dot(ax.get_ylim(), [-0.2, 1.2]))  # room for the legend
        ax.legend(loc="upper left", ncols=2)
        return self
