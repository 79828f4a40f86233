"""What was learned: conditional densities along one feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing

from skmdn.distribution.batch import broadcast, check_count, check_coverage
from skmdn.distribution.mixture import NormalMixture
from skmdn.distribution.scale import Array
from skmdn.metrics.scorers import predict_mixture

from .base import Display, pyplot, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self

CELLS = 150  # cells along the axis of y
TAIL = 0.005  # what the axis of y may leave out at either end of a density


class ConditionalDensityDisplay(Display):
    """Predicted distributions of y along x, and what happened as points.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, D)
        Observed targets.
    mixture : NormalMixture
        Predicted distributions, one a row.
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
        The median; only of the kind "interval".
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
        estimator : object
            Fitted, with `predict_mixture`; or a search or pipeline that ends in such a one.
        X : array, frame or sparse matrix of shape (n, n_features)
        y : array-like of shape (n,) or (n, D)
            Observed targets.
        feature : int or str, default=0
            The column of X, by position or name.
        **kwargs
            As `from_predictions` takes them; of several features, ``n_neighbors`` is 20 unless
            given.

        Returns
        -------
        ConditionalDensityDisplay
            The display itself, drawn.

        Raises
        ------
        NotFittedError, TypeError
            If the estimator is not fitted, or has no `predict_mixture`.
        ValueError
            If the feature is no column of X, and as for `from_predictions`.
        ImportError
            Without matplotlib.
        """
        pyplot(cls)
        X = X if hasattr(X, "shape") else np.asarray(X)
        X = X.tocsr() if hasattr(X, "tocsr") else X
        try:
            names = getattr(X, "columns", range(X.shape[1]))
            x = _safe_indexing(X, feature, axis=1)
            name = feature if isinstance(feature, str) else names[feature]
        except (IndexError, KeyError, TypeError, ValueError):
            raise ValueError(f"feature must be a column of X; got {feature!r}") from None
        x = x.toarray().ravel() if hasattr(x, "toarray") else x
        kwargs.setdefault("n_neighbors", 1 if X.shape[1] == 1 else 20)
        kwargs.setdefault("x_name", name if isinstance(name, str) else f"feature {feature}")
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
        """Show predicted rows along x.

        Parameters
        ----------
        y_true, mixture, target, x, x_name, n_neighbors
            As in the class.
        **kwargs
            As `plot` takes them.

        Returns
        -------
        ConditionalDensityDisplay
            The display itself, drawn.

        Raises
        ------
        ValueError
            If ``y_true`` has no rows, is not finite or not shaped like the mixture; if the target
            is none of those there are, or not told where there are several; if x is not a finite
            number a row, or ``n_neighbors`` not a positive integer.
        TypeError
            If the mixture is not a NormalMixture.
        ImportError
            Without matplotlib.
        """
        pyplot(cls)
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

        Returns
        -------
        ConditionalDensityDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the kind is none of these, there is no coverage or one is not inside (0, 1),
            ``subsample`` is not a positive integer, or fewer than two values of x are left.
        """
        kinds = {"density": self._density, "interval": self._intervals, "region": self._regions}
        if kind not in kinds:
            raise ValueError(f"kind must be one of {', '.join(kinds)}; got {kind!r}")
        levels = sorted({check_coverage(level) for level in np.atleast_1d(coverage)})
        if not levels:
            raise ValueError("coverage must have a probability at least; got none")
        x, mixture = self._neighbourhoods(subsample)
        ax = self._begin(ax)
        ax.use_sticky_edges = False  # or the frame of a map would cut points in half
        kinds[kind](x, mixture, levels, pyplot(type(self)).get_cmap(cmap))
        style = {"label": "observed", "s": 4, "color": "black", "alpha": 0.6, "zorder": 2.5}
        self.scatter_ = ax.scatter(self.x, self.y_true, **{**style, **kwargs})
        ax.set(xlabel=self.x_name, ylabel="y")
        ax.legend()
        return self

    def _neighbourhoods(self, subsample: int) -> tuple[Array, NormalMixture]:
        """Values spread along x, and the mean density of the rows around each."""
        order, size = self.x.argsort(kind="stable"), self.n_neighbors
        ascending = self.x[order]
        x = np.unique(ascending[spread(len(order), subsample)])
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
