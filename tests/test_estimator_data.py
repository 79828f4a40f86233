"""Whatever holds the rows, in whatever units: the same model, and densities in the units of y."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, sparse, stats
from scipy.special import logsumexp

from skmdn import MDNRegressor, NormalMixture
from skmdn._pooling import pooled
from skmdn._scaling import TargetScaling
from skmdn.learning import judging, rows
from skmdn.learning.atoms import Pins, StillComponents
from skmdn.learning.curve import JohnsonCurve
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.noise import NOISE_MODELS

NOISE_TYPES = ["full", "diagonal", "isotropic", "isotropic_across_components", "fixed"]
ISOTROPIC = ["isotropic", "isotropic_across_components", "fixed"]
SCALES = np.array([1e3, 1.0, 1e-3])


def data():
    """Half the cells of X are zero; three targets of unequal scales, correlated given X."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)) * (rng.random((60, 4)) < 0.5)
    noise = rng.normal(size=(60, 3)) @ [[1.0, 0.8, 0.0], [0.0, 0.6, 0.5], [0.0, 0.0, 1.0]]
    return X, (X[:, :3] + 0.5 * noise) * SCALES + [5.0, -3e4, 0.0]


X, Y = data()
Y1 = Y[:, 1]
TIED = np.column_stack([Y[:, 0], Y @ [1.0, 0.0, 3e3]])  # all but one and the same
TARGETS = {"1-D": Y1, "one column": Y1[:, None], "two": Y[:, [2, 0]], "three": Y, "tied": TIED}


def small(**parameters):
    defaults = {"n_components": 3, "n_estimators": 2, "max_iter": 10, "hidden_layer_sizes": (8,)}
    return MDNRegressor(**defaults | {"random_state": 0} | parameters)


def assert_same(left, right):
    for name in ("weights", "means", "covariances"):
        assert_array_equal(getattr(left, name), getattr(right, name))


# --- what holds X --------------------------------------------------------------------------------

NAMES = list("abcd")
CONTAINERS = {
    "list": lambda X: X.tolist(),
    "fortran": np.asfortranarray,
    "csr_array": sparse.csr_array,
    "csr_matrix": sparse.csr_matrix,
    "csc_array": sparse.csc_array,
    "coo_array": sparse.coo_array,
    "csr, 64-bit indices": lambda X: wide(sparse.csr_array(X)),
    "csr, explicit zeros": lambda X: sparse.csr_array(
        (X.ravel(), np.tile(range(4), 60), np.arange(0, 241, 4)), shape=X.shape
    ),
    "pandas": lambda X: pd.DataFrame(X, columns=NAMES),
    "polars": lambda X: pl.DataFrame(X, schema=NAMES),
}


def wide(X):
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


@pytest.mark.parametrize("hold", CONTAINERS.values(), ids=CONTAINERS)
def test_all_containers_of_X_give_the_same_model(hold):
    expected = small().fit(X, Y).predict_mixture(X)
    assert_same(small().fit(hold(X), Y).predict_mixture(hold(X)), expected)
    assert_same(
        small().partial_fit(hold(X), Y).predict_mixture(hold(X)),
        small().partial_fit(X, Y).predict_mixture(X),
    )


@pytest.mark.parametrize("hold", [list, pd.Series, pl.Series, lambda y: y.astype(np.float32)])
def test_all_containers_of_y_give_the_same_model(hold):
    y = np.round(Y1)  # exact in float32
    model = small().fit(X, hold(y))
    assert_same(model.predict_mixture(X), small().fit(X, y).predict_mixture(X))
    assert_array_equal(model.score_samples(X, hold(y)), model.score_samples(X, y))


def test_frames_of_targets_and_whole_numbers():
    frame = pd.DataFrame(Y, columns=["u", "v", "w"])
    assert_same(small().fit(X, frame).predict_mixture(X), small().fit(X, Y).predict_mixture(X))
    counts = np.round(3 * X).astype(int)
    whole = small().fit(counts, counts[:, 0]).predict_mixture(counts)
    assert_same(whole, small().fit(counts * 1.0, counts[:, 0] * 1.0).predict_mixture(counts * 1.0))


def test_single_precision_is_enough():
    """The model is that of the rounded rows; predictions for float32 rows are float32's."""
    rounded = X.astype(np.float32)
    single, double = small().fit(rounded, Y), small().fit(rounded.astype(float), Y)
    assert_same(
        single.predict_mixture(rounded.astype(float)),
        double.predict_mixture(rounded.astype(float)),
    )
    assert single.predict(rounded).dtype == np.float64
    spread = np.sqrt(single.predict_var(X))
    assert_allclose(
        (single.predict(rounded) - single.predict(rounded.astype(float))) / spread, 0, atol=1e-5
    )
    assert_allclose(single.score(rounded, Y), single.score(X, Y), atol=1e-4)


@pytest.mark.parametrize("frame", [CONTAINERS["pandas"], CONTAINERS["polars"]])
def test_feature_names_are_kept_and_checked(frame):
    model = small().fit(frame(X), Y1)
    assert model.feature_names_in_.tolist() == NAMES
    renamed = pd.DataFrame(X, columns=["a", "b", "z", "d"])
    reordered = pd.DataFrame(X[:, ::-1], columns=NAMES[::-1])
    for other in (renamed, reordered):
        for ask in (model.predict, model.predict_mixture, model.sample, model.predict_region):
            with pytest.raises(ValueError, match="feature names"):
                ask(other)
        with pytest.raises(ValueError, match="feature names"):
            model.partial_fit(other, Y1)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)
    assert not hasattr(model.fit(X, Y1), "feature_names_in_")


def test_features_of_two_values_have_no_waves_and_are_learned():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2, size=(300, 4)).astype(float)
    y = rows[:, 0] + 2.0 * rows[:, 1] * rows[:, 2] + 0.1 * rng.normal(size=300)
    model = small(max_iter=200, n_components=1).fit(rows, y)
    assert model.network_.architecture.n_waving == 0
    truth = rows[:, 0] + 2.0 * rows[:, 1] * rows[:, 2]
    assert np.abs(model.predict(rows) - truth).max() < 0.15
    mixed = small().fit(np.column_stack([rows, np.arange(300)]), y)
    assert mixed.network_.architecture.n_waving == 1


def test_features_in_any_unit_give_the_same_model():
    model = small().fit(X, Y)
    assert model.line_ is not None
    for units in ([1e12, 1e-12, 1e200, 1e-200], [2.0, 3.0, 5.0, 7.0]):
        other = X * units
        mixture = small().fit(other, Y).predict_mixture(other)
        assert_allclose(mixture.means, model.predict_mixture(X).means, rtol=1e-9)


def test_to_networks_the_order_of_the_values_is_what_counts():
    bent = np.abs(Y - Y.mean(axis=0))
    model = small().fit(X, bent)
    assert model.line_ is None
    for other in (X**3, np.exp(X), X * [1e12, 1e-12, 1e200, 1e-200]):
        mixture = small().fit(other, bent).predict_mixture(other)
        assert_allclose(mixture.means, model.predict_mixture(X).means, rtol=1e-9)


# --- the shape of y ------------------------------------------------------------------------------


@pytest.mark.parametrize("point_estimate", ["mean", "median", "mode"])
@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
def test_answers_have_the_shape_of_y_and_are_the_mixtures(y, point_estimate):
    model = small(point_estimate=point_estimate).fit(X, y)
    mixture, trailing = model.predict_mixture(X), y.shape[1:]
    assert model.n_outputs_ == (y.shape[1] if y.ndim == 2 else 1)
    n_components = 6 + (model._outlier_share > 0.0)
    assert mixture.means.shape == (60, n_components, *trailing)
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == y.shape
    assert_allclose(
        mean, model.predict(X), rtol=1e-12, atol=1e-12 * np.abs(mean).max(axis=0).min()
    )
    assert_array_equal(std, mixture.std())
    assert_array_equal(model.predict_var(X), mixture.var())
    assert_array_equal(model.predict_cov(X), mixture.cov())
    assert_array_equal(model.score_samples(X, y), mixture.logpdf(y))
    assert_array_equal(model.sample(X, 4, random_state=5), mixture.sample(4, random_state=5))
    assert model.sample(X, random_state=5).shape == y.shape
    assert model.sample(X, 4, random_state=5).shape == (4, *y.shape)


@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
def test_answers_for_each_target_are_its_marginals(y):
    model = small().fit(X, y)
    quantiles, interval = model.predict_quantiles(X, [0.1, 0.8]), model.predict_interval(X, 0.7)
    assert quantiles.shape == interval.shape == (*y.shape, 2)
    medians = model.set_params(point_estimate="median").predict(X)
    mixture = model.predict_mixture(X)
    for d in range(model.n_outputs_):
        marginal = mixture.marginal(d) if y.ndim == 2 else mixture
        of_d = (slice(None), d) if y.ndim == 2 else slice(None)
        assert_allclose(marginal.cdf(quantiles[of_d].T), [[0.1] * 60, [0.8] * 60], atol=1e-12)
        assert_allclose(marginal.cdf(interval[of_d].T), [[0.15] * 60, [0.85] * 60], atol=1e-12)
        assert_allclose(marginal.cdf(medians[of_d]), 0.5, atol=1e-12)


def test_one_column_is_the_same_model_as_one_dimension():
    flat, column = small().fit(X, Y1), small().fit(X, Y1[:, None])
    assert_array_equal(column.predict(X)[:, 0], flat.predict(X))
    assert_array_equal(column.predict_quantiles(X)[:, 0], flat.predict_quantiles(X))
    assert_array_equal(column.score_samples(X, Y1), flat.score_samples(X, Y1[:, None]))


def test_the_mode_is_the_highest_point():
    model = small(point_estimate="mode", max_iter=40).fit(X, Y)
    mixture, mode = model.predict_mixture(X), model.predict(X)
    highest = mixture.logpdf(mode)
    for other in (model.sample(X, 200, random_state=0), np.moveaxis(mixture.means, 1, 0)):
        assert (mixture.logpdf(other) <= highest + 1e-9).all()


@pytest.mark.parametrize("y", [Y1, Y], ids=["one", "three"])
def test_small_blocks_of_rows_change_no_answer(y):
    model = small().fit(X, y)

    def answers():
        yield from model.predict(X, return_std=True)
        yield model.predict_mixture(X).means
        yield model.predict_quantiles(X)
        yield model.predict_interval(X)
        yield model.predict_cov(X)
        yield model.score_samples(X, y)
        if y.ndim == 1:
            yield from model.predict_region(X)

    whole = list(answers())
    with sklearn.config_context(working_memory=0.02):  # MiB: a few rows at a time
        blocks = list(answers())
        assert model.sample(X, 3, random_state=0).shape == (3, *y.shape)
    for block, expected in zip(blocks, whole, strict=True):
        assert_allclose(block, expected, rtol=1e-9)


def test_memory_for_atoms_is_bounded():
    """Networks give each of them a weight, though a mixture has one component there."""
    rng = np.random.default_rng(0)
    features, grades = rng.normal(size=(3000, 2)), rng.integers(0, 60, size=3000)
    model = small(n_components=1, n_estimators=16, max_iter=1).fit(features, grades)
    assert len(model.atoms_) > 40
    with sklearn.config_context(working_memory=16):
        for ask in (model.score_samples, lambda X, y: next(model._voters(X, out_of_fold=True))):
            tracemalloc.start()
            ask(features, grades)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 16 * 2**20


def test_arrays_of_a_fit_are_little_more_than_the_rows(monkeypatch):
    """And besides, what does not grow with them: blocks, a sample, rows judged at once."""
    monkeypatch.setattr(rows, "_BLOCK_BYTES", 2**16)
    monkeypatch.setattr(rows, "MOST_SAMPLED", 200)
    monkeypatch.setattr(judging, "_ROWS", 32)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20_000, 300)).astype(np.float32)
    target = features[:, 0] + rng.normal(size=20_000)
    tracemalloc.start()
    small(n_estimators=1, max_iter=1, early_stopping=False).fit(features, target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * features.nbytes


def test_draws_have_the_predicted_moments():
    model = small().fit(X, Y)
    draws = model.sample(X, 4000, random_state=0)
    errors = (draws.mean(axis=0) - model.predict(X)) / np.sqrt(model.predict_var(X) / 4000)
    assert np.abs(errors).max() < 5  # standard errors; 180 of them
    assert_allclose(draws.std(axis=0) / np.sqrt(model.predict_var(X)), 1, atol=0.1)


# --- units of y ----------------------------------------------------------------------------------


@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("noise_type", NOISE_TYPES[:-1])
def test_a_change_of_units_is_a_change_of_units(noise_type, y):
    """p(a y + b) = p(y) / a: fitting and changing units commute.

    A shift far beyond the spread loses digits of y, and ten passes of training multiply that.
    """
    model = small(noise_type=noise_type).fit(X, y)
    expected, log_density = model.predict(X), model.score_samples(X, y)
    for a, b, close in [
        (1e6, 0.0, 1e-5),
        (1e-6, 0.0, 1e-5),
        (2.0**40, 0.0, 1e-5),
        (0.1, 17.0, 3e-2),
    ]:
        b = b * np.abs(y).max()
        other = small(noise_type=noise_type).fit(X, a * y + b)
        tolerance = close * model.predict_mixture(X).std()
        back = (other.predict(X) - b) / a
        assert (np.abs(back - expected) < tolerance).all()
        log_jacobian = model.n_outputs_ * np.log(a)
        changed = other.score_samples(X, a * y + b) + log_jacobian
        assert_allclose(changed, log_density, atol=close)
        assert_allclose(other.oof_score_ + log_jacobian, model.oof_score_, atol=close)
        for name in ("loss_curve_", "validation_scores_"):
            sign = -1 if name == "loss_curve_" else 1
            changed = np.array(getattr(other, name)) + sign * log_jacobian
            assert_allclose(changed, getattr(model, name), atol=close)


def test_fixed_noise_changes_units_with_y():
    expected = small(noise_type="fixed", fixed_noise_level=0.5).fit(X, Y1)
    found = small(noise_type="fixed", fixed_noise_level=500.0).fit(X, 1e3 * Y1)
    assert_allclose(found.predict(X), 1e3 * expected.predict(X), rtol=1e-6)
    assert_allclose(found.score(X, 1e3 * Y1), expected.score(X, Y1) - np.log(1e3), atol=1e-6)


# --- the noise models ----------------------------------------------------------------------------


@pytest.mark.parametrize("noise_type", ISOTROPIC)
def test_isotropic_means_isotropic_in_the_units_of_y(noise_type):
    model = small(noise_type=noise_type, n_estimators=1, fixed_noise_level=0.07).fit(X, Y)
    covariances = model.predict_mixture(X).covariances
    variances = covariances[..., 0, 0]
    assert_allclose(covariances, variances[..., None, None] * np.eye(3), rtol=1e-12, atol=0)
    if noise_type != "isotropic":
        assert_allclose(variances, variances[:, :1] * np.ones(3), rtol=1e-12)
    if noise_type == "fixed":
        assert_allclose(variances, 0.07**2, rtol=1e-12)
    else:
        assert (np.ptp(variances[:, :3], axis=0) > 0).all()  # what is rare has one of its own


def test_diagonal_and_full_covariances():
    diagonal = small(noise_type="diagonal").fit(X, Y).predict_mixture(X).covariances
    assert_array_equal(diagonal * (1 - np.eye(3)), np.zeros_like(diagonal))
    full = small(noise_type="full").fit(X, Y).predict_mixture(X).covariances
    assert (full[..., 0, 1] != 0).all()


def test_targets_that_vary_together_are_learned_to_by_default():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 1))
    noise = stats.multivariate_normal([0, 0], [[1.0, 0.8], [0.8, 1.0]])
    z, units = noise.rvs(600, random_state=0), np.array([1e3, 1e-3])
    y = (x * [2.0, -1.0] + z) * units
    model = small(n_components=1, n_estimators=1, max_iter=50).fit(x, y)
    truth = noise.logpdf(z).mean() - np.log(units).sum()
    assert_allclose(model.score(x, y), truth, atol=0.1)
    middle = model.predict_cov([[0.0]])[0]
    assert_allclose(middle[0, 1] / np.sqrt(middle[0, 0] * middle[1, 1]), 0.8, atol=0.07)


def test_many_targets_that_do_not_vary_together_are_no_worse_for_a_few_rows():
    """A coupling that rows are too few to tell is better not known."""
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(1200, 3)), rng.normal(size=(1200, 8))
    y, few, fresh = x @ rng.normal(size=(3, 8)) + noise, slice(200), slice(200, None)
    full, diagonal = (
        MDNRegressor(noise_type=noise_type, random_state=0).fit(x[few], y[few])
        for noise_type in ("full", "diagonal")
    )
    assert full.score(x[fresh], y[fresh]) > diagonal.score(x[fresh], y[fresh]) - 0.1


def test_means_of_many_targets_are_learned_before_outliers_are_told_by_couplings():
    """Held-out scores got worse by couplings, and training ended 0.8 behind."""
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(3500, 4)), 0.3 * rng.normal(size=(3500, 12))
    noise[rng.random(noise.shape) < 0.05] *= 5.0
    y, few, fresh = np.sin(x @ rng.normal(size=(4, 12))) + noise, slice(1500), slice(1500, None)
    full, diagonal = (
        MDNRegressor(
            n_components=3, n_estimators=1, alpha=0.1, noise_type=noise_type, random_state=0
        )
        .fit(x[few], y[few])
        .score(x[fresh], y[fresh])
        for noise_type in ("full", "diagonal")
    )
    assert full > diagonal - 0.3


@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_held_out_scores_of_training_are_those_of_the_densities(noise_type, y):
    """Training scores standardised rows in torch, the mixture the user's in NumPy."""
    model = small(noise_type=noise_type, validation_fraction=0.5).fit(X, y)
    assert_allclose(model.oof_mixture(X).logpdf(y).mean(), model.oof_score_, rtol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "floors", "atoms", "a curve", "all"])
@pytest.mark.parametrize("n_targets", [1, 2, 3])
@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_both_densities_are_the_same_number(noise_type, n_targets, kind):
    """The density is written twice: once to learn, once to answer."""
    rng = np.random.default_rng(n_targets)
    y = 3 * rng.normal(size=(1, n_targets, 50))
    noise = NOISE_MODELS[noise_type]
    loss = MixtureLoss(4, n_targets, noise, 1e-6, fixed_variance=0.3, coupling_units=np.array(0.7))
    if kind == "floors":
        loss = replace(
            loss, reg_covar=2.0 ** np.arange(n_targets if noise.per_target else 1)[:, None]
        )
    if kind in ("atoms", "all"):
        loss = replace(
            loss, still=StillComponents.at(y[0, :, :2].T, 1e-6, np.full(len(y[0]), 9.0))
        )
    if kind in ("a curve", "all") and noise.all_free(4, n_targets):
        loss = replace(loss, curve=JohnsonCurve.fit(np.exp(y[0].T / 3), np.ones(50)))
    if kind == "all" and noise.all_free(4, n_targets) and n_targets > 1:
        atoms = np.where(np.arange(n_targets) == 0, y[0, 0, 3], np.nan)[None]
        loss = replace(loss, pins=Pins.at(atoms, [2], 2, noise.coupled))
    raw = 2 * rng.normal(size=(1, loss.n_outputs, 50))
    units = TargetScaling(np.zeros(n_targets), np.ones(n_targets))
    weights, means, scale = pooled(loss.parameters(raw, 3.0), loss.still, units)
    mixture = NormalMixture(weights, means, scale.covariances())
    learned = loss.log_density(raw, y, (1.0, 3.0))[1, 0]  # variances above the floor times three
    assert_allclose(learned, mixture.logpdf(y[0].T), rtol=1e-10, atol=1e-10)
    means, variances = loss.moments(raw, 3.0)
    assert_allclose(means[0].T, mixture.mean().reshape(50, -1))
    if noise_type != "full":  # whose variances are those given the targets before
        assert_allclose(variances[0].T, mixture.var().reshape(50, -1))


@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_log_densities_are_scipys(noise_type, y):
    model = small(noise_type=noise_type, fixed_noise_level=100.0).fit(X, y)
    mixture = model.predict_mixture(X)
    means = mixture.means.reshape(60, mixture.n_components, -1)
    covariances = mixture.covariances.reshape(*means.shape, means.shape[2])
    units = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))  # else scipy calls it singular
    whitened = (y.reshape(60, 1, -1) - means) / units
    correlations = covariances / (units[..., :, None] * units[..., None, :])
    expected = [
        logsumexp(
            [
                np.log(mixture.weights[i, k])
                + stats.multivariate_normal(cov=correlations[i, k]).logpdf(whitened[i, k])
                - np.log(units[i, k]).sum()
                for k in range(mixture.n_components)
            ]
        )
        for i in range(60)
    ]
    assert_allclose(model.score_samples(X, y), expected, rtol=1e-9)
    assert_allclose(model.score(X, y), np.mean(expected), rtol=1e-9)


@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_densities_integrate_to_one(noise_type):
    model = small(noise_type=noise_type, max_iter=40).fit(X, Y[:, :2] / [1e3, 1.0])
    mixture = model.predict_mixture(X[:1])
    axes = [
        mean + std * np.linspace(-12, 12, 601)
        for mean, std in zip(mixture.mean()[0], mixture.std()[0], strict=True)
    ]
    density = mixture.pdf(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)[:, :, None])
    total = integrate.trapezoid(integrate.trapezoid(density[..., 0], axes[1]), axes[0])
    assert_allclose(total, 1, atol=1e-6)
    one = small(noise_type=noise_type).fit(X, Y1).predict_mixture(X[:1])
    line = one.mean() + one.std() * np.linspace(-15, 15, 20_001)
    assert_allclose(integrate.trapezoid(one.pdf(line[:, None])[:, 0], line), 1, atol=1e-9)


def test_parameters_may_be_numpy_scalars():
    """As a search over a grid hands them over; in single precision they must change nothing."""
    plain, scalar = (small(reg_covar=kind(1e-4)).fit(X, Y1) for kind in (float, np.float64))
    assert_array_equal(plain.predict(X), scalar.predict(X))


# --- what the variance is made of ----------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["plain", "zeros", "outlier", "no noise", "two targets", "one network"]
)
def test_the_parts_of_the_variance_are_those_of_the_networks(kind):
    """Whatever components there are that belong to all networks."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, size=(200, 2))
    y = np.exp(X[:, 0]) + 0.1 * (kind != "no noise") * rng.normal(size=200)
    if kind == "zeros":
        y[::3] = 0.0
    elif kind == "outlier":
        y[0] = 30.0
    elif kind == "two targets":
        y = np.column_stack([y, rng.normal(size=200)])
    n_members = 1 if kind == "one network" else 5
    model = small(n_estimators=n_members, max_iter=60, reg_covar=1e-3).fit(X, y)
    parts = model.predict_variance_decomposition(X)
    assert parts.within_components.shape == y.shape
    assert_allclose(sum(parts), model.predict_var(X), rtol=1e-9)
    mixture = model.predict_mixture(X)
    weights = mixture.weights.reshape(*mixture.weights.shape, *[1] * (y.ndim - 1))
    within = (weights * mixture.component_var()).sum(axis=1)
    assert_allclose(parts.within_components, within, rtol=1e-9)
    raw, loss = model._raw(X), model._loss
    scaling, factors = model._targets.scaling, np.broadcast_to(model._pooled_factors, n_members)
    means = np.moveaxis(loss.means(raw, factors), 1, -1)  # (E, n, D), standardised
    means = scaling.restored(means) + model._on_line(X)
    apart = (1.0 - model._outlier_share) * means.var(axis=0).reshape(y.shape)
    assert_allclose(parts.between_members, apart, rtol=1e-9, atol=1e-15)
    assert (model._outlier_share > 0.0) == (kind == "no noise")
    assert min(part.min() for part in parts) > -1e-12
    with sklearn.config_context(working_memory=0.1):
        for part, again in zip(parts, model.predict_variance_decomposition(X), strict=True):
            assert_allclose(part, again, rtol=1e-9, atol=1e-12)
