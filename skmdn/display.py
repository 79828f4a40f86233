"""Pictures of predicted mixtures, in the manner of scikit-learn's Display objects.

`ConditionalDensityDisplay` shows what was learned, `PITDisplay` and `CoverageDisplay` whether it
is calibrated, `IntervalDisplay` the rows one by one. Each is made ``from_estimator``, of one that
has ``predict_mixture`` (or a pipeline or a search that ends in one) and rows it has not seen, or
``from_predictions``; ``plot`` draws it again. Matplotlib comes with ``skmdn[plot]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.utils import _safe_indexing

from skmdn.distribution.batch import broadcast, check_count, check_coverage
from skmdn.distribution.mixture import NormalMixture
from skmdn.distribution.scale import Array
from skmdn.metrics.scorers import predict_mixture
from skmdn.metrics.scores import check_target, interval_coverage, pit_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self

CELLS = 150  # cells along the axis of y
TAIL = 0.005  # what the axis of y may leave out at either end of a density
CHANCE = 0.95  # how often right predictions keep inside a grey band
BAND: dict[str, Any] = {"color": "0.85", "zorder": 0, "label": f"{CHANCE:.0%} chance band"}
CALIBRATED = "calibrated"


class _Display:
    """Predictions of rows and what happened, of one target."""

    ax_: Any
    figure_: Any
    line_: Any

    def __init__(
        self, *, y_true: ArrayLike, mixture: NormalMixture, target: int | None = None
    ) -> None:
        self.y_true, self.mixture = check_target(y_true, mixture), mixture
        n_targets = mixture.n_targets
        chosen = 0 if target is None and n_targets == 1 else target
        if chosen is None or chosen not in range(n_targets):
            raise ValueError(f"target must be one of 0..{n_targets - 1}; got {target!r}")
        if self.y_true.ndim == 2:
            self.y_true, self.mixture = self.y_true[:, chosen], mixture.marginal(chosen)

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: ArrayLike, **kwargs: Any) -> Self:
        """Predict the rows of X, and go on as in `from_predictions`."""
        _pyplot(cls)
        return cls.from_predictions(y, predict_mixture(estimator, X), **kwargs)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, mixture: NormalMixture, *, target: int | None = None, **kwargs: Any
    ) -> Self:
        """Compare what happened with what was predicted; other arguments are those of `plot`."""
        _pyplot(cls)
        return cls(y_true=y_true, mixture=mixture, target=target).plot(**kwargs)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw on these axes, or in a figure of its own."""
        raise NotImplementedError

    def _begin(self, ax: Axes | None) -> Any:
        self.ax_ = _pyplot(type(self)).subplots()[1] if ax is None else ax
        self.figure_ = self.ax_.figure
        return self.ax_


class ConditionalDensityDisplay(_Display):
    """Predicted distributions of y along x, and what happened as points.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, D)
        What happened.
    mixture : NormalMixture
        What was predicted, one mixture a row.
    x : array-like of shape (n,), default=None
        Where each row stands: a feature, the time; None for the order of the rows.
    x_name : str, default="x"
    n_neighbors : int, default=1
        Over how many rows, neighbours along x, to average each density: what else they differ in
        is averaged out.
    target : int, default=None
        Which target to show, of several.

    Attributes
    ----------
    shades_ : QuadMesh, QuadContourSet or list of PolyCollection
        For the kinds "density", "region" and "interval", there the widest first.
    line_ : Line2D
        The median, beside intervals.
    scatter_ : PathCollection
    ax_, figure_ : Axes, Figure

    Examples
    --------
    >>> import numpy as np
    >>> from skmdn import NormalMixture
    >>> from skmdn.display import ConditionalDensityDisplay
    >>> x = np.linspace(0, 1, 50)
    >>> fork = NormalMixture(np.full((50, 2), 0.5), np.outer(x, [-1, 1]), np.full((50, 2), 0.01))
    >>> y = fork.sample(random_state=0)
    >>> display = ConditionalDensityDisplay.from_predictions(y, fork, x=x, kind="region")
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['90% region', '50% region', 'observed']
    """

    shades_: Any

    def __init__(
        self, *, x: ArrayLike | None = None, x_name: str = "x", n_neighbors: int = 1, **rows: Any
    ) -> None:
        super().__init__(**rows)
        n, self.x_name = len(self.y_true), x_name
        self.x = broadcast("x", np.arange(n) if x is None else x, (n,))
        self.n_neighbors = min(n, check_count("n_neighbors", n_neighbors))

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, feature: int | str = 0, **kwargs: Any
    ) -> Self:
        """Predict the rows of X, and show them along one feature.

        Parameters
        ----------
        estimator : fitted estimator
        X : array or frame of shape (n, n_features)
        y : array-like of shape (n,) or (n, D)
        feature : int or str, default=0
            The column of X, by position or name.
        **kwargs
            Those of `from_predictions`; of several features, ``n_neighbors`` is 20 unless given.
        """
        _pyplot(cls)
        X = X if hasattr(X, "shape") else np.asarray(X)
        try:
            x = _safe_indexing(X, feature, axis=1)
        except (IndexError, KeyError, ValueError):
            raise ValueError(f"feature must be a column of X; got {feature!r}") from None
        kwargs.setdefault("n_neighbors", 1 if X.shape[1] == 1 else 20)
        kwargs.setdefault("x_name", feature if isinstance(feature, str) else f"feature {feature}")
        return cls.from_predictions(y, predict_mixture(estimator, X), x=x, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        mixture: NormalMixture,
        *,
        target: int | None = None,
        x: ArrayLike | None = None,
        x_name: str = "x",
        n_neighbors: int = 1,
        **kwargs: Any,
    ) -> Self:
        """Show predicted rows along x; other arguments are those of `plot`."""
        _pyplot(cls)
        places: dict[str, Any] = {"x": x, "x_name": x_name, "n_neighbors": n_neighbors}
        return cls(y_true=y_true, mixture=mixture, target=target, **places).plot(**kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        kind: str = "density",
        coverage: float | Sequence[float] = (0.5, 0.9),
        subsample: int = 100,
        cmap: Any = "Blues",
        **kwargs: Any,
    ) -> Self:
        """Draw the distributions, and the points over them.

        Parameters
        ----------
        ax : Axes, default=None
        kind : {"density", "interval", "region"}, default="density"
            A map of the density; central intervals and the median; or highest-density regions,
            which fall apart where there are several modes.
        coverage : float or sequence of float, default=(0.5, 0.9)
            Probabilities of the intervals or regions.
        subsample : int, default=100
            The most densities to draw, evenly spread over the rows.
        cmap : str or Colormap, default="Blues"
        **kwargs
            Passed to `Axes.scatter`.
        """
        kinds = {"density": self._density, "interval": self._intervals, "region": self._regions}
        if kind not in kinds:
            raise ValueError(f"kind must be one of {', '.join(kinds)}; got {kind!r}")
        levels = sorted({check_coverage(level) for level in np.atleast_1d(coverage)})
        x, mixture = self._neighbourhoods(subsample)
        ax = self._begin(ax)
        ax.use_sticky_edges = False  # or the frame of a map would cut points in half
        kinds[kind](x, mixture, levels, _pyplot(type(self)).get_cmap(cmap))
        style = {"label": "observed", "s": 4, "color": "black", "alpha": 0.6, "zorder": 2.5}
        self.scatter_ = ax.scatter(self.x, self.y_true, **{**style, **kwargs})
        ax.set(xlabel=self.x_name, ylabel="y")
        ax.legend()
        return self

    def _neighbourhoods(self, subsample: int) -> tuple[Array, NormalMixture]:
        """Values spread along x, and the mean density of the rows around each."""
        order, size = self.x.argsort(kind="stable"), self.n_neighbors
        ascending = self.x[order]
        x = np.unique(ascending[_spread(len(order), subsample)])
        if len(x) < 2:
            raise ValueError("x and subsample must leave two different values of x at least")
        centres = (ascending.searchsorted(x) + ascending.searchsorted(x, "right")) // 2
        first = np.clip(centres - size // 2, 0, len(order) - size)
        windows = [order[first + i] for i in range(size)]
        return x, NormalMixture.mix([self.mixture[rows] for rows in windows])

    def _density(self, x: Array, mixture: NormalMixture, _: Any, cmap: Any) -> None:
        centres, density = self._cells(mixture)
        self.shades_ = self.ax_.pcolormesh(x, centres, density, cmap=cmap, rasterized=True)
        self.figure_.colorbar(self.shades_, ax=self.ax_, label="predicted density")

    def _intervals(self, x: Array, mixture: NormalMixture, levels: Any, cmap: Any) -> None:
        self.shades_ = []
        for level in reversed(levels):
            style = {"color": cmap(0.8 - 0.6 * level), "label": f"{100 * level:.3g}% interval"}
            ends = mixture.interval(level)
            self.shades_.append(self.ax_.fill_between(x, *ends, linewidth=0, **style))
        (self.line_,) = self.ax_.plot(x, mixture.median(), color="black", label="median")

    def _regions(self, x: Array, mixture: NormalMixture, levels: Any, cmap: Any) -> None:
        """Fill the cells by the probability of all that are denser, and half their own.

        `NormalMixture.region` is exact, but takes time with the square of the components, of
        which averages over rows have thousands.
        """
        centres, density = self._cells(mixture)
        probability = density / density.sum(axis=0)
        denser = np.where(probability > probability[:, None], probability, 0).sum(axis=1)
        filled, colors = denser + probability / 2, [cmap(0.8 - 0.6 * level) for level in levels]
        self.shades_ = self.ax_.contourf(x, centres, filled, [0, *levels], colors=colors)
        for level, color in zip(levels[::-1], colors[::-1], strict=True):  # for the legend
            self.ax_.fill_between([], [], color=color, label=f"{100 * level:.3g}% region")

    def _cells(self, mixture: NormalMixture) -> tuple[Array, Array]:
        """Centres of cells along y, and the mean density in each: no peak slips through."""
        ends = mixture.ppf([[TAIL], [1 - TAIL]])
        low, high = min(ends.min(), self.y_true.min()), max(ends.max(), self.y_true.max())
        edges = np.linspace(low, high, CELLS + 1)
        walls = np.broadcast_to(edges[:, None], (CELLS + 1, len(mixture)))
        probability = mixture.probability_between(walls[:-1], walls[1:])
        return (edges[:-1] + edges[1:]) / 2, probability * CELLS / (high - low)


class PITDisplay(_Display):
    """Histogram of the probability integral transforms F(y | x), flat where predictions are right.

    A hump says that predictions are too wide, a valley too narrow, a slope too high or too low.

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


class CoverageDisplay(_Display):
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
        """
        levels = np.arange(1, check_count("n_levels", n_levels) + 1) / (n_levels + 1)
        shares = [interval_coverage(self.y_true, self.mixture, coverage=p) for p in levels]
        ax = self._begin(ax)
        if CALIBRATED not in ax.get_legend_handles_labels()[1]:
            n, probabilities = len(self.y_true), np.linspace(0, 1, 201)
            low, high = stats.binom.interval(CHANCE, n, probabilities)
            ax.fill_between(probabilities, low / n, high / n, **BAND)
            ax.plot([0, 1], [0, 1], "k:", label=CALIBRATED)
        style = {"marker": "s", "markersize": 4, "label": name, **kwargs}
        (self.line_,) = ax.plot(levels, np.array(shares), **style)
        ax.set(xlabel="probability of the central interval", ylabel="share of rows inside")
        ax.legend(loc="lower right")
        return self


class IntervalDisplay(_Display):
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
        """
        (lower, upper), median = self.mixture.interval(coverage), self.mixture.median()
        rank = _spread(len(median), subsample)
        rows = median.argsort(kind="stable")[rank]
        ax = self._begin(ax)
        style: dict[str, Any] = {"alpha": 0.4, "label": f"{100 * coverage:.3g}% interval"}
        self.intervals_ = ax.vlines(rank, lower[rows], upper[rows], color="tab:blue", **style)
        (self.line_,) = ax.plot(rank, median[rows], color="tab:blue", label="median")
        inside = (lower <= self.y_true) & (self.y_true <= upper)
        for name, those, color in (("inside", inside, "black"), ("outside", ~inside, "tab:red")):
            label, shown = f"{name}: {100 * those.mean():.3g}%", those[rows]
            style = {"label": label, "s": 4, "color": color, "zorder": 2.5, **kwargs}
            points = ax.scatter(rank[shown], self.y_true[rows[shown]], **style)
            setattr(self, f"{name}_", points)
        ax.set(xlabel=f"{len(median)} rows, in the order of their medians", ylabel="y")
        ax.set_ylim(top=np.dot(ax.get_ylim(), [-0.2, 1.2]))  # room for the legend
        ax.legend(loc="upper left", ncols=2)
        return self


def _spread(n: int, most: int) -> NDArray[np.intp]:
    """Positions evenly spread over n, all of them where they are not too many."""
    return np.linspace(0, n - 1, min(n, check_count("subsample", most))).round().astype(np.intp)


def _pyplot(display: type) -> Any:
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        needs = f"{display.__name__} requires matplotlib"
        raise ImportError(f"{needs}: pip install 'skmdn[plot]'") from None
    return plt
