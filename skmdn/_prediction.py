"""What an estimator answers once it can give a mixture for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from sklearn.utils import gen_batches
from sklearn.utils._chunking import get_chunk_n_rows

from skmdn._validation import RowChecks, check_targets, check_weights, quantile_levels
from skmdn.distribution.batch import weighted_mean
from skmdn.distribution.density import generator
from skmdn.distribution.mixture import NormalMixture

#: Rows beyond which a larger block is no faster.
_MOST_ROWS = 2**15
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

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X or y are not as they were in `fit`, or weights are negative or all zero.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(0).normal(size=200)
        >>> model = MDNRegressor(n_estimators=1, random_state=0).fit(X, y)
        >>> round(model.score(X, y), 1)  # the true density has 0.9
        0.9
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
            the highest point of the joint density, as `NormalMixture.mode` finds it.
        y_std : ndarray, shaped like y_pred
            Only with ``return_std``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is not as it was in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(0).normal(size=200)
        >>> model = MDNRegressor(n_estimators=1, random_state=0).fit(X, y)
        >>> model.predict([[0.5]]).round(1)
        array([0.5])
        >>> mean, std = model.predict([[0.5]], return_std=True)
        >>> std.round(1)
        array([0.1])
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

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is not as it was in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(0).normal(size=200)
        >>> model = MDNRegressor(n_estimators=1, random_state=0).fit(X, y)
        >>> model.predict_mixture([[0.5]]).cdf(0.5).round(1)  # as likely less as more
        array([0.5])
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
            In the units of y. A single level has an axis of its own, too.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If a level is not inside (0, 1), or levels have several axes; or if X is not as it was
            in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(0).normal(size=200)
        >>> model = MDNRegressor(n_estimators=1, random_state=0).fit(X, y)
        >>> model.predict_quantiles([[0.5]], quantiles=[0.025, 0.5, 0.975]).round(1)
        array([[0.3, 0.5, 0.7]])
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

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is not as it was in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(0).normal(size=200)
        >>> model = MDNRegressor(n_estimators=1, random_state=0).fit(X, y)
        >>> model.predict_var([[0.5]]).round(2)
        array([0.01])
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

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is not as it was in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> rng = np.random.default_rng(0)
        >>> X, noise = np.linspace(-1, 1, 200)[:, None], rng.normal(size=(200, 2))
        >>> y = X + np.column_stack([noise[:, 0], noise.sum(axis=1)])
        >>> model = MDNRegressor(n_estimators=1, random_state=0).fit(X, y)
        >>> bool((model.predict_cov(X)[:, 0, 1] > 0.5).all())
        True
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

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is not as it was in `fit`, or ``n_samples`` is not positive.
        TypeError
            If ``random_state`` is none of these.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(0).normal(size=200)
        >>> model = MDNRegressor(n_estimators=1, random_state=0).fit(X, y)
        >>> draws = model.sample([[0.5]], n_samples=1000, random_state=0)
        >>> draws.shape, float(draws.mean().round(1)), float(draws.std().round(1))
        ((1000, 1), 0.5, 0.1)
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
            None asks for the expected log-density of a new y, which is the negative entropy; of
            several targets it is drawn, with the error that `NormalMixture.entropy` states. Values
            that many rows share have the width of ``reg_covar`` there: a y at its peak scores half
            a nat more than is expected of it.

        Returns
        -------
        ndarray of shape (n_samples,)
            log p(y|x), in nats.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X or y are not as they were in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(0).normal(size=200)
        >>> model = MDNRegressor(n_estimators=1, random_state=0).fit(X, y)
        >>> near, far = model.score_samples([[0.5], [0.5]], [0.5, 1.0])
        >>> bool(near > far + 5)
        True
        """
        if y is None:
            return -self._answers(X, lambda mixture: mixture.entropy(random_state=0))
        X = self._check_rows(X)
        y = self._check_targets(X, y)
        return np.concatenate([m.logpdf(y[block]) for block, m in self._mixture_blocks(X)])
