"""`MDNRegressor`: its parameters, and what they mean.

What it does comes from the classes it is made of, from the bottom up: `_prediction` answers from
the mixtures of rows, `_conformal` adds sets that are calibrated, `_networks` makes mixtures of
what networks say, `_fitting` trains networks, `_residuals` tries a line as well.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from skmdn._prediction import POINT_ESTIMATES
from skmdn._residuals import ResidualFitting
from skmdn._validation import replaced
from skmdn.learning.network import ACTIVATIONS
from skmdn.learning.noise import NOISE_MODELS


class MDNRegressor(ResidualFitting, RegressorMixin, BaseEstimator):
    """Mixture density network: learns the whole conditional distribution p(y|x).

    A neural network outputs the weights, means and covariances of a Gaussian mixture (Bishop
    1994). Several networks are trained side by side from different starts, each validated on its
    own part of the rows, and their densities are averaged (Lakshminarayanan et al. 2017).
    No learned component lies farther outside the range of the training targets (or residuals) than
    that range is wide.

    X and y need no scaling. Each feature is replaced by the normal scores of its ranks, and y is
    learned along a curve on which it is about normal (Johnson 1949), which helps with skewed and
    heavy-tailed targets. Values of y that many rows share have components of their own
    (``atoms_``). Where ridge regression explains the data better than the networks alone, these
    learn its residuals (``line_``).

    Predictions do not extrapolate: beyond the training range of a feature, means and widths stay
    what they are at its end. Only a ``line_`` goes on, for a hundred times the range. Differences
    of nearly collinear features are features of their own, with a range of their own.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Gaussian components of each network's mixture. "auto" is 5 for one target. For several it
        is 3 to 12: as many as leave three distinct rows for each network output (a component of
        three targets takes 10 with ``"full"`` noise); more than 5 only if they take at most 240
        outputs together. All networks share further components: one at each of ``atoms_``, with
        variance ``reg_covar``, and, where there are atoms or outliers, a wide one. An atom that
        leaves targets open has components in each network instead, the more the commoner it is; of
        targets on grids, all components have some share of each value.
    noise_type : {"full", "diagonal", "isotropic", "isotropic_across_components", "fixed"}, \
default="full"
        Covariance of a component: any; diagonal; one variance for all targets; one variance for
        all targets and components; or ``fixed_noise_level ** 2``, which is not learned. The last
        three are isotropic in the units of y. For one target, the first two are the same.
    fixed_noise_level : float, default=1.0
        Standard deviation of every component in the units of y; only for ``"fixed"``.
    hidden_layer_sizes : int, array-like of int or "auto", default="auto"
        Widths of the hidden layers. "auto" is two layers on fewer than 2000 distinct rows, else
        three, of ``1.25 * sqrt(n)`` units, at least 24 and at most 48, or ``48 * sqrt(D / 3)`` for
        D > 3 targets, rounded up to a multiple of 8. `partial_fit`, which cannot know how many
        rows will come, takes three layers of the largest width.
    activation : {"silu", "relu", "tanh", "logistic", "identity"}, default="silu"
        Activation function of the hidden layers.
    n_estimators : int or "auto", default="auto"
        Networks in the ensemble; 1 is a plain mixture density network. "auto" is 16, or

        - as many as make a pass over the rows take 2.7e10 multiplications, but at least 5, where
          16 would take more;
        - 5 on 2,000 distinct rows or more, where averaging all would gain less than 0.01 nats a
          target: as told by the five networks that are trained first to choose ``alpha``, if they
          converge within that trial, or all but that. On fewer than 10,000, there must be one
          target, of which they have learned 0.04 nats. Only if ``alpha`` and
          ``validation_fraction`` are "auto", too, and with ``early_stopping``.

        `partial_fit` trains 16.
    point_estimate : {"mean", "median", "mode"}, default="mean"
        What `predict` returns. The mean of a long-tailed target hangs on rare large values, of
        which densities tell little: where sums matter, compare those of `predict` and of y.
    max_iter : int, default=1000
        Maximum number of passes over the training rows.
    batch_size : int or "auto", default="auto"
        Rows of a training step, for each network; "auto" is the square root of their number, at
        least 16 and at most 1024.
    learning_rate_init : float, default=0.01
        Largest step size of Adam.
    alpha : float or "auto", default="auto"
        Decoupled weight decay (Loshchilov & Hutter 2019). "auto" lets short trials tell: networks
        begin with up to three settings of decay and of the frequencies that the embedding of the
        features starts from, and are compared by the log-likelihood of held-out rows.

        - The usual one is 0.02; or 0.1 with low frequencies, on fewer than 2000 distinct rows that
          are fewer than 20 a feature.
        - For smooth functions, it is about ``8 / sqrt(n)``, or half of that, with low frequencies.
        - For ragged functions, it is 0.004 with high frequencies, on 2000 distinct rows or more.

        Another than the usual one must be better; `skmdn.learning.planning` has by how much, and
        where nothing is tried. It is 0.02 without ``early_stopping`` and in
        `partial_fit`. A number goes with the usual frequencies.
    early_stopping : bool, default=True
        Whether each network holds out rows on which training is judged. Without, it is judged on
        the training rows, and may overfit badly.
    validation_fraction : float or "auto", default="auto"
        Share of the rows that each network holds out. "auto" is ``1.25 / n_estimators_``, so that
        every row is held out by one network, and a quarter of them by a second one, which tells
        what averaging gains; or a tenth, for fewer than five networks.
    n_iter_no_change : int or "auto", default="auto"
        Checks of the held-out score without an improvement by ``tol`` after which the step size
        begins to fall to zero, or a twentieth of all checks so far, if that is more. Checks are
        one a pass, but at least 50 steps apart. "auto" is 2; more on fewer than 400 rows; 4 where
        the trial for ``alpha`` found five networks to suffice. The fall takes about as many steps
        as came before it, or a few where hardly anything was learned. It ends early after ten
        checks without an improvement, or after two if the score has lost more than a twentieth of
        what it gained since the first check.
    tol : float, default=2e-3
        Improvement of the held-out score that counts, in nats.
    reg_covar : float, default=1e-6
        Smallest variance of a component, as a share of the variance of y (of correlated targets:
        given the targets before). Where outliers or long tails make that variance large, the
        floor is lower: at most 1000 times this share of the variance of a normal distribution as
        dense as the densest tenth of the values. Not so where targets share a variance. Atoms are
        as narrow.
    warm_start : bool, default=False
        Whether `fit` continues from the networks of the last call. They stay as they were, with
        ``best_iter_`` 0, if held-out rows do not become likelier. How X and y are scaled, and the
        ranges of the features, stay those of the first call: for data of another range, fit anew.
    random_state : int, RandomState instance or None, default=None
        Determines the networks' starts and the order of the rows.
    verbose : bool, default=False
        Whether to print what "auto" has chosen, and the held-out log-likelihood at each check (of
        the trials for ``alpha``, only the end of the one that is continued).
    device : str, default="cpu"
        Where to train and predict: "cpu", "cuda", ... or "auto".

    Attributes
    ----------
    network_ : torch.nn.Module
        All networks. Of several targets, those of which held-out rows grew less likely while
        others were still learned are told by copies of the networks as they were before
        (``network_.kept()``); with ``warm_start`` and by `partial_fit`, these stay as they are.
    n_estimators_ : int
        Number of networks.
    n_components_ : int
        Components of each network's mixture, without those at ``atoms_``.
    hidden_layer_sizes_ : tuple of int
        Widths of the hidden layers.
    alpha_ : float
        Weight decay used. This and the three before stay as they are under "auto" when training
        goes on (``warm_start``, `partial_fit`).
    atoms_ : ndarray of shape (n_atoms,) or (n_atoms, n_outputs)
        Values of y that many rows share (zeros, limits, grades, counts). Of one target these are

        - all values where y lies on a grid: where three rows in four have a value of at most 200
          evenly spaced ones that ten rows share, or nine in ten one of at most 100 others; or
          there are ten rows for each evenly spaced one, and 20 for each feature. Of these
          evenly spaced ones, as of counts, those that no row has are atoms, too, between the
          others and somewhat beyond;
        - else those that stand out: values of at least 2 % of the rows, and five times as common
          as the value of a typical row.

        Each of several targets may lie on a grid of its own: any of its values may meet any of
        another. These come last, target by target, with NaN for the others. Of other targets,
        atoms are combinations that ten rows share; those that leave a target open come first, with
        NaN there. With isotropic noise there are but combinations, of all targets. The rules in
        full are those of `skmdn.learning.atoms`, `skmdn.learning.lattices` and `skmdn._grids`.

        How likely more than four atoms of one target are is a mixture of at most three logistic
        distributions a network, rounded to the atoms (Salimans et al. 2017), and of those that
        stand out; of several targets on grids, each component is rounded to these. Empty where
        components share one variance.
    line_ : Line or None
        The linear function whose residuals the networks learn, fitted by ridge regression
        (Hoerl & Kennard 1970); ``line_.at(X)`` are its values (n, n_outputs) for an array X. It is
        tried last, and kept if that raises the mean of ``best_validation_score_`` and
        ``oof_score_`` by more than ``0.5 * sqrt(n_outputs / n)``; on at most 65,536 distinct rows
        and 2**24 numbers, with ``early_stopping``. Of several targets it may be through those
        (``line_.which``) of which it leaves far less than networks do, and zero for the others.
        What it leaves has no ``atoms_``. With ``warm_start`` it is fitted anew, by `partial_fit`
        it is kept.
    n_iter_ : int
        Number of passes over the training rows.
    best_iter_ : int
        The pass whose parameters were kept. Only after `fit`.
    stop_reason_ : {"converged", "max_iter"}
        Why training ended. Only after `fit`.
    loss_curve_ : list of float
        Mean training loss between checks (after `partial_fit`, of each pass), in nats.
    validation_scores_ : list of float
        At each check, what ``best_validation_score_`` says of the networks as they were then.
        Only after `fit`; empty without ``early_stopping``.
    best_validation_score_ : float
        Estimate of the ensemble's log-likelihood on new rows, in nats: the mean over held-out rows
        by single networks, plus a lower bound (the mean less its standard error) on what averaging
        gains, from rows that two networks hold out. Only after `fit` with ``early_stopping``.
    oof_score_ : float
        Mean log-likelihood of the training rows, each by the network that held it out, in nats.
        Only after `fit` with ``early_stopping``.
    conformity_scores_ : ConformityScores
        Only after `calibrate`.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
    n_outputs_ : int

    See Also
    --------
    sklearn.neural_network.MLPRegressor : Predicts a value, not a distribution.
    AutoregressiveMDNRegressor : Several targets as a chain of one-target networks, each of which
        learns from the targets before it. Often the better density, but no mixture.

    References
    ----------
    - Bishop (1994), "Mixture density networks".
    - Hoerl & Kennard (1970), "Ridge regression: biased estimation for nonorthogonal problems".
    - Johnson (1949), "Systems of frequency curves generated by methods of translation".
    - Lakshminarayanan et al. (2017), "Simple and scalable predictive uncertainty estimation using
      deep ensembles".
    - Loshchilov & Hutter (2019), "Decoupled weight decay regularization".
    - Salimans et al. (2017), "PixelCNN++: improving the PixelCNN with discretized logistic mixture
      likelihood and other modifications".

    Examples
    --------
    >>> import numpy as np
    >>> from skmdn import MDNRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(200, 1))
    >>> y = np.where(rng.random(200) < 0.5, 1.0, -1.0) * X[:, 0] + 0.05 * rng.normal(size=200)
    >>> model = MDNRegressor(n_components=2, n_estimators=1, random_state=0).fit(X, y)
    >>> model.predict_region([[0.8]]).counts  # two answers where there are two
    array([2])
    """

    _parameter_constraints: ClassVar[dict] = {
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "noise_type": [StrOptions(set(NOISE_MODELS))],
        "fixed_noise_level": [Interval(Real, 0, None, closed="neither")],
        "hidden_layer_sizes": [
            StrOptions({"auto"}),
            "array-like",
            Interval(Integral, 1, None, closed="left"),
        ],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "n_estimators": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "point_estimate": [StrOptions(set(POINT_ESTIMATES))],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "reg_covar": [Interval(Real, 0, None, closed="neither")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "device": [str],
    }

    def __init__(
        self,
        n_components="auto",
        noise_type="full",
        *,
        fixed_noise_level=1.0,
        hidden_layer_sizes="auto",
        activation="silu",
        n_estimators="auto",
        point_estimate="mean",
        max_iter=1000,
        batch_size="auto",
        learning_rate_init=0.01,
        alpha="auto",
        early_stopping=True,
        validation_fraction="auto",
        n_iter_no_change="auto",
        tol=2e-3,
        reg_covar=1e-6,
        warm_start=False,
        random_state=None,
        verbose=False,
        device="cpu",
    ):
        self.n_components = n_components
        self.noise_type = noise_type
        self.fixed_noise_level = fixed_noise_level
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.n_estimators = n_estimators
        self.point_estimate = point_estimate
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.reg_covar = reg_covar
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        # "Poor" means below 0.5 on scikit-learn's check data, which is meant for R^2. `score` is a
        # log-likelihood, and there even the true model's is negative (noise of sd 0.44).
        tags.regressor_tags.poor_score = True
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, groups=None):
        """Learn p(y|x).

        What is learned depends on the rows as a weighted set: not on their order, a row of weight
        two is the row twice, and one of weight zero is not there. Equal rows count as copies of
        one, of which the weights are added, and are held out together; unless X and y have so few
        values that most agree by chance. Then rows stay what they are, and a table of values and
        counts says less than the rows that it counts: repeat them (`numpy.repeat`).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        groups : array-like of shape (n_samples,), default=None
            Labels of rows that belong together (visits of one patient, hours of one week), where
            the model is for new groups. What networks hold out are then whole groups, but for one
            at either end: what held-out rows decide (when training ends, ``alpha``, widths,
            ``best_validation_score_``) is about right for new groups, if there are many, a hundred
            say; with twenty, it is far too hopeful still. Other labels may give another model.

        Returns
        -------
        MDNRegressor
            The estimator itself. After an error it is as it was before.

        Raises
        ------
        TypeError, ValueError
            If an argument or parameter is not what it may be; the message says which and why.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(0).normal(size=200)
        >>> model = MDNRegressor(n_estimators=1, random_state=0).fit(X, y)
        >>> model.n_iter_ < 1000, model.stop_reason_
        (True, 'converged')
        """
        continued = self.warm_start and hasattr(self, "network_")
        with torch.no_grad(), np.errstate(all="ignore"):  # what is no number is not taken
            return replaced(self, lambda m: m._fit(X, y, sample_weight, groups, continued))

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Take one pass over a block of rows, from where the last call ended.

        Every block must be a random sample of the data, as networks forget what they no longer
        see. The first should be large: it decides how X and y are scaled, which features have but
        two values, and which values of y are ``atoms_``. The step size falls with the number of
        steps taken. No rows are held out. A block has two rows at least.

        If `fit` has set a ``line_``, pass only rows that it has not seen: residuals of the rows
        that a line was fitted to are too small, unless rows far outnumber features.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        MDNRegressor
            The estimator itself. After an error it is as it was before.

        Raises
        ------
        ValueError
            As for `fit`, or if what decides the sizes of networks is another than before.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> rng = np.random.default_rng(0)
        >>> model = MDNRegressor(n_estimators=1, random_state=0)
        >>> for _ in range(20):
        ...     X = rng.uniform(-1, 1, size=(500, 1))
        ...     model = model.partial_fit(X, np.abs(X[:, 0]) + 0.1 * rng.normal(size=500))
        >>> model.predict([[-0.5], [0.5]]).round(1)
        array([0.5, 0.5])
        """
        with torch.no_grad(), np.errstate(all="ignore"):
            return replaced(self, lambda model: model._partial_fit(X, y, sample_weight))
