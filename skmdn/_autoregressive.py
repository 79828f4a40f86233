"""`AutoregressiveMDNRegressor`: several targets, one mixture density network for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
from scipy import sparse
from scipy.stats import qmc
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, _fit_context, clone
from sklearn.utils._param_validation import StrOptions

from skmdn._prediction import LogLikelihoodScore, row_blocks
from skmdn._regressor import MDNRegressor
from skmdn._validation import (
    check_training_rows,
    own_random_state,
    quantile_levels,
    replaced,
)
from skmdn.distribution.batch import check_count, check_coverage
from skmdn.distribution.density import generator
from skmdn.distribution.mixture import NormalMixture

#: Draws of the targets before it over which a chained target's distribution is averaged.
_N_DRAWS = 128


class AutoregressiveMDNRegressor(
    LogLikelihoodScore, MetaEstimatorMixin, RegressorMixin, BaseEstimator
):
    r"""Chain of mixture density networks: the joint density of several targets, one at a time.

    .. math:: p(y|x) = \prod_d p(y_d \,|\, y_1, \dots, y_{d-1}, x)

    Each factor is an `MDNRegressor` of one target, whose features are X and the targets before it.
    No Gaussian ties the targets together: joint densities may be curved, and noise may depend on
    other targets. The density is exact, and so are draws from it.

    Parameters
    ----------
    estimator : MDNRegressor, default=None
        Cloned for each factor; None for ``MDNRegressor()``. Its ``point_estimate`` is the mean.
    order : array-like of int, "random" or None, default=None
        Which target comes first, second, ...: a permutation of 0, ..., D - 1; None as they stand.
    chain : bool, default=True
        Whether the targets before it are features of a target. Without, p(y|x) is the product of
        the targets' own densities p(y_d|x), and the order does not matter.
    random_state : int, RandomState instance or None, default=None
        Seeds each factor, in place of the estimator's own ``random_state``, and a random order.

    Attributes
    ----------
    estimators_ : list of MDNRegressor
        The factors, in the order of the chain.
    order_ : ndarray of shape (n_outputs_,)
        The target of each factor.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
    n_outputs_ : int

    See Also
    --------
    MDNRegressor : All targets in one network, tied together by ``noise_type="full"``.
    sklearn.multioutput.RegressorChain : Chains point predictions.

    Notes
    -----
    The joint density is no Gaussian mixture, so there is no `predict_mixture`, nor what rests on
    one: scorers and displays of mixtures, covariances, regions and conformal sets.

    What is asked of a single target that others come before, its mean or a quantile, is averaged
    over these. That has no closed form: its distribution is taken to be the mixture of
    p(y_d | y_<d, x) at 128 draws of y_<d, from the same quasi-random numbers (Sobol' points, no
    seed) for each row. All else is exact, as is everything for the first target.

    References
    ----------
    Uria, Murray & Larochelle (2013), "RNADE: The real-valued neural autoregressive
    density-estimator". van den Oord et al. (2016), "Pixel recurrent neural networks".

    Examples
    --------
    >>> import numpy as np
    >>> from skmdn import AutoregressiveMDNRegressor, MDNRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(300, 1))
    >>> first = X[:, 0] + rng.normal(size=300)
    >>> y = np.column_stack([first, first**2 + 0.1 * rng.normal(size=300)])  # a banana
    >>> network = MDNRegressor(n_components=2, n_estimators=2, max_iter=50)
    >>> chained = AutoregressiveMDNRegressor(network, random_state=0).fit(X, y)
    >>> factored = AutoregressiveMDNRegressor(network, chain=False, random_state=0).fit(X, y)
    >>> chained.score(X, y) > factored.score(X, y) + 1
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        "estimator": [MDNRegressor, None],
        "order": ["array-like", StrOptions({"random"}), None],
        "chain": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(self, estimator=None, *, order=None, chain=True, random_state=None):
        self.estimator = estimator
        self.order = order
        self.chain = chain
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        tags.regressor_tags.poor_score = True  # `score` is a log-likelihood, as MDNRegressor's
        return tags

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None, groups=None):
        """Learn every factor of p(y|x), each from the observed values of the targets before it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        groups : array-like of shape (n_samples,), default=None
            As `MDNRegressor.fit` takes them.

        Returns
        -------
        AutoregressiveMDNRegressor
            The estimator itself. After an error it is as it was before.

        Raises
        ------
        ValueError
            If an argument or parameter is not what it may be; the message says which and why.
        """
        return replaced(self, lambda model: model._fit(X, y, sample_weight, groups))

    def _fit(self, X, y, sample_weight, groups):
        X, y = check_training_rows(self, X, y)
        self._y_ndim = y.ndim
        y = y.reshape(len(y), -1)
        self.n_outputs_ = y.shape[1]
        rng = own_random_state(self.random_state)
        self.order_ = self._checked_order(rng)
        estimators = []
        for position, target in enumerate(self.order_):
            estimator = clone(MDNRegressor() if self.estimator is None else self.estimator)
            if estimator.point_estimate != "mean":
                raise ValueError(
                    "estimator must have point_estimate='mean', which is what a chain predicts; "
                    f"got {estimator.point_estimate!r}"
                )
            estimator.set_params(random_state=rng.randint(np.iinfo(np.int32).max))
            estimator.fit(self._features(X, y, position), y[:, target], sample_weight, groups)
            estimators.append(estimator)
        self.estimators_ = estimators

    def _checked_order(self, rng):
        targets = np.arange(self.n_outputs_)
        if self.order is None:
            return targets
        if isinstance(self.order, str):
            return rng.permutation(targets)
        order = np.asarray(self.order)
        if order.dtype.kind not in "iu" or not np.array_equal(np.sort(order, axis=None), targets):
            raise ValueError(
                f"order must be a permutation of 0..{self.n_outputs_ - 1}, 'random' or None; "
                f"got {self.order!r}"
            )
        return order.ravel()

    def _chained(self, position):
        """Whether there is a factor at this position that is given targets before it."""
        return self.chain and 0 < position < self.n_outputs_

    def _features(self, X, y, position):
        """Return X and, beside it, the targets (n, D) that come before this position."""
        if not self._chained(position):
            return X
        before = y[:, self.order_[:position]]
        if sparse.issparse(X):
            return sparse.hstack([X, before], format="csr")
        return np.hstack([X, before])

    def _factors(self):
        """Yield the position in the chain, the target and the estimator of each factor."""
        return zip(range(self.n_outputs_), self.order_, self.estimators_, strict=True)

    def score_samples(self, X, y=None):
        """Return the conditional log-density of each row: the sum of its factors'.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            None asks for the expected log-density of a new y, which is the negative entropy.

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
        """
        X = self._check_rows(X)
        if y is None:
            return -self._answers(X, _mean_entropy).reshape(X.shape[0], -1).sum(axis=1)
        y = self._check_targets(X, y).reshape(X.shape[0], -1)
        return sum(
            estimator.score_samples(self._features(X, y, position), y[:, target])
            for position, target, estimator in self._factors()
        )

    def sample(self, X, n_samples=None, random_state=None):
        """Draw from the joint conditional distributions, target after target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        n_samples : int, default=None
            Draws a row; None for one, without the leading axis.
        random_state : int, Generator, RandomState or None, default=None

        Returns
        -------
        ndarray, shaped like y, or with n_samples a leading axis more
            In the units of y.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is not as it was in `fit`, or ``n_samples`` is not positive.
        """
        X = self._check_rows(X)
        m = 1 if n_samples is None else check_count("n_samples", n_samples)
        rng, n = generator(random_state), X.shape[0]
        y = np.empty((m, n, self.n_outputs_))
        flat = y.reshape(m * n, -1)
        for position, target, estimator in self._factors():
            if not self._chained(position):
                y[..., target] = estimator.sample(X, m, rng)
                continue
            for block in row_blocks(m * n, X.shape[1] + position):
                rows = np.arange(block.start, block.stop) % n
                features = self._features(X[rows], flat[block], position)
                flat[block, target] = estimator.sample(features, random_state=rng)
        y = y if self._y_ndim == 2 else y[..., 0]
        return y[0] if n_samples is None else y

    def predict(self, X, return_std=False):
        """Predict the conditional mean of each target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        return_std : bool, default=False
            Whether to return the conditional standard deviation as well.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the units of y. Of targets that others come before, by 128 draws; see the notes.
        y_std : ndarray, shaped like y_pred
            Only with ``return_std``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is not as it was in `fit`.
        """
        both = self._answers(X, _moments)
        return (both[..., 0], both[..., 1]) if return_std else both[..., 0]

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
            In the units of y. Of targets that others come before, by 128 draws; see the notes.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is not as it was in `fit`, or a level is not inside (0, 1).
        """
        levels = quantile_levels(quantiles)
        return self._answers(X, lambda given, n: _averaged(given, n).ppf(levels).T)

    def predict_interval(self, X, coverage=0.9):
        """Return equal-tailed prediction intervals of each target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        coverage : float, default=0.9
            Probability inside, strictly between 0 and 1.

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper ends, in the units of y. Of targets that others come before, by 128
            draws; see the notes.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is not as it was in `fit`, or the coverage is not inside (0, 1).
        """
        tail = (1 - check_coverage(coverage)) / 2
        return self.predict_quantiles(X, [tail, min(1 - tail, np.nextafter(1, 0))])

    def _answers(self, X, answer: Callable[[NormalMixture, int], np.ndarray]) -> np.ndarray:
        """Ask each target's mixtures of n rows; answers are (n, D, ...), for a 1-D y (n, ...)."""
        X = self._check_rows(X)
        most = max(estimator._numbers_per_row() for estimator in self.estimators_)
        parts = []
        for block in row_blocks(X.shape[0], _N_DRAWS * most):
            rows = X[block]
            by_position = [answer(given, rows.shape[0]) for given in self._conditionals(rows)]
            parts.append(np.stack(by_position, axis=1)[:, np.argsort(self.order_)])
        answers = np.concatenate(parts)
        return answers if self._y_ndim == 2 else answers[:, 0]

    def _conditionals(self, X) -> Iterator[NormalMixture]:
        """Yield the factors' mixtures at draws of the targets before: n rows a draw, or n alone.

        Every row sees the same probability levels, so its answers do not depend on its neighbours.
        """
        n, levels = X.shape[0], _levels(self.n_outputs_)
        y = np.empty((_N_DRAWS, n, self.n_outputs_))
        repeated = X[np.tile(np.arange(n), _N_DRAWS)] if self._chained(1) else X
        for position, target, estimator in self._factors():
            if self._chained(position):
                features = self._features(repeated, y.reshape(_N_DRAWS * n, -1), position)
                given, q = estimator.predict_mixture(features), np.repeat(levels[:, position], n)
            else:
                given, q = estimator.predict_mixture(X), levels[:, [position]]
            yield given
            if self._chained(position + 1):
                drawn = estimator._at_atoms(given, given.ppf(q))  # as the next one learned them
                y[..., target] = drawn.reshape(_N_DRAWS, n)


def _levels(n_targets: int) -> np.ndarray:
    """Return a probability for each draw and target: Sobol' points, moved off 0."""
    points = qmc.Sobol(n_targets, scramble=False).random(_N_DRAWS)
    return points + 0.5 / _N_DRAWS


def _averaged(given: NormalMixture, n: int) -> NormalMixture:
    """Average mixtures over the draws of what they are conditioned on."""
    starts = range(0, len(given), n)
    return NormalMixture.mix([given[start : start + n] for start in starts])


def _mean_entropy(given: NormalMixture, n: int) -> np.ndarray:
    return given.entropy().reshape(-1, n).mean(axis=0)


def _moments(given: NormalMixture, n: int) -> np.ndarray:
    averaged = _averaged(given, n)
    return np.stack([averaged.mean(), averaged.std()], axis=-1)
