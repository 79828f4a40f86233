"""What all displays do: hold predictions and what happened, and begin a picture."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmdn.distribution.batch import check_count
from skmdn.distribution.mixture import NormalMixture
from skmdn.metrics._rows import check_target
from skmdn.metrics.scorers import predict_mixture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self


class Display:
    """Predictions of rows and what happened, of one target."""

    ax_: Any
    figure_: Any
    line_: Any

    def __init__(
        self, *, y_true: ArrayLike, mixture: NormalMixture, target: int | None = None
    ) -> None:
        self.y_true, self.mixture = check_target(y_true, mixture), mixture
        if len(mixture) == 0:
            raise ValueError("y_true has no rows, and there is nothing to show")
        n_targets = mixture.n_targets
        chosen = 0 if target is None and n_targets == 1 else target
        is_number = isinstance(chosen, Integral) and not isinstance(chosen, bool)
        if chosen is None or not is_number or chosen not in range(n_targets):
            raise ValueError(f"target must be one of 0..{n_targets - 1}; got {target!r}")
        if self.y_true.ndim == 2:
            self.y_true, self.mixture = self.y_true[:, chosen], mixture.marginal(chosen)

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: ArrayLike, **kwargs: Any) -> Self:
        """Predict the rows of X, and compare what happened with it.

        Parameters
        ----------
        estimator : object
            Fitted, with `predict_mixture`; or a search or pipeline that ends in such a one.
        X : array-like or sparse matrix of shape (n, n_features)
        y : array-like of shape (n,) or (n, D)
            Observed targets.
        **kwargs
            As `from_predictions` takes them.

        Returns
        -------
        Display
            The display itself, drawn.

        Raises
        ------
        NotFittedError, TypeError
            If the estimator is not fitted, or has no `predict_mixture`.
        ValueError
            As for `from_predictions`.
        ImportError
            Without matplotlib.
        """
        pyplot(cls)
        return cls.from_predictions(y, predict_mixture(estimator, X), **kwargs)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, mixture: NormalMixture, *, target: int | None = None, **kwargs: Any
    ) -> Self:
        """Compare what happened with what was predicted.

        Parameters
        ----------
        y_true : array-like of shape (n,) or (n, D)
            Observed targets.
        mixture : NormalMixture
            Predicted distributions, one a row.
        target : int, default=None
            Which target to show, of several.
        **kwargs
            As `plot` takes them.

        Returns
        -------
        Display
            The display itself, drawn.

        Raises
        ------
        ValueError
            If ``y_true`` has no rows, is not finite or not shaped like the mixture; or if the
            target is none of those there are, or not told where there are several.
        TypeError
            If the mixture is not a NormalMixture.
        ImportError
            Without matplotlib.
        """
        pyplot(cls)
        return cls(y_true=y_true, mixture=mixture, target=target).plot(**kwargs)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : Axes, default=None
            None for a figure of its own.

        Returns
        -------
        Display
            The display itself.
        """
        raise NotImplementedError

    def _begin(self, ax: Axes | None) -> Any:
        self.ax_ = pyplot(type(self)).subplots()[1] if ax is None else ax
        self.figure_ = self.ax_.figure
        return self.ax_


def spread(n: int, most: int) -> NDArray[np.intp]:
    """Positions evenly spread over n, all of them where they are not too many."""
    return np.linspace(0, n - 1, min(n, check_count("subsample", most))).round().astype(np.intp)


def pyplot(display: type) -> Any:
    """Import matplotlib for a display, or say what is missing."""
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        needs = f"{display.__name__} requires matplotlib"
        raise ImportError(f"{needs}: pip install 'skmdn[plot]'") from None
    return plt
