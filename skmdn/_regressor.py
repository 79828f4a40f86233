"""`MDNRegressor`: its parameters, and what they mean.

What it does comes from the classes it is made of, from the bottom up: `_prediction` answers from
the mixtures of rows, `_conformal` adds sets that are calibrated, `_networks` makes mixtures of
what networks say, `_fitting` trains the networks.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from skmdn._fitting import NetworkFitting
from skmdn._prediction import POINT_ESTIMATES, replaced
from skmdn.learning.network import ACTIVATIONS
from skmdn.learning.noise import NOISE_MODELS


class MDNRegressor(NetworkFitting, RegressorMixin, BaseEstimator):
    """Mixture density network: learns the whole conditional distribution p(y|x).

    A network's outputs are the weights, means and covariances of a Gaussian mixture (Bishop 1994).
    Several networks are trained side by side from different starts, each held out on its own part
    of the rows, and their densities averaged. Means are learned along a curve on which the targets
    are about normal (Johnson 1949), which helps with skewed and heavy-tailed ones. Networks learn
    what a line leaves of the targets, where that makes held-out rows surely likelier (``line_``).
    Beyond the values that a feature had in training, nothing changes, neither the means nor the
    widths; but a line goes on, for a hundred times as far as they reach, and so does what features
    that are all but the same differ by, up to the largest difference seen.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Gaussians in the mixture of each network; "auto" is 5 for one target. For several, it is 5
        to 12: as many as 240 numbers describe (10 a component with three targets and ``"full"``
        noise), if there are three distinct rows for each of these numbers. All networks have
        one more in common for each of ``atoms_``, at that value and as narrow as ``reg_covar``
        allows, and then, or where y has outliers, a wide one. An atom that leaves targets open has
        more in each network, in proportion to its rows, with means and covariances of these.
    noise_type : {"full", "diagonal", "isotropic", "isotropic_across_components", "fixed"}, \
default="full"
        The components' covariances: any; one variance a component and target; one a component; one
        for all; one that is given, not learned. Isotropic means isotropic in the units of y. The
        first two are the same for one target.
    fixed_noise_level : float, default=1.0
        Standard deviation of every component in the units of y; only for ``"fixed"``.
    hidden_layer_sizes : int, array-like of int or "auto", default="auto"
        Widths of the hidden layers. "auto" is three, or, on fewer than 2000 distinct rows, two,
        of ``1.25 * sqrt(n)`` units, rounded up to eights: at least 24, and at most 48 for up
        to three targets, or ``48 * sqrt(D / 3)``. Where `partial_fit` begins, it is three of the
        most.
    activation : {"silu", "relu", "tanh", "logistic", "identity"}, default="silu"
        Activation function of the hidden layers.
    n_estimators : int or "auto", default="auto"
        Networks trained; 1 for a plain mixture density network. "auto" is 16, fewer (5 at least)
        where a pass through all would take 2.7e10 multiplications or more, or 5 where the five
        that ``alpha="auto"`` tries first, on 10,000 distinct rows or more, soon learn nothing
        more, and mixing all surely gains hardly anything. That is not looked at where ``alpha`` or
        ``validation_fraction`` is a number, or without ``early_stopping``; `partial_fit` has 16.
    point_estimate : {"mean", "median", "mode"}, default="mean"
        What `predict` returns.
    max_iter : int, default=1000
        Most passes over the training rows.
    batch_size : int or "auto", default="auto"
        Rows of each network in a step; "auto" is the root of their number, 16 to 1024.
    learning_rate_init : float, default=0.01
        Largest step size of Adam.
    alpha : float or "auto", default="auto"
        Decoupled weight decay; "auto" is 0.02, or where a few networks (five at least on less than
        2000 distinct rows) begin clearly better with it, ``8 / sqrt(n)``, with slow waves to start
        from (on more rows, five need hardly begin better), or, on more rows, 0.004 with fast ones.
        On fewer, if they are not 20 a feature, it is 0.1 with slow waves. Without
        ``early_stopping``, and in `partial_fit`, it is 0.02. Where layers have u > 48 units,
        ``8 / sqrt(n)`` is ``sqrt(u / 48)`` times that.
    early_stopping : bool, default=True
        Whether each network holds rows out, on which training is judged. Without, it is judged
        on the training rows, which it may then fit far too closely.
    validation_fraction : float or "auto", default="auto"
        Share of the rows that each network holds out; "auto" is 1.25 / n_estimators_, so that each
        row is held out by one network, and a quarter of the rows by a second one; a tenth for less
        than five networks.
    n_iter_no_change : int or "auto", default="auto"
        Checks (one a pass, 50 steps apart at least) without a better score until the step size
        begins to fall to zero, over about as many steps as before, or a few where hardly anything
        was learned; a twentieth of the checks so far, if that is more. "auto" is 2, or more for
        less than 400 rows, or 4 where ``n_estimators="auto"`` came to 5. While it falls, ten such
        checks end training, or two where the score is then below the best by more than a twentieth
        of what it rose after the first check.
    tol : float, default=2e-3
        By how much it must rise, in nats.
    reg_covar : float, default=1e-6
        Floor on the variances, in squared standard deviations of y; of coupled targets, on those
        given the targets before. Long tails and far outliers do not raise it: it is at most 1000
        times this share of the variance that a normal distribution as dense as the densest tenth
        of the values has; not where targets share their variance, or atoms leave some open.
    warm_start : bool, default=False
        Whether `fit` goes on from the networks of the last call, and keeps them as they were
        (``best_iter_`` is 0) where that makes no held-out rows likelier.
    random_state : int, RandomState instance or None, default=None
        Starts of the networks and order of the rows.
    verbose : bool, default=False
        Whether to print what was chosen, and the log-likelihood of held-out rows during training
        (of short ones that tell what is "auto", only where they end if they are gone on with).
    device : str, default="cpu"
        Where to train and predict: "cpu", "cuda", ... or "auto".

    Attributes
    ----------
    network_ : torch.nn.Module
        All networks.
    n_estimators_ : int
        How many they are.
    n_components_ : int
        Components of each; training that goes on keeps as many under "auto".
    hidden_layer_sizes_ : tuple of int
        The widths of their hidden layers; training that goes on keeps them under "auto".
    alpha_ : float
        The weight decay they were trained with; training that goes on keeps to it under "auto".
    atoms_ : ndarray of shape (n_atoms,) or (n_atoms, n_outputs)
        Values of y that many rows share: ten distinct rows, or a quarter of all if forty are
        distinct. If there are no more than 100 such values and nine rows in ten have one of them
        (grades, counts), they are all of these, and any other that two rows share, if they are
        not more than 100 then; else those that stand out (zeros, limits): two rows in a hundred
        have it, and five times as many as have the value of a typical other row. Of several
        targets, what ten distinct rows have of such values together, NaN where the rest may be
        anything: in a rarer combination, the target with most such values may.
        Atoms with NaN come first, 64 / n_outputs at most, or four, those of most rows; targets
        with more such values than that are left open. With isotropic noise all targets have to be
        equal. Empty where the components have one width in common.
    line_ : Line or None
        The linear function of the features of which networks learn the rest; ``line_.at(X)`` are
        its values (n, n_outputs) for an array X. By ridge regression; tried after all else, on
        65,536 distinct rows and 2**24 numbers at most, with ``early_stopping`` and without
        ``atoms_``, and kept where ``best_validation_score_`` is higher by more than
        ``sqrt(n_outputs / n)``. Training that goes on draws it anew (`fit`, of enough rows), or
        keeps it (`partial_fit`).
    n_iter_ : int
        Passes over the training rows.
    best_iter_ : int
        The pass whose parameters were kept.
    stop_reason_ : {"converged", "max_iter"}
        Why training ended.
    loss_curve_ : list of float
        Mean training loss between checks (after `partial_fit`, of each pass), in nats.
    validation_scores_ : list of float
        At each check the mean log-likelihood, in nats, of the rows that each network holds out,
        and what mixing all surely adds, told by rows that two hold out.
    best_validation_score_ : float
        The score of the networks that were kept: the log-likelihood that all together are expected
        to have on new rows, in nats. Only after `fit` with ``early_stopping``.
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

    References
    ----------
    Bishop (1994), "Mixture density networks". Hoerl & Kennard (1970), "Ridge regression: biased
    estimation for nonorthogonal problems". Johnson (1949), "Systems of frequency curves
    generated by methods of translation". Lakshminarayanan et al. (2017), "Simple and scalable
    predictive uncertainty estimation using deep ensembles".

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
    def fit(self, X, y, sample_weight=None):
        """Learn p(y|x).

        What is learned depends on the rows as a weighted set: not on their order, a row of weight
        two is the row twice, and one of weight zero is not there.

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
            If an argument or parameter is not what it may be; the message says which and why.
        """
        continued = self.warm_start and hasattr(self, "network_")
        with torch.no_grad(), np.errstate(all="ignore"):  # what is no number is not taken
            return replaced(self, lambda model: model._fit(X, y, sample_weight, continued))

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Take one pass over a block of rows, from where the last call ended.

        The first call decides how X and y are scaled, which features have but two values, and
        which values are ``atoms_``: its rows must be a sample of all, and the more they are, the
        better. So must every block, as networks forget what they no longer see. The step size
        falls with the number of steps taken. No rows are held out. A block has two rows at least.
        After `fit` has drawn a ``line_``, blocks should be of other rows: what it leaves of those
        it was drawn through is too little, where they are not many more than the features.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        MDNRegressor
            The estimator itself. After an error it is as it was before.
        """
        with torch.no_grad(), np.errstate(all="ignore"):
            return replaced(self, lambda model: model._partial_fit(X, y, sample_weight))
