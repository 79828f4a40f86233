"""Data no textbook shows: finite answers without a warning, and never worse than the marginal."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.model_selection import KFold, cross_val_score

from skmdn import MDNRegressor

NOISE_TYPES = ["full", "diagonal", "isotropic", "isotropic_across_components", "fixed"]
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
y = X[:, 0] + 0.3 * rng.normal(size=60)
CAUCHY = rng.standard_cauchy(60)
GRID = rng.integers(0, 3, size=60).astype(float)
ROW = np.eye(60)[7]


def small(**parameters):
    defaults = {"n_components": 3, "n_estimators": 2, "max_iter": 15, "hidden_layer_sizes": (8,)}
    return MDNRegressor(**defaults | {"random_state": 0} | parameters)


def assert_answers_are_finite(model, X, y=None):
    mixture = model.predict_mixture(X)
    answers = [mixture.weights, mixture.means, mixture.covariances]
    answers += [*model.predict(X, return_std=True), model.predict_cov(X), model.score_samples(X)]
    answers += [model.predict_quantiles(X, [1e-6, 0.5, 1 - 1e-6]), model.predict_interval(X)]
    answers += [model.sample(X, 3, random_state=0)]
    for point_estimate in ("median", "mode"):
        answers.append(model.set_params(point_estimate=point_estimate).predict(X))
    if mixture.means.ndim == 2:
        region = model.predict_region(X)
        assert (np.isfinite(region.intervals).sum(axis=(1, 2)) == 2 * region.counts).all()
        answers.append(region.log_level)
    if y is not None:
        answers += [model.score_samples(X, y), model.loss_curve_, model.validation_scores_]
    assert all(np.isfinite(answer).all() for answer in answers)
    assert (mixture.std() > 0).all()


FEW = {"two rows": slice(2), "two equal rows": [0, 0], "three rows": slice(3), "five": slice(5)}


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("noise_type", NOISE_TYPES)
@pytest.mark.parametrize("rows", FEW.values(), ids=FEW)
def test_few_rows_and_more_components_than_rows(rows, noise_type, early_stopping):
    model = small(noise_type=noise_type, early_stopping=early_stopping, n_components=12)
    for targets in (y, np.column_stack([y, 1e3 * X[:, 1]])):
        assert_answers_are_finite(model.fit(X[rows], targets[rows]), X[rows], targets[rows])


TARGETS = {
    "1e12": 1e12 * y,
    "1e-12": 1e-12 * y,
    "1e100": 1e100 * y,
    "1e-100": 1e-100 * y,
    "around 1e8": 1e8 + y,
    "around 1e12": 1e12 + y,
    "1e-149": 1e-149 * y,
    "zero": np.zeros(60),
    "constant": np.full(60, 0.1),
    "constant 1e12": np.full(60, 1e12),
    "constant 1e-12": np.full(60, 1e-12),
    "constant but one": ROW,
    "Cauchy": CAUCHY,
    "Cauchy cubed": CAUCHY**3,
    "an outlier": y + 1e6 * ROW,
    "a far outlier": y + 1e30 * ROW,
    "grid": GRID,
    "truth values": GRID > 1,
    "two values far apart": np.where(GRID > 1, 1e12, 1e-12),
}


@pytest.mark.parametrize("noise_type", ["diagonal", "isotropic_across_components"])
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_odd_targets(target, noise_type):
    assert_answers_are_finite(small(noise_type=noise_type).fit(X, target), X, target)


@pytest.mark.parametrize("noise_type", NOISE_TYPES)
@pytest.mark.parametrize("name", ["1e12", "1e-12", "constant", "Cauchy", "constant but one"])
def test_odd_targets_beside_each_other(name, noise_type):
    Y = np.column_stack([y, TARGETS[name], TARGETS[name]])  # one of them twice
    assert_answers_are_finite(small(noise_type=noise_type).fit(X, Y), X, Y)


FEATURES = {
    "all constant": np.full((60, 3), 0.1),
    "one constant": np.column_stack([X, np.full(60, 1e12)]),
    "duplicates": np.column_stack([X, X[:, 0], X[:, 0]]),
    "nearly constant": np.column_stack([X, 1 + 1e-15 * X[:, 0]]),
    "constant but one": np.column_stack([X, ROW]),
    "denormal": np.column_stack([X, 5e-324 * np.arange(60)]),
    "huge": 1e300 * X,
    "the whole range": np.column_stack([X, np.sign(X[:, 0]) * 1.7e308]),
    "Cauchy cubed": CAUCHY[:, None] ** [1, 2, 3],
    "more than rows": rng.normal(size=(60, 100)),
    "signed zeros": np.column_stack([X, np.where(X[:, 0] > 0, 0.0, -0.0)]),
}


@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
def test_odd_features(features):
    model = small().fit(features, y)
    assert_answers_are_finite(model, features, y)
    assert_answers_are_finite(model, features / 2)


FAR = [1e6, -1e30, 1e100, 1e300, -1.7e308, 5e-324]


@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_far_outside_of_what_was_seen(noise_type):
    model = small(noise_type=noise_type, max_iter=40).fit(X, np.column_stack([y, 1e-3 * X[:, 1]]))
    far = np.array(FAR)[:, None] * np.ones(3)
    assert_answers_are_finite(model, far)
    assert_answers_are_finite(model, np.clip(far, -3e38, 3e38).astype(np.float32))
    # Beyond the rows seen, the density stays what it is at their edge; a line goes on, but ends.
    assert_allclose(model.predict(far[[0]]), model.predict(far[[2]]), rtol=1e-12)
    spread = (10 if model.line_ is None else 1000) * model.predict_mixture(X).means.std(
        axis=(0, 1)
    )
    assert (np.abs(model.predict(far)) < spread).all()


def test_steps_too_large_are_survived():
    for parameters in ({"learning_rate_init": 49.0}, {"alpha": 99.0}):
        model = small(**parameters).fit(X, y)
        assert np.isfinite(model.score(X, y))
        assert np.isfinite(model.predict_mixture(X).means).all()


# --- what the densities must be ------------------------------------------------------------------


def test_a_constant_target_is_found_within_the_floor():
    """Its unit is 1: nothing in the data says another; then sd is at least 1e-3."""
    for value in (0.0, 0.1, -1e6):
        model = small(max_iter=300).fit(X, np.full(60, value))
        mean, std = model.predict(X, return_std=True)
        assert_allclose(mean, value, atol=0.05)
        assert (std >= 1e-3).all()
        assert (std < 0.2).all()


@pytest.mark.parametrize("noise_type", NOISE_TYPES[:-1])
def test_a_constant_target_spoils_no_other(noise_type):
    """Isotropic noise takes its unit from the targets that vary."""
    alone = small(noise_type=noise_type, max_iter=60).fit(X, 1e-4 * y[:, None])
    beside = small(noise_type=noise_type, max_iter=60)
    beside.fit(X, np.column_stack([1e-4 * y, np.full(60, 3.0)]))
    expected = np.corrcoef(alone.predict(X)[:, 0], y)[0, 1]
    assert np.corrcoef(beside.predict(X)[:, 0], y)[0, 1] > expected - 0.05
    assert_allclose(beside.predict(X)[:, 1], 3.0, atol=0.3)


def test_targets_on_a_grid_make_no_spikes_beyond_the_floor():
    """Three values: the likelihood is unbounded, the floor on the variance is what bounds it."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 2))
    targets = rng.integers(0, 3, size=300).astype(float)
    for reg_covar in (1e-6, 1e-2):
        floor = np.sqrt(reg_covar) * targets.std()
        model = small(reg_covar=reg_covar, max_iter=150, n_components=4).fit(features, targets)
        mixture = model.predict_mixture(features)
        assert np.sqrt(mixture.covariances.min()) >= floor * (1 - 1e-9)
        highest = stats.norm.logpdf(0, scale=floor)
        assert model.score_samples(features, targets).max() <= highest + 1e-9
        # Each value has a third of the mass, whatever the widths.
        near = mixture.cdf([[0.5] * 300, [1.5] * 300])
        assert_allclose(
            near.mean(axis=1), np.cumsum(np.bincount(targets.astype(int)))[:2] / 300, atol=0.05
        )


def test_new_values_off_the_grid_are_not_ruled_out():
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(300, 2)), rng.integers(0, 3, size=300).astype(float)
    model = small(max_iter=150).fit(features, targets)
    between = model.score_samples(features, np.full(300, 0.5))
    assert np.isfinite(between).all()


@pytest.mark.parametrize("noise_type", ["full", "isotropic"])
@pytest.mark.parametrize("n_outliers", [1, 4])
def test_outliers_do_not_widen_the_rest(n_outliers, noise_type):
    """A network that holds the only one out knows of none, and its score must not ruin it."""
    rng = np.random.default_rng(0)
    features, fresh = rng.normal(size=(400, 1)), rng.normal(size=(1000, 1))
    targets, fresh_targets = (
        part[:, 0] + 0.1 * rng.normal(size=len(part)) for part in (features, fresh)
    )
    model = small(n_estimators=8, max_iter=200, noise_type=noise_type)
    clean = model.fit(features, targets)
    assert clean.predict_mixture(fresh).n_components == 8 * 3
    expected = clean.score(fresh, fresh_targets)
    spoiled = targets.copy()
    spoiled[:n_outliers] += 50.0
    model.fit(features, spoiled)
    assert model.score(fresh, fresh_targets) > expected - 0.1
    assert model.score_samples(features, spoiled).min() > -50.0
    if n_outliers > 1:  # then networks know of the others
        return
    mixture = model.predict_mixture(fresh)
    assert mixture.n_components == 8 * 3 + 1 + (model._outlier_share > 0.0)
    # One is as wide as the geometric mean of three standard deviations and the farthest target.
    farthest = np.abs(spoiled - spoiled.mean()).max()
    assert_allclose(mixture.covariances[:, 8 * 3], 3.0 * spoiled.std() * farthest)
    assert mixture.weights[:, 8 * 3].max() < 0.05
    assert model.predict_atoms(fresh).shape == (1000, 0)


@pytest.mark.parametrize("noise_type", ["full", "isotropic"])
@pytest.mark.parametrize("kind", ["bent", "line", "long tail", "zeros", "two targets"])
def test_a_slip_where_there_is_no_noise_is_rare_and_not_impossible(kind, noise_type):
    rng = np.random.default_rng(0)
    X = rng.uniform(1.0, 3.0, size=(400, 2))
    y = X @ [20.0, -7.0]
    if kind == "bent":
        y = np.exp(X[:, 0])
    elif kind == "long tail":  # whose floor is far below its variance
        X = np.exp(4.0 * X)
        y = X @ [20.0, 7.0]
    elif kind == "zeros":
        y = np.exp(X[:, 0]) * (X[:, 1] > 1.5)
    elif kind == "two targets":
        y = np.column_stack([y, X[:, 0] + rng.normal(size=400)])
    model = small(noise_type=noise_type, n_estimators=8, max_iter=200).fit(X[:300], y[:300])
    slips = y[300:].copy()
    slips[7] += y.std(axis=0)
    likely = model.score_samples(X[300:], slips)
    assert likely[7] > -50.0 - np.log(y.std(axis=0)).sum()
    mixture = model.predict_mixture(X[300:])
    assert_allclose(model.predict(X[300:]), mixture.mean(), rtol=1e-9)
    clean = model.score(X[300:], y[300:])
    assert model._outlier_share <= 1e-6 * 1.001
    assert model._outlier_share > 0.0 or kind == "zeros"  # where the wide component may do
    model._outlier_share = 0.0
    assert_allclose(clean, model.score(X[300:], y[300:]), atol=2e-6)
    without = model.predict_mixture(X[300:])
    floor = 1e-6 * y[:300].var(axis=0).max()  # isotropic noise has one for all targets
    assert (mixture.var() <= (without.var() + 2.0 * floor)).all()


def test_the_share_of_outliers_is_told_anew_by_every_fit():
    rng = np.random.default_rng(0)
    X = rng.uniform(1.0, 3.0, size=(200, 2))
    model = small(reg_covar=np.float32(0.1)).fit(X, X @ [20.0, -7.0])
    assert model._outlier_share == 1e-3  # however large the floor may be
    assert_allclose(model.predict_mixture(X).weights.sum(axis=1), 1.0, rtol=1e-14)
    assert model.partial_fit(X, rng.normal(size=200))._outlier_share == 1e-3
    assert model.fit(X, rng.normal(size=200))._outlier_share == 0.0
    assert small().partial_fit(X, X @ [20.0, -7.0])._outlier_share == 0.0
    of_one_variance = small(noise_type="fixed").fit(X, X @ [20.0, -7.0])
    assert of_one_variance._outlier_share == 0.0


NULLS = {  # and how far from the better one of a Gaussian and a histogram
    "normal": (lambda rng: rng.normal(size=500), 0.05),
    "two peaks": (lambda rng: rng.choice([-2.0, 2.0], 500) + 0.5 * rng.normal(size=500), 0.07),
    # Gaussians pay for its edge: five of them, fitted without any features, pay 0.07.
    "skewed": (lambda rng: rng.exponential(size=500), 0.25),
}


def marginal_scores(train, test, n_bins=16):
    """Held-out scores of a Gaussian and of a histogram."""
    gaussian = stats.norm(train.mean(), train.std()).logpdf(test).mean()
    edges = np.histogram_bin_edges(np.concatenate([train, test]), n_bins)
    counts = np.histogram(train, edges)[0] + 1.0
    log_heights = np.log(counts / counts.sum() / np.diff(edges))
    bins = np.clip(np.digitize(test, edges) - 1, 0, n_bins - 1)
    return gaussian, log_heights[bins].mean()


@pytest.mark.parametrize(("draw", "margin"), NULLS.values(), ids=NULLS)
def test_targets_independent_of_the_features(draw, margin):
    """There is nothing to learn but the marginal, and it must not be lost."""
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(500, 4)), draw(rng)
    model = MDNRegressor(n_estimators=4, max_iter=60, random_state=0)
    folds = list(KFold(3).split(features))
    found = cross_val_score(model, features, targets, cv=folds).mean()
    marginals = [marginal_scores(targets[train], targets[test]) for train, test in folds]
    assert found > np.mean(marginals, axis=0).max() - margin


@pytest.mark.parametrize("n_features", [1, 8])
def test_fifty_rows_are_no_worse_than_the_marginal(n_features):
    rng = np.random.default_rng(0)
    scores = []
    for seed in range(4):
        features, noise = rng.normal(size=(1050, n_features)), rng.normal(size=1050)
        targets, few, fresh = features[:, 0] + noise, slice(50), slice(50, None)
        model = MDNRegressor(max_iter=100, random_state=seed).fit(features[few], targets[few])
        marginal, _ = marginal_scores(targets[few], targets[fresh])
        scores.append(model.score(features[fresh], targets[fresh]) - marginal)
    assert np.mean(scores) > -0.1


def test_intervals_hold_where_features_are_as_many_as_rows():
    """Networks that all fit their rows exactly are nearly equally wrong elsewhere."""
    rng = np.random.default_rng(0)
    features, noise = rng.normal(size=(2060, 60)), rng.normal(size=2060)
    targets = features @ rng.normal(size=60) / 4 + 0.5 * noise
    model = MDNRegressor(random_state=0).fit(features[:60], targets[:60])
    low, high = model.predict_interval(features[60:]).T
    assert abs(np.mean((low < targets[60:]) & (targets[60:] < high)) - 0.9) < 0.05
