"""Data that are all but linear: the line, what it leaves of rows, and models of the rest."""

from __future__ import annotations

import pickle
import weakref

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from sklearn import config_context
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

from skmdn import MDNRegressor, _fitting
from skmdn._line import line_through, normal_log_density
from skmdn._scaling import target_scaling
from skmdn.learning.calibration import trimmed_mean_squares

NOISE_TYPES = ["full", "diagonal", "isotropic", "isotropic_across_components", "fixed"]
PENALTIES = np.logspace(-6, 3, 19)


def linear(n, n_features, n_targets, noise=1.0, seed=0):
    """Targets that are linear in all features, and vary together beside."""
    rng = np.random.default_rng(seed)
    X, mixing = rng.normal(size=(n, n_features)), rng.normal(size=(n_targets, n_targets))
    return X, X @ rng.normal(size=(n_features, n_targets)) + noise * rng.normal(
        size=(n, n_targets)
    ) @ mixing


def small(**parameters):
    defaults = {"n_components": 2, "n_estimators": 4, "max_iter": 20, "hidden_layer_sizes": (8,)}
    return MDNRegressor(**defaults | {"random_state": 0} | parameters)


# --- the line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "n_features"), [(30, 4), (15, 20)])
def test_a_line_is_ridge_regression_and_rows_left_out_are_left_out(n, n_features):
    X, y = linear(n, n_features, 2)
    X, weights = X * 10.0 ** np.arange(n_features), np.random.default_rng(1).uniform(0.2, 3, n)
    line, rest = line_through(X, y, weights)
    Z = StandardScaler().fit(X, sample_weight=weights).transform(X)
    for target, left, found in zip(y.T, rest.T, line.at(X).T, strict=True):
        ridges = [Ridge(alpha=penalty * weights.sum()) for penalty in PENALTIES]
        without = np.zeros((len(ridges), n))
        for i in range(n):
            others = np.arange(n) != i
            for ridge, of_one in zip(ridges, without, strict=True):
                ridge.fit(Z[others], target[others], sample_weight=weights[others])
                of_one[i] = target[i] - ridge.predict(Z[[i]])[0]
        best = np.argmin(without**2 @ weights)
        assert_allclose(left, without[best], rtol=1e-6)
        assert_allclose(
            found, ridges[best].fit(Z, target, sample_weight=weights).predict(Z), rtol=1e-9
        )


def test_a_line_goes_on_for_a_hundred_times_as_far_as_the_rows_reach():
    X, y = linear(50, 2, 1)
    line, _ = line_through(X, y, np.ones(50))
    low, high = X.min(axis=0), X.max(axis=0)
    step = high - low
    rise = line.at(high[None]) - line.at(low[None])
    assert_allclose(line.at((high + 100 * step)[None]) - line.at(high[None]), 100 * rise)
    assert_allclose(line.at((high + 900 * step)[None]), line.at((high + 100 * step)[None]))
    small_units, _ = line_through(X * 1e-300, y, np.ones(50))
    for found in (line, small_units):
        assert np.isfinite(found.at(np.array([[1e308, -1e308]]))).all()


def test_features_that_vary_little_about_a_large_mean_have_slopes():
    rng = np.random.default_rng(0)
    z, slopes = rng.normal(size=(200, 3)), np.array([[1.0], [-2.0], [3.0]])
    X = 1e9 + 1e-4 * z
    y = (X - 1e9) @ slopes * 1e4
    _, residuals = line_through(X, y, np.ones(200))
    assert np.abs(residuals).max() < 1e-3 * y.std()


def test_a_line_is_drawn_whatever_scikit_learns_transformers_return():
    X = np.random.default_rng(0).normal(size=(60, 3))
    fits = []
    for output in ("default", "pandas"):
        with config_context(transform_output=output):
            fits.append(MDNRegressor(n_estimators=5, max_iter=3, random_state=0).fit(X, X.sum(1)))
    assert fits[0].line_ is not None
    assert_array_equal(fits[0].predict(X), fits[1].predict(X))


def test_rows_of_hardly_any_weight_are_not_there():
    X, y = linear(50, 3, 2)
    weights = np.where(np.arange(50) < 40, 1.0, 1e-30)  # as little as `canonical_rows` gives
    line, rest = line_through(X, y, weights)
    alone, its_rest = line_through(X[:40], y[:40], weights[:40])
    assert_allclose(line.at(X), alone.at(X))
    assert_allclose(rest[:40], its_rest)
    assert np.isfinite(rest).all()


def test_powers_of_two_change_no_digit_of_a_line():
    X, y = linear(50, 3, 2)
    line, rest = line_through(X, y, np.ones(50))
    units = np.array([2.0**900, 1.0, 2.0**-900])
    other, its_rest = line_through(X * units, y, np.ones(50))
    assert_array_equal(its_rest, rest)
    assert_array_equal(other.at(X * units), line.at(X))


@pytest.mark.parametrize("coupled", [True, False])
def test_the_density_of_what_is_left_is_scipys(coupled):
    rest, weights = linear(40, 2, 3)[1], np.random.default_rng(1).uniform(size=40)
    moments = rest.T @ (rest * weights[:, None]) / weights.sum()
    moments = moments if coupled else np.diag(np.diag(moments))
    expected = stats.multivariate_normal(cov=moments).logpdf(rest)
    found = normal_log_density(rest, weights, coupled)
    same = np.repeat(rest[:, :1], 3, axis=1)
    assert np.isfinite(normal_log_density(same, weights, coupled, floor=1e-6))
    assert found == pytest.approx(np.average(expected, weights=weights))


def test_what_is_left_is_decorrelated_whatever_outliers_say():
    rest = linear(2000, 1, 3)[1] * [1e3, 1.0, 1e-3]
    weights = np.ones(2000)
    rest[:3] = 1e3 * np.eye(3) @ np.diag(rest.std(axis=0))
    found = target_scaling(rest, weights, False)
    found = found.decorrelated(rest, weights, np.full(3, True)).standardised(rest)
    assert np.abs(np.corrcoef(rest[3:].T) - np.eye(3)).max() > 0.3
    assert_allclose(np.corrcoef(found[3:].T), np.eye(3), atol=0.1)


# --- models of what it leaves --------------------------------------------------------------------


@pytest.mark.parametrize(("n_features", "n_targets"), [(40, 1), (20, 4)])
def test_linear_data_of_few_rows_are_learned_as_well_as_a_line_learns_them(n_features, n_targets):
    X, y = linear(1300, n_features, n_targets, noise=0.3)
    train, test = slice(300), slice(300, None)
    model = MDNRegressor(n_estimators=5, random_state=0).fit(X[train], y[train])
    baseline = LinearRegression().fit(X[train], y[train])
    rest = y[train] - baseline.predict(X[train])
    noise = stats.multivariate_normal(cov=rest.T @ rest / (300 - n_features - 1))
    expected = noise.logpdf(y[test] - baseline.predict(X[test])).mean()
    assert model.score(X[test], y[test]) > expected - 0.05 * n_targets


@pytest.mark.parametrize("told", [0.0, 0.15])
def test_targets_that_tell_more_of_each_other_than_features_do(told):
    """Networks of 150 rows learn the covariance of eight targets badly, and a line need not."""
    rng = np.random.default_rng(0)
    X, root = rng.normal(size=(1150, 5)), rng.normal(size=(8, 2))
    covariance = root @ root.T + 0.1 * np.eye(8)
    y = rng.multivariate_normal(np.zeros(8), covariance, 1150) + told * X[:, :1]
    model = MDNRegressor(random_state=0).fit(X[:150], y[:150])
    rest = y - LinearRegression().fit(X[:150], y[:150]).predict(X)
    baseline = stats.multivariate_normal(rest[:150].mean(0), np.cov(rest[:150].T))
    assert model.score(X[150:], y[150:]) > baseline.logpdf(rest[150:]).mean() - 0.3
    assert model.line_ is not None


@pytest.mark.parametrize(("kind", "n_targets"), [("two spreads", 2), ("outliers", 1), ("fan", 2)])
def test_linear_data_whose_noise_is_uneven(kind, n_targets):
    """What a line leaves is far from normal, and networks take long to learn how."""
    rng = np.random.default_rng(0)
    X, z = rng.normal(size=(4000, 6)), rng.normal(size=(4000, n_targets))
    spread = {
        "two spreads": np.where(X[:, 0] > 0.0, 0.01, 0.5),
        "outliers": np.where(rng.random(4000) < 0.05, 3.0, 0.02),
        "fan": np.exp(1.5 * X[:, 0] - 3.0),
    }[kind][:, None]
    y = X @ rng.normal(size=(6, n_targets)) + spread * z
    truth = stats.norm.logpdf(spread * z, 0.0, spread)
    if kind == "outliers":
        each = [stats.norm.logpdf(spread * z, 0.0, sd).sum(axis=1) for sd in (0.02, 3.0)]
        truth = np.logaddexp(each[0] + np.log(0.95), each[1] + np.log(0.05))[:, None]
    train, test = slice(1000), slice(1000, None)
    model = MDNRegressor(n_estimators=5, random_state=0).fit(X[train], y[train])
    assert model.line_ is not None
    assert model.score(X[test], y[test]) > truth[test].sum(axis=1).mean() - 0.3 * n_targets


@pytest.mark.parametrize("n_targets", [1, 2, 3])
@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_answers_of_a_model_with_a_line(noise_type, n_targets):
    X, y = linear(400, 5, n_targets)
    X, y = X * [1e3, 1.0, 1e-3, 1.0, 1.0], y * 1e3 + 1e6
    y = y if noise_type in NOISE_TYPES[2:] else y * 10.0 ** (3 * np.arange(n_targets))
    model = small(noise_type=noise_type, fixed_noise_level=1e3).fit(X[:200], y[:200])
    assert model.line_ is not None
    fresh, targets = X[200:], y[200:]
    mixture = model.predict_mixture(fresh)
    assert_allclose(model.predict(fresh).reshape(targets.shape), mixture.mean(), rtol=1e-9)
    assert_allclose(model.score_samples(fresh, targets), mixture.logpdf(targets))
    if noise_type != "fixed":
        assert 0.6 < np.mean(((targets - mixture.mean()) / mixture.std()) ** 2) < 1.6
    draws = model.sample(fresh, n_samples=200, random_state=0).reshape(200, 200, n_targets)
    errors = (draws.mean(axis=0) - mixture.mean()) / mixture.std()
    assert np.abs(errors).max() < 6 / np.sqrt(200)
    in_csr = sparse.csr_array(fresh)
    assert_allclose(model.predict(in_csr), model.predict(fresh))
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(fresh), model.predict(fresh))


def test_training_rows_are_judged_by_lines_that_do_not_pass_through_them():
    X, y = linear(120, 40, 2)
    model = small(validation_fraction=0.25).fit(X, y)
    assert model.line_ is not None
    densities = model.oof_mixture(X).logpdf(y)
    assert densities.mean() == pytest.approx(model.oof_score_, rel=1e-4)
    assert densities.mean() < model.score(X, y) - 0.3
    moved = model.oof_mixture(X).mean() - model.predict_mixture(X).mean()
    _, rest = line_through(X, y, np.ones(120))
    assert_allclose(moved.std(axis=0), (y - rest - model.line_.at(X)).std(axis=0), rtol=0.2)


def test_sets_calibrated_out_of_fold_hold_new_rows():
    X, y = linear(2200, 30, 1)
    model = small(validation_fraction=0.25).fit(X[:200], y[:200, 0])
    model.calibrate(X[:200], y[:200, 0], out_of_fold=True)
    assert model.line_ is not None
    lower, upper = model.predict_interval(X[200:], coverage=0.9, conformal=True).T
    assert 0.87 < np.mean((lower <= y[200:, 0]) & (y[200:, 0] <= upper)) < 0.97


def test_training_that_goes_on_keeps_to_the_line():
    X, y = linear(200, 20, 1)
    model = small(warm_start=True).fit(X, y[:, 0])
    line, score = model.line_, model.oof_score_
    model.fit(X, y[:, 0])
    assert_allclose(model.line_.slopes, line.slopes)
    assert model.oof_score_ > score - 0.05
    model.fit(X[:8], y[:8, 0])  # too few to tell
    assert_allclose(model.line_.slopes, line.slopes)
    model.fit(X, y[:, 0])
    reached = model.score(X, y[:, 0])
    model.partial_fit(X, y[:, 0])
    assert model.score(X, y[:, 0]) > reached - 0.3
    assert small(warm_start=False).fit(X, y[:, 0]).oof_score_ == pytest.approx(score)


def test_training_that_goes_on_with_other_rows_draws_the_line_anew():
    X, y = linear(120, 40, 2)
    model = small(validation_fraction=0.25, warm_start=True).fit(X, y)
    y = y + 3.0 * X[:, :1]
    y[7] += 50.0
    model.fit(X, y)
    line, rest = line_through(X, y, np.ones(120))
    assert_allclose(model.line_.slopes, line.slopes)
    densities = model.oof_mixture(X).logpdf(y)
    assert densities.mean() == pytest.approx(model.oof_score_, rel=1e-4)
    lowest, highest = model._targets.extent
    standardised = model._targets.scaling.standardised(rest)
    assert (standardised >= lowest - 1e-6).all()
    assert (standardised <= highest + 1e-6).all()


def test_a_line_is_tried_with_what_suited_the_targets_and_reported(monkeypatch, capsys):
    plan, calls = _fitting.plan_training, []
    monkeypatch.setattr(_fitting, "plan_training", lambda *given: calls.append(0) or plan(*given))
    X, y = linear(200, 20, 1)
    model = MDNRegressor(n_estimators=5, max_iter=20, verbose=True, random_state=0).fit(X, y[:, 0])
    assert model.line_ is not None
    assert len(calls) == 1
    told = capsys.readouterr().out.partition("of the residuals of a line\n")[2]
    assert told.count("\n") == len(model.validation_scores_)


@pytest.mark.parametrize("alpha", ["auto", 0.02])
def test_what_the_targets_were_learned_on_is_let_go_before_a_line_is_tried(alpha, monkeypatch):
    begin, alive, counts = MDNRegressor._begin, weakref.WeakSet(), []

    def watched(self, *given):
        plan, training = begin(self, *given)
        alive.add(training.objective)
        return plan, training

    monkeypatch.setattr(MDNRegressor, "_begin", watched)
    monkeypatch.setattr(MDNRegressor, "_learn_residuals", lambda *given: counts.append(len(alive)))
    X, y = linear(200, 20, 1)
    MDNRegressor(n_estimators=5, max_iter=2, alpha=alpha, random_state=0).fit(X, y[:, 0])
    assert counts == [0]


def test_weights_of_zero_and_order_do_not_matter_to_what_is_left():
    X, y = linear(100, 10, 1)
    order, y = np.random.default_rng(0).permutation(110), y[:, 0]
    model = small(validation_fraction=0.25).fit(X, y)
    more = np.vstack([X, X[:10] + 1.0])[order]
    known, targets = order < 100, np.append(y, np.full(10, 99.0))[order]
    other = small(validation_fraction=0.25).fit(more, targets, 2.0 * known)
    assert_allclose(other.predict(X), model.predict(X), rtol=1e-9)
    found = other.oof_mixture(more).mean()[known]
    assert_allclose(found, model.oof_mixture(X).mean()[order[known]])


@pytest.mark.parametrize("noise", [0.0, 1e-9])
@pytest.mark.parametrize("noise_type", NOISE_TYPES[1:3])
def test_no_variance_is_below_the_floor_where_a_line_explains_all(noise_type, noise):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = X @ [[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]] + noise * rng.normal(size=(200, 2))
    model = small(noise_type=noise_type).fit(X, y)
    mixture = model.predict_mixture(X)
    variances = np.diagonal(mixture.covariances, axis1=-2, axis2=-1)
    whole = y.var(axis=0)
    least = whole if noise_type == "diagonal" else np.full(2, whole.mean())
    assert (variances.min(axis=(0, 1)) >= 0.99e-6 * least).all()
    assert_allclose(model.predict(X), y, atol=0.02)


@pytest.mark.parametrize("noise", [0.0, 1e-2])
def test_a_target_that_is_linear_spoils_no_other(noise):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3))
    exact = X @ [1.0, 2.0, 3.0] + noise * rng.normal(size=600)
    y = np.column_stack([exact, X @ [1.0, -1.0, 1.0] + rng.normal(size=600)])
    model = MDNRegressor(n_estimators=5, random_state=0).fit(X[:300], y[:300])
    assert_allclose(model.predict_mixture(X[300:]).std()[:, 1].mean(), 1.0, atol=0.3)


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_one_target_may_be_all_on_the_line(noise):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = X @ [1.0, 2.0, 3.0] + noise * rng.normal(size=400)
    model = small().fit(X[:200], y[:200])
    assert model.line_ is not None
    assert_allclose(model.predict(X[200:]), y[200:], atol=0.02)


def uneven(n, seed=0):
    """A target that is linear but for next to nothing, a bent one, and a count."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, size=(n, 3))
    exact = 1e3 + X @ [1.0, 2.0, 3.0] + 1e-4 * rng.normal(size=n)
    bent = np.sin(3.0 * X[:, 0]) + 0.2 * rng.normal(size=n)
    return X, np.column_stack([bent, exact, rng.poisson(np.exp(X[:, 1]))])


def test_a_line_may_be_through_some_of_the_targets():
    """All others keep their curves and values: a line through them would say nothing."""
    X, y = uneven(500)
    model = MDNRegressor(n_estimators=5, random_state=0).fit(X, y)
    assert_array_equal(model.line_.which, [False, True, False])
    assert_array_equal(model.line_.at(X)[:, [0, 2]], 0.0)
    assert len(model.atoms_) == (~np.isnan(model.atoms_[:, 2])).sum() > 8
    fresh, targets = uneven(500, seed=1)
    mixture = model.predict_mixture(fresh)
    assert_allclose(model.predict(fresh), mixture.mean(), rtol=1e-9)
    assert mixture.marginal(1).std().max() < 0.02
    assert mixture.marginal(1).logpdf(targets[:, 1]).mean() > 3.0
    alone = [MDNRegressor(n_estimators=5, random_state=0).fit(X, y[:, d]) for d in (0, 2)]
    for d, other in zip((0, 2), alone, strict=True):
        own = mixture.marginal(d).logpdf(targets[:, d]).mean()
        assert own > other.score(fresh, targets[:, d]) - 0.1
    draws = model.sample(fresh, 20, random_state=0)
    assert np.isin(draws[..., 2], np.arange(60)).mean() > 0.99
    assert_allclose(model.oof_mixture(X).logpdf(y).mean(), model.oof_score_, atol=0.3)


def test_training_goes_on_with_a_line_through_some_of_the_targets():
    X, y = uneven(400)
    model = small(warm_start=True).fit(X, y)
    before = model.score(X, y)
    model.fit(X, y)
    assert_array_equal(model.line_.which, [False, True, False])
    assert model.score(X, y) > before - 0.2
    model.partial_fit(*uneven(200, seed=2))
    assert np.isfinite(model.score(X, y))


@pytest.mark.parametrize("noise_type", NOISE_TYPES[2:4])
def test_targets_that_share_a_variance_share_a_line(noise_type):
    X, y = uneven(300)
    line = small(noise_type=noise_type).fit(X, y[:, :2]).line_
    assert line is None or line.which.all()


@pytest.mark.parametrize("exact", [0, 2])
def test_what_is_all_but_the_line_is_coupled_to_no_other(exact):
    """The floor alone would be explained by what it is not, or explain it."""
    rng = np.random.default_rng(0)
    X, shared = rng.normal(size=(400, 3)), rng.normal(size=400)
    noise = [shared, shared + 0.3 * rng.normal(size=400)]
    noise.insert(exact, np.zeros(400))
    y = X @ [[1.0, 0.0, 1.0], [2.0, 1.0, 0.0], [0.0, 3.0, 1.0]] + np.transpose(noise)
    model = MDNRegressor(n_estimators=5, random_state=0).fit(X, y)
    assert model.line_.which.all()
    cov, others = model.predict_cov(X), [d for d in range(3) if d != exact]
    sds = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    assert_allclose(sds[:, others].mean(axis=0), [1.0, 1.05], rtol=0.15)
    correlation = (cov / sds[:, :, None] / sds[:, None]).mean(axis=0)
    assert correlation[others[0], others[1]] > 0.8
    assert_allclose(correlation[exact, others], 0.0, atol=0.1)
    assert_allclose(model.oof_mixture(X).logpdf(y).mean(), model.oof_score_, atol=0.2)


def test_two_targets_of_which_one_is_all_but_the_line():
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(400, 3)), rng.normal(size=(400, 2))
    exact = X @ [3.0, -2.0, 1.0] + 0.01 * noise @ [1.0, 0.3]
    y = np.column_stack([X @ [1.0, 2.0, 3.0] + noise[:, 0], exact])
    model = MDNRegressor(n_estimators=5, random_state=0).fit(X, y)
    assert_allclose(model.oof_mixture(X).logpdf(y).mean(), model.oof_score_, atol=0.2)


def test_an_atom_beside_a_target_that_is_all_but_the_line():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    rain = np.where(rng.random(300) < 0.4, 0.0, rng.lognormal(size=300))
    y = np.column_stack([rain, X @ [1.0, 2.0, 3.0], rng.poisson(np.exp(0.5 * X[:, 0]))])
    model = MDNRegressor(n_estimators=5, random_state=0).fit(X, y)
    assert_array_equal(model.line_.which, [False, True, False])
    assert_allclose(model.oof_mixture(X).logpdf(y).mean(), model.oof_score_, atol=0.3)


def test_a_line_stays_with_its_target_where_that_is_zero_for_a_while():
    X, y = uneven(300)
    model = small(warm_start=True).fit(X, y)
    model.fit(X, y * [1.0, 0.0, 1.0])
    assert_array_equal(model.fit(X, y).line_.which, [False, True, False])


def test_rows_beyond_all_others_are_on_the_line():
    rng = np.random.default_rng(0)
    X = rng.standard_t(1.5, size=(2200, 4))
    y = X @ [1.0, -2.0, 0.5, 1.0] + 0.5 * rng.normal(size=2200)
    model = small().fit(X[:200], y[:200])
    assert model.line_ is not None
    assert model.score(X[200:], y[200:]) > stats.norm(0, 0.5).entropy() * -1 - 0.3


def test_targets_that_are_all_but_the_same_have_a_line():
    X, y = linear(300, 20, 2, noise=0.3)
    y[:, 1] = y[:, 0]
    model = small(max_iter=60).fit(X[:200], y[:200])
    assert model.line_ is not None
    alone = small(max_iter=60).fit(X[:200], y[:200, 0])
    assert model.score(X[200:], y[200:]) > alone.score(X[200:], y[200:, 0]) + 2.0


def test_a_line_may_say_when_a_common_value_is_there():
    """Hours of work, say, are zero where those of all jobs are; what a line leaves has no atom."""
    rng = np.random.default_rng(0)
    X = rng.gamma(2.0, size=(400, 3)) * (rng.random((400, 1)) < 0.7)
    y = X @ [1.0, 2.0, 0.5]
    model = small(max_iter=200).fit(X[:300], y[:300])
    assert model.line_ is not None
    assert model.atoms_.shape == (0,)
    assert model.predict_atoms(X).shape == (400, 0)
    assert_allclose(model.predict(X[300:]), y[300:], atol=0.05)
    assert pickle.loads(pickle.dumps(model)).score(X, y) == model.score(X, y)


@pytest.mark.parametrize(
    "why", ["bent", "atoms", "zeros of their own", "nothing held out", "few rows", "noise"]
)
def test_no_line_where_none_helps(why):
    X, y = linear(300, 4, 1)
    y, parameters = y[:, 0], {}
    if why == "bent":
        y = np.sin(2 * X[:, 0]) + 0.1 * y
    elif why == "atoms":
        y = y.clip(0.0)
    elif why == "zeros of their own":  # a line would leave them without a component
        y[np.random.default_rng(0).random(300) < 0.1] = 0.0
    elif why == "nothing held out":
        parameters = {"early_stopping": False}
    elif why == "few rows":
        X, y = X[:10], y[:10]
    else:
        y = np.random.default_rng(1).normal(size=300)
    model = small(max_iter=200, **parameters).fit(X, y)
    assert model.line_ is None


@pytest.mark.parametrize(("behind_at", "n_asked"), [(None, 4), (0, 1), (3, 4), (4, 4)])
def test_what_a_line_leaves_must_lead_at_the_first_checks(behind_at, n_asked, monkeypatch):
    """At each, networks of the whole are the rivals as they were then, not as they ended."""
    X, y = linear(300, 20, 1, noise=0.3)
    finish, leads, seen, finished, told = MDNRegressor._finish, MDNRegressor._leads, [], [], {}

    def asking(self, training, rivals):
        return leads(self, training, (seen.append(rival) or rival for rival in rivals))

    def boasting(self, training, rows, line_shift=None):
        finish(self, training, rows, line_shift)
        finished.append(line_shift is not None)
        if line_shift is None:  # in units of y, of which networks know nothing
            told["low"] = self.best_validation_score_ - 99.0
            told["high"] = self.best_validation_score_ = self.best_validation_score_ + 5.0
            scores = np.full(len(self.validation_scores_), told["low"])
            if behind_at is not None:
                scores[behind_at] = told["high"] + 9.0
            self.validation_scores_ = scores.tolist()

    monkeypatch.setattr(MDNRegressor, "_finish", boasting)
    monkeypatch.setattr(MDNRegressor, "_leads", asking)
    monkeypatch.setattr(MDNRegressor, "_near", lambda *given: np.array([True]))
    small().fit(X, 1e6 * y[:, 0])
    low = told["low"] + 0.5 * np.sqrt(1.0 / 300.0)
    is_behind = [behind_at is not None and i >= behind_at for i in range(n_asked)]
    assert_allclose(seen, np.where(is_behind, told["high"], low))
    assert finished == ([False, True] if behind_at in (None, 4) else [False])


def test_few_rows_that_networks_overfit_have_a_line():
    """What these gain by mixing they promise too much of; rows they never saw tell."""
    rng = np.random.default_rng(221)
    X = rng.normal(size=(3100, 20))
    y = X @ (rng.normal(size=20) * (rng.random(20) < 0.5)) + rng.normal(size=3100)
    model = MDNRegressor(random_state=0).fit(X[:100], y[:100])
    assert model.line_ is not None
    line, rest = line_through(X[:100], y[:100, None], np.ones(100))
    ridge = stats.norm.logpdf(y[100:], line.at(X[100:])[:, 0], rest.std()).mean()
    assert model.score(X[100:], y[100:]) > ridge - 0.15


@pytest.mark.parametrize(
    ("why", "times"), [("near", 2), ("bent", 1), ("noise", 1), ("far outlier", 2)]
)
def test_what_a_line_leaves_is_learned_only_where_it_is_near(why, times, monkeypatch):
    X, y = linear(400, 4, 2, noise=0.3)
    y, begin, calls = y if why == "far outlier" else y[:, 0], MDNRegressor._begin, []
    if why == "bent":
        y = np.sin(2 * X[:, 0]) + 0.1 * y
    elif why == "noise":
        y = np.random.default_rng(1).normal(size=400)
    elif why == "far outlier":  # the other target is near by itself
        y[0, 0] = 1e12
    monkeypatch.setattr(MDNRegressor, "_begin", lambda *given: calls.append(0) or begin(*given))
    MDNRegressor(n_estimators=5, random_state=0).fit(X, y)
    assert len(calls) == times


def test_squared_errors_leave_out_the_farthest_hundredth():
    errors = np.random.default_rng(0).normal(size=(200, 2))
    errors[5, 0], errors[7, 1] = 1e9, -1e9
    expected = [np.sort(column**2)[:198].mean() for column in errors.T]
    assert_allclose(trimmed_mean_squares(errors), expected)
