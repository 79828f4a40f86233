"""What an estimator answers once it can give a mixture for each row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import (
    check_array,
    check_consistent_length,
    check_random_state,
    column_or_1d,
    gen_batches,
)
from sklearn.utils._chunking import get_chunk_n_rows
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from skmdn.distribution.batch import check_probability, weighted_mean
from skmdn.distribution.density import generator
from skmdn.distribution.mixture import NormalMixture

#: Rows beyond which a larger block is no faster.
_MOST_ROWS = 2**15
#: Kinds of numbers that rows are predicted in; others become the first.
_PRECISIONS = (np.float64, np.float32)
#: Arrays as large as what a row has that an answer holds at once.
_TEMPORARIES = 40


def per_target(mixture: NormalMixture, answer: Callable[[NormalMixture], np.ndarray]):
    """Answer for each target's marginal, (n, D, ...); for a 1-D y, (n, ...)."""
    if mixture.means.ndim == 2:
        return answer(mixture)
    marginals = (mixture.marginal(d) for d in range(mixture.n_targets))
    return np.stack([answer(marginal) for marginal in marginals], axis=1)


POINT_ESTIMATES: dict[str, Callable[[NormalMixture], np.ndarray]] = {
    "mean": NormalMixture.mean,
    "median": lambda mixture: per_target(mixture, NormalMixture.median),
    "mode": NormalMixture.mode,
}


def row_blocks(n_rows: int, numbers_per_row: int) -> Iterator[slice]:
    """Cut rows that take so many numbers each, and temporaries, to fit ``working_memory``."""
    size = get_chunk_n_rows(8 * _TEMPORARIES * numbers_per_row, max_n_rows=_MOST_ROWS)
    return gen_batches(n_rows, size)


def shallow_copy(estimator):
    """Return a copy that shares all attributes; `copy.copy` leaves out what a pickle may."""
    twin = object.__new__(type(estimator))
    twin.__dict__.update(estimator.__dict__)
    return twin


def replaced(estimator, learn: Callable):
    """Let a copy learn, and become it once it has: an error leaves the old model whole."""
    model = shallow_copy(estimator)
    learn(model)
    estimator.__dict__.clear()
    estimator.__dict__.update(model.__dict__)
    return estimator


def own_random_state(random_state):
    """Return the model's own random state; one that is given is advanced by a draw."""
    if random_state is None:
        return np.random.RandomState()  # afresh: the global state is the caller's
    if isinstance(random_state, np.random.RandomState):
        return np.random.RandomState(random_state.randint(2**31))
    return check_random_state(random_state)


@contextmanager
def naming(argument: str) -> Iterator[None]:
    """Put its name before errors that do not name it, scikit-learn's about shapes, say."""
    try:
        # To find NaN, scikit-learn sums the cells; infinite sums of both signs may meet.
        with np.errstate(invalid="ignore"):
            yield
    except (TypeError, ValueError) as error:
        if re.search(rf"\b{argument}\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{argument}: {error}") from None


def refuse_dates(argument: str, data) -> None:
    """Raise for dates and durations: as integers they depend on a unit, and NaT is one."""
    dtypes = getattr(data, "dtypes", getattr(data, "dtype", None))  # of frames, and of arrays
    if any(map(_is_temporal, np.array(dtypes, dtype=object).ravel())):
        raise ValueError(f"{argument} must be numbers; got dates or durations: convert them first")


def _is_temporal(dtype) -> bool:
    """Say whether values are dates or durations: NumPy and pandas have kinds, polars a method."""
    return getattr(dtype, "kind", "") in {*"mM"} or getattr(dtype, "is_temporal", bool)()


def check_targets(y) -> np.ndarray:
    """Return finite targets (n,) or (n, D) in float64, or an error that names them."""
    refuse_dates("y", y)
    kinds = {"ensure_2d": False, "dtype": np.float64, "ensure_min_samples": 0}
    with naming("y"):
        checked = None if y is None else check_array(y, **kinds, input_name="y")
    if checked is None:
        raise ValueError("this requires y to be passed, but the target y is None")
    if checked.ndim == 0:
        raise ValueError(f"y must have one or two axes; got the single value {y!r}")
    return checked


def check_training_rows(estimator, X, y, reset: bool = True):
    """Return X and float64 targets (n,) or (n, D) to learn from, or an error that names them."""
    y = check_targets(y)
    if len(y) == 0:  # which scikit-learn would say of X
        with naming("y"):
            check_consistent_length(X, y)
    refuse_dates("X", X)
    with naming("X"):
        return validate_data(
            estimator,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            dtype=list(_PRECISIONS),
            ensure_min_samples=2,
            reset=reset,
        )


def check_weights(sample_weight, rows) -> np.ndarray:
    """Return weights (n,) of rows, or an error that names them."""
    with naming("sample_weight"):
        weights = _check_sample_weight(
            sample_weight, rows, dtype=np.float64, ensure_non_negative=True
        )
    if not weights.any():
        raise ValueError("sample_weight is zero for every row; at least one must be positive")
    return weights


def check_groups(groups, n_rows: int) -> np.ndarray | None:
    """Return labels (n,) that can be sorted, or an error that names them."""
    if groups is None:
        return None
    shape = np.shape(groups)
    if len(shape) != 1 and shape[1:] != (1,):
        raise ValueError(f"groups must be one label a row; got an array of shape {shape}")
    with naming("groups"):
        labels = column_or_1d(groups)
        if len(labels) != n_rows:
            raise ValueError(f"groups has {len(labels)} labels for {n_rows} rows")
        return LabelEncoder().fit_transform(labels)


def quantile_levels(quantiles) -> np.ndarray:
    """Return probabilities (q, 1), or an error that names them."""
    levels = np.atleast_1d(check_probability("quantiles", quantiles))
    if levels.ndim > 1:
        raise ValueError(f"quantiles must be one number or a list of them; got {quantiles!r}")
    return levels[:, None]


class RowChecks:
    """Checks of the rows and targets that a fitted estimator is asked about."""

    n_features_in_: int
    n_outputs_: int
    _y_ndim: int

    def __sklearn_is_fitted__(self) -> bool:
        """Say whether `fit` has been called, without scikit-learn's look at every attribute."""
        return hasattr(self, "n_outputs_")

    def _check_rows(self, X):
        check_is_fitted(self)
        if self._is_as_wanted(X):
            return X
        refuse_dates("X", X)
        kinds = {"accept_sparse": "csr", "dtype": list(_PRECISIONS)}
        with naming("X"):
            return validate_data(self, X, **kinds, reset=False)

    def _is_as_wanted(self, X) -> bool:
        """Say whether X needs no conversion nor warning.

        Scikit-learn's validation returns it as it is then, in half the time a row's answer takes.
        """
        if type(X) is not np.ndarray or X.dtype not in _PRECISIONS or X.ndim != 2 or len(X) == 0:
            return False
        if X.shape[1] != self.n_features_in_ or hasattr(self, "feature_names_in_"):
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isfinite(X.sum()))

    def _check_targets(self, X, y):
        """Return y with the number of axes it had in `fit`."""
        y = check_targets(y)
        with naming("y"):
            check_consistent_length(X, y)
        width = 1 if y.ndim == 1 else y.shape[1]
        if width != self.n_outputs_:
            raise ValueError(
                f"y has {width} targets, but {type(self).__name__} was fitted with "
                f"{self.n_outputs_}"
            )
        return y.reshape(len(y), -1) if self._y_ndim == 2 else y.ravel()


class LogLikelihoodScore(RowChecks):
    """Scores an estimator by the log-density its ``score_samples(X, y)`` returns for each row."""

    score_samples: Callable[..., np.ndarray]

    def score(self, X, y, sample_weight=None):
        """Return the mean conditional log-likelihood: larger is better.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        float
            (Weighted) mean of `score_samples`, in nats.
        """
        # Without a y, `score_samples` would return the negative entropy.
        log_density = self.score_samples(X, check_targets(y))
        return float(weighted_mean(log_density, check_weights(sample_weight, log_density)))


class MixturePredictions(LogLikelihoodScore):
    """Answers read off the mixtures of blocks of rows, in the units of y.

    The estimator gives, for checked rows, ``_mixtures(X)`` and their ``_means(X)``; of mixtures,
    ``_exact(mixture)`` to draw from; and ``_numbers_per_row()``, how many numbers a row's takes.
    """

    point_estimate: str
    _mixtures: Callable[..., NormalMixture]
    _exact: Callable[[NormalMixture], NormalMixture]
    _numbers_per_row: Callable[[], int]
    _means: Callable[..., np.ndarray]

    def _mixture_blocks(self, X) -> Iterator[tuple[slice, NormalMixture]]:
        """Yield the mixtures of checked rows, in blocks that fit ``working_memory``."""
        for block in row_blocks(X.shape[0], self._numbers_per_row()):
            yield block, self._mixtures(X[block])

    def _answers(self, X, answer: Callable[[NormalMixture], np.ndarray], axis: int = 0):
        """Return the answer for every row; rows are the answer's ``axis``."""
        X = self._check_rows(X)
        parts = [answer(mixture) for _, mixture in self._mixture_blocks(X)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)

    def predict(self, X, return_std=False):
        """Predict one value a row: the conditional mean, median or mode.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        return_std : bool, default=False
            Whether to return the conditional standard deviation as well.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The ``point_estimate``, in the units of y. The median is each target's own; the mode is
            the highest point of the joint density.
        y_std : ndarray, shaped like y_pred
            Only with ``return_std``.
        """
        if self.point_estimate not in POINT_ESTIMATES:  # set since fit, which would have told
            told = f"{', '.join(POINT_ESTIMATES)}; got {self.point_estimate!r}"
            raise ValueError(f"point_estimate must be one of {told}")
        if self.point_estimate == "mean" and not return_std:
            return self._means(self._check_rows(X))
        point = POINT_ESTIMATES[self.point_estimate]
        if not return_std:
            return self._answers(X, point)
        both = self._answers(X, lambda mixture: np.stack([point(mixture), mixture.std()]), axis=1)
        return both[0], both[1]

    def predict_mixture(self, X):
        """Return the conditional distribution of every row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        NormalMixture
            One mixture a row, of ``n_estimators_ * n_components_`` components, network by network,
            and behind them one for each of ``atoms_``, and a wide one, where there are some or y
            has outliers (of an atom that leaves targets open, each member has its own). Where some
            of several targets lie on grids, components are rounded to these: `marginal` of such a
            target has a component for each value, and `affine` and `modes` have no answer. Where
            there is next to no noise, as rows held out tell, and variances differ between
            components, a wide one of weight ``reg_covar``, or less, is last.
        """
        X = self._check_rows(X)
        return NormalMixture.concatenate([mixture for _, mixture in self._mixture_blocks(X)])

    def predict_quantiles(self, X, quantiles=(0.05, 0.5, 0.95)):
        """Return conditional quantiles of each target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        quantiles : float or array-like of shape (n_quantiles,), default=(0.05, 0.5, 0.95)
            Strictly between 0 and 1.

        Returns
        -------
        ndarray of shape (n_samples, n_quantiles) or (n_samples, n_outputs, n_quantiles)
            In the units of y.

        Raises
        ------
        ValueError
            If a level is not inside (0, 1), or levels have several axes.
        """
        levels = quantile_levels(quantiles)
        return self._answers(X, lambda m: per_target(m, lambda one: one.ppf(levels).T))

    def predict_var(self, X):
        """Return the conditional variance of each target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, shaped like y
            In squared units of y.
        """
        return self._answers(X, NormalMixture.var)

    def predict_cov(self, X):
        """Return the conditional covariance matrix of the targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_outputs, n_outputs), or (n_samples,) for a 1-D y
            In units of the targets multiplied; for a 1-D y the variance.
        """
        return self._answers(X, NormalMixture.cov)

    def sample(self, X, n_samples=None, random_state=None):
        """Draw from the conditional distributions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        n_samples : int, default=None
            Draws a row; None for one, without the leading axis.
        random_state : int, Generator, RandomState or None, default=None

        Returns
        -------
        ndarray, shaped like y, or with n_samples a leading axis more
            In the units of y. Values that many rows share (``atoms_``) are drawn as they are,
            where draws from a mixture lie about them.
        """
        rng = generator(random_state)
        axis = 0 if n_samples is None else 1
        return self._answers(X, lambda m: self._exact(m).sample(n_samples, rng), axis=axis)

    def score_samples(self, X, y=None):
        """Return the conditional log-density of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            None asks for the expected log-density of a new y, which is the negative entropy.

        Returns
        -------
        ndarray of shape (n_samples,)
            log p(y|x), in nats.
        """
        if y is None:
            return -self._answers(X, lambda mixture: mixture.entropy(random_state=0))
        X = self._check_rows(X)
        y = self._check_targets(X, y)
        return np.concatenate([m.logpdf(y[block]) for block, m in self._mixture_blocks(X)])
