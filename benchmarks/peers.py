"""Other libraries' probabilistic regressors, behind one face, and how forecasts are scored.

A contender is fitted on standardised targets and answers with a forecast: a `NormalMixture`,
`Quantiles`, or a `Point`. A Gaussian forecast is a mixture of one component.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np
from common import n_threads
from plain_mdn import fit_two_networks, predicted_mixture
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmdn import NormalMixture, metrics

COVERAGES = (0.5, 0.8, 0.9, 0.95)
#: Levels of the quantile forecasts: every twentieth, and the ends of the 95 % interval.
LEVELS = np.array([0.025, *np.arange(1, 20) / 20, 0.975])


# --- forecasts -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantiles:
    """Quantiles at `LEVELS`, (n, q), sorted: crossing ones are put in order."""

    values: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """The probability each quantile stands for: the levels nearer to it than to another."""
        borders = np.concatenate([[0.0], (LEVELS[1:] + LEVELS[:-1]) / 2, [1.0]])
        return np.diff(borders)

    def mean(self) -> np.ndarray:
        return self.values @ self.shares

    def affine(self, scale: float, shift: float) -> Quantiles:
        return Quantiles(self.values * scale + shift)

    def crps(self, y: np.ndarray) -> float:
        """Twice the pinball loss, averaged over the levels by their shares."""
        excess = y[:, None] - self.values
        pinball = np.maximum(LEVELS * excess, (LEVELS - 1) * excess)
        return float(2 * (pinball @ self.shares).mean())

    def coverage(self, y: np.ndarray, level: float) -> float:
        low, high = (np.abs(LEVELS - (1 + sign * level) / 2).argmin() for sign in (-1, 1))
        return float(((self.values[:, low] <= y) & (y <= self.values[:, high])).mean())


@dataclass(frozen=True)
class Point:
    """One value a row, without a distribution."""

    values: np.ndarray

    def mean(self) -> np.ndarray:
        return self.values

    def affine(self, scale: float, shift: float) -> Point:
        return Point(self.values * scale + shift)


Forecast = NormalMixture | Quantiles | Point


def gaussian(mean: np.ndarray, variance: np.ndarray | float) -> NormalMixture:
    variance = np.broadcast_to(variance, mean.shape)
    return NormalMixture(np.ones((len(mean), 1)), mean[:, None], variance[:, None])


def scores(forecast: Forecast, y: np.ndarray) -> dict[str, float]:
    """NLL, CRPS, RMSE and coverages, as far as the forecast says anything about them.

    No density is made up for quantiles: they have no NLL.
    """
    found = {"rmse": float(np.sqrt(np.mean((forecast.mean() - y) ** 2)))}
    if isinstance(forecast, Quantiles):
        found["crps"] = forecast.crps(y)
        found |= {f"cover_{level}": forecast.coverage(y, level) for level in COVERAGES}
    if isinstance(forecast, NormalMixture):
        found["nll"] = metrics.negative_log_likelihood(y, forecast)
        found["crps"] = metrics.crps(y, forecast)
        for level in COVERAGES:
            found[f"cover_{level}"] = metrics.interval_coverage(y, forecast, coverage=level)
    return found


# --- contenders ------------------------------------------------------------------------------

Predict = Callable[[np.ndarray], Forecast]


@dataclass(frozen=True)
class Contender:
    """What is compared.

    Attributes
    ----------
    fit : callable
        ``fit(X, y, seed)`` returns ``predict(X)``.
    settings : str
        What a reader must know to repeat it; measurements under other settings are not reused.
    most_rows : float
        Training sets beyond it are left out: they would take hours.
    """

    fit: Callable[[np.ndarray, np.ndarray, int], Predict]
    settings: str
    most_rows: float = np.inf


def on_standardised_targets(fit: Callable[..., Predict]) -> Callable[..., Predict]:
    """Let a contender see targets of mean 0 and variance 1, and answer in the user's units."""

    def fit_scaled(X, y, seed):
        mean, scale = y.mean(), y.std() or 1.0
        predict = fit(X, (y - mean) / scale, seed)
        return lambda X: predict(X).affine(scale, mean)

    return fit_scaled


def held_out_tenth(X, y, seed):
    return train_test_split(X, y, test_size=0.1, random_state=seed)


def fit_marginal(X, y, seed):
    """Ignore X: a Gaussian mixture of y alone, its size by BIC."""
    models = [GaussianMixture(k, random_state=seed).fit(y[:, None]) for k in range(1, 9)]
    best = min(models, key=lambda model: model.bic(y[:, None]))
    mixture = NormalMixture.from_sklearn(best).marginal(0)
    return lambda X: mixture[np.zeros(len(X), dtype=int)]


def fit_ngboost(X, y, seed):
    from ngboost import NGBRegressor

    X_train, X_stop, y_train, y_stop = held_out_tenth(X, y, seed)
    model = NGBRegressor(
        n_estimators=2000, early_stopping_rounds=50, verbose=False, random_state=seed
    )
    with redirect_stdout(None):  # it says that it validates, whatever verbose says
        model.fit(X_train, y_train, X_val=X_stop, Y_val=y_stop)
    n_stages = model.best_val_loss_itr + 1

    def predict(X):
        normal = model.pred_dist(X, max_iter=n_stages)
        return gaussian(normal.params["loc"], normal.params["scale"] ** 2)

    return predict


def fit_catboost(X, y, seed):
    from catboost import CatBoostRegressor

    X_train, X_stop, y_train, y_stop = held_out_tenth(X, y, seed)
    model = CatBoostRegressor(
        loss_function="RMSEWithUncertainty",
        iterations=2000,
        learning_rate=0.05,
        early_stopping_rounds=100,
        thread_count=n_threads(),
        random_seed=seed,
        verbose=False,
        allow_writing_files=False,
    ).fit(X_train, y_train, eval_set=(X_stop, y_stop))
    return lambda X: gaussian(*model.predict(X).T)


def fit_lightgbm_quantiles(X, y, seed):
    from lightgbm import LGBMRegressor, early_stopping

    X_train, X_stop, y_train, y_stop = held_out_tenth(X, y, seed)
    models = [
        LGBMRegressor(
            objective="quantile",
            alpha=level,
            n_estimators=2000,
            learning_rate=0.05,
            n_jobs=n_threads(),
            random_state=seed,
            verbose=-1,
        ).fit(
            X_train,
            y_train,
            eval_X=X_stop,
            eval_y=y_stop,
            callbacks=[early_stopping(50, verbose=False)],
        )
        for level in LEVELS
    ]

    def predict(X):
        return Quantiles(np.sort(np.column_stack([model.predict(X) for model in models])))

    return predict


def fit_gaussian_process(X, y, seed):
    kernel = ConstantKernel() * Matern(np.ones(X.shape[1]), nu=2.5) + WhiteKernel(0.1)
    scaler = StandardScaler().fit(X)
    with warnings.catch_warnings():  # a length scale at its bound: a feature that says nothing
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianProcessRegressor(kernel, random_state=seed).fit(scaler.transform(X), y)

    def predict(X):
        mean, sd = model.predict(scaler.transform(X), return_std=True)
        return gaussian(mean, sd**2)

    return predict


def fit_mlp(X, y, seed):
    """An ordinary network; its noise is what it errs by on a tenth it has not seen."""
    X_train, X_held_out, y_train, y_held_out = held_out_tenth(X, y, seed)
    network = MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=500, random_state=seed)
    model = make_pipeline(StandardScaler(), network)
    with warnings.catch_warnings():  # 500 passes may not be enough for its own tolerance
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X_train, y_train)
    variance = np.mean((model.predict(X_held_out) - y_held_out) ** 2)
    return lambda X: gaussian(model.predict(X), variance)


def fit_boosted_point(X, y, seed):
    model = HistGradientBoostingRegressor(
        max_iter=2000,
        learning_rate=0.05,
        early_stopping=True,
        n_iter_no_change=50,
        random_state=seed,
    ).fit(X, y)
    return lambda X: Point(model.predict(X))


def fit_plain_mdn(X, y, seed):
    scaler = StandardScaler().fit(X)
    model = fit_two_networks(scaler.transform(X), y, n_components=5, seed=seed)
    return lambda X: predicted_mixture(model, scaler.transform(X))


_HELD_OUT = "early stopping on a held-out tenth"
PEERS = {
    "marginal": Contender(
        on_standardised_targets(fit_marginal), "Gaussian mixture of y alone, 1 to 8 by BIC"
    ),
    "ngboost": Contender(
        on_standardised_targets(fit_ngboost),
        f"Normal, 2,000 stages of 0.01, {_HELD_OUT} (patience 50), best stage kept",
    ),
    "catboost": Contender(
        on_standardised_targets(fit_catboost),
        f"RMSEWithUncertainty, 2,000 trees of 0.05, {_HELD_OUT} (patience 100)",
    ),
    "lightgbm": Contender(
        on_standardised_targets(fit_lightgbm_quantiles),
        f"{len(LEVELS)} quantiles, 2,000 trees of 0.05 each, {_HELD_OUT} (patience 50)",
    ),
    "gp": Contender(
        on_standardised_targets(fit_gaussian_process),
        "Matern 5/2 with a length scale a feature, and white noise; evidence maximised",
        most_rows=2000,
    ),
    "mlp": Contender(
        on_standardised_targets(fit_mlp),
        "MLPRegressor 64 + 64, at most 500 passes; variance from a held-out tenth",
    ),
    "hist-gb": Contender(
        on_standardised_targets(fit_boosted_point),
        "HistGradientBoosting, point forecast, 2,000 trees of 0.05, early stopping (patience 50)",
    ),
    "plain-mdn": Contender(
        on_standardised_targets(fit_plain_mdn),
        "autograd, two ReLU networks of 50 + 50, 5 components, Adam 0.005, cosine, 2,000 steps",
    ),
}
