"""Scores of mixtures for ``GridSearchCV(scoring=...)``: larger is better."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.metrics._scorer import _BaseScorer
from sklearn.pipeline import Pipeline

from skmdn.distribution.mixture import NormalMixture
from skmdn.metrics.calibration import calibration_error
from skmdn.metrics.scores import (
    crps,
    energy_score,
    interval_score,
    negative_log_likelihood,
    pinball_loss,
)


class MixtureScorer(_BaseScorer):
    """A scorer ``(estimator, X, y, sample_weight=None)`` that asks for `predict_mixture`.

    A search or a pipeline that ends in such an estimator will do; scikit-learn's own scorers know
    of `predict` and `predict_proba` only. Built by `make_mixture_scorer`.

    Examples
    --------
    >>> import numpy as np
    >>> from skmdn import MDNRegressor
    >>> from skmdn.metrics import crps, make_mixture_scorer
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> model = MDNRegressor(n_estimators=1, max_iter=5, random_state=0).fit(X, X[:, 0])
    >>> make_mixture_scorer(crps)(model, X, X[:, 0]) < 0
    True
    """

    def _score(
        self, method_caller: Any, estimator: Any, X: Any, y_true: Any, **kwargs: Any
    ) -> float:
        mixture = predict_mixture(estimator, X)
        return self._sign * float(self._score_func(y_true, mixture, **{**self._kwargs, **kwargs}))

    def __repr__(self) -> str:
        arguments = [self._score_func.__name__, f"greater_is_better={self._sign > 0}"]
        arguments += [f"{name}={value!r}" for name, value in self._kwargs.items()]
        return f"make_mixture_scorer({', '.join(arguments)})"


def make_mixture_scorer(
    score_func: Callable[..., Any], *, greater_is_better: bool = False, **kwargs: Any
) -> MixtureScorer:
    """Make a scorer, for ``GridSearchCV(scoring=...)`` say, of a score of ``(y_true, mixture)``.

    Parameters
    ----------
    score_func : callable
        Such as `crps`; it may take ``sample_weight``.
    greater_is_better : bool, default=False
        A loss, the default, changes its sign.
    **kwargs
        Further arguments of the score, such as ``coverage=0.5``.

    Returns
    -------
    MixtureScorer
        Larger is better; in the units of the score.

    Examples
    --------
    >>> from skmdn.metrics import interval_score, make_mixture_scorer
    >>> make_mixture_scorer(interval_score, coverage=0.5)
    make_mixture_scorer(interval_score, greater_is_better=False, coverage=0.5)
    """
    return MixtureScorer(score_func, 1 if greater_is_better else -1, kwargs)


SCORERS = {
    "log_likelihood": make_mixture_scorer(negative_log_likelihood),
    "neg_crps": make_mixture_scorer(crps),
    "neg_energy_score": make_mixture_scorer(energy_score),
    "neg_interval_score": make_mixture_scorer(interval_score),
    "neg_pinball_loss": make_mixture_scorer(pinball_loss),
    "neg_calibration_error": make_mixture_scorer(calibration_error),
}


def predict_mixture(estimator: Any, X: Any) -> NormalMixture:
    """Ask an estimator, or the one that a search or a pipeline ends in."""
    if hasattr(estimator, "best_estimator_"):
        return predict_mixture(estimator.best_estimator_, X)
    if isinstance(estimator, Pipeline):
        X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        return predict_mixture(estimator[-1], X)
    if not hasattr(estimator, "predict_mixture"):
        raise TypeError(
            f"estimator must have predict_mixture, or be a search that is fitted; got "
            f"{type(estimator).__name__} (for its own score, scoring=None)"
        )
    return estimator.predict_mixture(X)
