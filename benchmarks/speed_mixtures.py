"""Rows of the speed table on predictions and on the mixtures' answers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import scoringrules
import torch
from scipy import special
from scipy.optimize import elementwise
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from speed_rows import Options, Result, Row, compare, row

from skmdn import MDNRegressor, NormalMixture

ROWS: dict[str, Row] = {}


# --- predict ---------------------------------------------------------------------------------


def fitted(n_features: int, dtype=np.float64, **parameters):
    """MDNRegressor and MLPRegressor with hidden layers of the same sizes."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, n_features)).astype(dtype)
    y = (X[:, 0] + 0.1 * rng.standard_normal(500)).astype(dtype)
    same = {"hidden_layer_sizes": (64, 64), "max_iter": 2, "random_state": 0}
    ours = MDNRegressor(**same, **parameters).fit(X, y)
    theirs = MLPRegressor(**same)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return ours, theirs.fit(X, y)


def predict_one(options: Options, **parameters) -> Result:
    ours, theirs = fitted(10, **parameters)
    X = np.random.default_rng(1).standard_normal((1, 10))
    ways = {"MLPRegressor": lambda: theirs.predict(X)}
    return compare(lambda: ours.predict(X), ways, options, calls=200)


_ONE = "MLPRegressor.predict of one row, same hidden sizes"


@row(ROWS, "predict-one", "predict of one row, n_estimators=1", _ONE, 1.5)
def predict_one_member(options: Options) -> Result:
    return predict_one(options, n_estimators=1)


@row(ROWS, "predict-one-default", "predict of one row, 16 members", _ONE, 3.0)
def predict_one_default(options: Options) -> Result:
    return predict_one(options, n_estimators=16)


def predict_many(options: Options, dtype) -> Result:
    n = options.rows(1_000_000)
    ours, theirs = fitted(10, dtype, n_estimators=1)
    X = np.random.default_rng(1).standard_normal((n, 10)).astype(dtype)
    ways = {"MLPRegressor": lambda: theirs.predict(X)}
    return compare(lambda: ours.predict(X), ways, options, repeats=min(options.repeats, 5))


_MANY = "predict of 1,000,000 rows × 10 features, one member"


@row(ROWS, "predict-million", f"{_MANY}, float64", "MLPRegressor.predict", 1.0)
def predict_million(options: Options) -> Result:
    return predict_many(options, np.float64)


@row(ROWS, "predict-million-32", f"{_MANY}, float32", "MLPRegressor.predict", 1.0)
def predict_million_32(options: Options) -> Result:
    return predict_many(options, np.float32)


# --- mixtures --------------------------------------------------------------------------------


def mixtures(n: int, n_components: int) -> tuple[NormalMixture, np.ndarray]:
    """Random mixtures of one target, and a value for each."""
    rng = np.random.default_rng(0)
    shape = n, n_components
    weights = rng.exponential(size=shape)
    weights /= weights.sum(axis=1, keepdims=True)
    variances = np.exp(rng.standard_normal(shape))
    mixture = NormalMixture(weights, 3 * rng.standard_normal(shape), variances)
    return mixture, 3 * rng.standard_normal(n)


@row(
    ROWS,
    "logpdf",
    "logpdf, 1e6 rows × 8 components",
    "MixtureSameFamily.log_prob, float64",
    0.25,
)
def logpdf(options: Options) -> Result:
    mixture, y = mixtures(options.rows(1_000_000), 8)
    theirs, points = mixture.to_torch(), torch.from_numpy(y)
    ways = {"torch": lambda: theirs.log_prob(points)}
    return compare(lambda: mixture.logpdf(y), ways, options)


@row(
    ROWS,
    "ppf",
    "ppf, 1e5 rows × 40 components × 3 levels, 1e-10",
    "scipy.optimize.elementwise.find_root on the same cdf",
    0.3,
)
def ppf(options: Options) -> Result:
    mixture, _ = mixtures(options.rows(100_000), 40)
    levels = np.array([[0.05], [0.5], [0.95]])
    theirs = find_quantiles(mixture, levels)
    error = np.abs(mixture.ppf(levels) / theirs() - 1).max()
    result = compare(
        lambda: mixture.ppf(levels), {"scipy": theirs}, options, repeats=min(options.repeats, 3)
    )
    return replace(result, note=f"{result.note}; answers differ by {error:.0e} at most, relative")


def find_quantiles(mixture: NormalMixture, levels: np.ndarray):
    """Bracketed by the components' own quantiles, between which the mixture's lies."""
    weights, means, sds = mixture.weights, mixture.means, np.sqrt(mixture.covariances)
    shape = len(levels), len(mixture)
    row, q = np.broadcast_to(np.arange(len(mixture)), shape), np.broadcast_to(levels, shape)

    def excess(y, row, q):
        row = row.astype(int)
        z = (y[..., None] - means[row]) / sds[row]
        return np.einsum("...k,...k->...", weights[row], special.ndtr(z)) - q

    def find() -> np.ndarray:
        own = means + sds * special.ndtri(levels)[..., None]
        bracket = own.min(axis=-1), own.max(axis=-1)
        tolerances = {"xrtol": 1e-10, "xatol": 1e-12, "fatol": 0.0, "frtol": 0.0}
        found = elementwise.find_root(excess, bracket, args=(row, q), tolerances=tolerances)
        return found.x

    return find


@row(
    ROWS,
    "crps",
    "crps, 1e5 rows × 10 components",
    "scoringrules crps_mixnorm, its fastest backend here",
    0.5,
)
def crps(options: Options) -> Result:
    mixture, y = mixtures(options.rows(100_000), 10)
    arrays = y, mixture.means, np.sqrt(mixture.covariances), mixture.weights
    tensors = [torch.from_numpy(np.array(a)) for a in arrays]
    ways = {
        "numpy": lambda: scoringrules.crps_mixnorm(*arrays, backend="numpy"),
        "torch": lambda: scoringrules.crps_mixnorm(*tensors, backend="torch"),
    }
    if importlib.util.find_spec("numba"):
        ways["numba"] = lambda: scoringrules.crps_mixnorm(*arrays, backend="numba")
    error = np.abs(mixture.crps(y) / ways["numpy"]() - 1).max()
    result = compare(lambda: mixture.crps(y), ways, options, repeats=min(options.repeats, 3))
    return replace(result, note=f"{result.note}; answers differ by {error:.0e} at most, relative")


@row(
    ROWS,
    "sample",
    "sample, 1e6 rows × 40 components, 10 draws",
    "MixtureSameFamily.sample, float64",
    0.3,
)
def sample(options: Options) -> Result:
    mixture, _ = mixtures(options.rows(1_000_000), 40)
    theirs, rng = mixture.to_torch(), np.random.default_rng(0)
    ways = {"torch": lambda: theirs.sample((10,))}
    ours = lambda: mixture.sample(10, random_state=rng)  # noqa: E731
    return compare(ours, ways, options, repeats=min(options.repeats, 3))


# --- import ----------------------------------------------------------------------------------


@row(ROWS, "import", "import skmdn", "import torch, sklearn", 1.1)
def import_time(options: Options) -> Result:
    def loading(what: str):
        return lambda: subprocess.run([sys.executable, "-c", f"import {what}"], check=True)

    return compare(loading("skmdn"), {"libraries": loading("torch, sklearn")}, options)
