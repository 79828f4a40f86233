"""Several targets of which some are on grids: counts, grades, years."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skmdn import MDNRegressor

GRID_NOISE = ["full", "diagonal"]


def counts(n, seed=0):
    """Calls (Poisson), a grade that goes with them, and minutes (lognormal) by the calls."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.0, 1.0, size=(n, 2))
    calls = rng.poisson(np.exp(1.0 + X[:, 0]))
    grade = np.clip(np.round(2.0 + X[:, 1] + (calls > 3) + 0.7 * rng.normal(size=n)), 1, 5)
    minutes = np.exp(0.3 * rng.normal(size=n) + 0.2 * calls)
    return X, np.column_stack([calls, grade, minutes]).astype(float)


def true_log_density(X, y):
    """Of the value of the first two, and the density of the third."""
    calls, grade, minutes = y.T
    ends = 2.0 + X[:, 1] + (calls > 3)
    lower, upper = np.where(grade == 1, -9.0, grade - 0.5), np.where(grade == 5, 19.0, grade + 0.5)
    share = np.diff(stats.norm.cdf([lower, upper], ends, 0.7), axis=0)[0]
    found = stats.poisson.logpmf(calls, np.exp(1.0 + X[:, 0])) + np.log(share)
    return found + stats.lognorm.logpdf(minutes, 0.3, scale=np.exp(0.2 * calls))


def small(**parameters):
    defaults = {"n_components": 4, "n_estimators": 3, "max_iter": 30, "hidden_layer_sizes": (16,)}
    return MDNRegressor(**defaults | {"random_state": 0} | parameters)


X, y = counts(600)
FRESH, TARGETS = counts(500, seed=1)


def at_values(model, d):
    """The log-density of a narrow normal distribution of target d at its middle."""
    (grid,) = [g for own, g in model.predict_mixture(FRESH[:1])._scale.grids.items() if own == d]
    return stats.norm.logpdf(0.0, scale=grid.sd)


@pytest.fixture(scope="module")
def model():
    return MDNRegressor(n_estimators=5, random_state=0).fit(*counts(2000))


def test_values_may_meet_any_others_and_targets_depend_on_each_other(model):
    narrow = at_values(model, 0) + at_values(model, 1)
    truth = true_log_density(FRESH, TARGETS).mean()
    assert model.score(FRESH, TARGETS) - narrow > truth - 0.12
    assert [len(grid) for grid in model._targets.grids][1:] == [5, 0]
    mixture = model.predict_mixture(FRESH)
    of_few, of_many = (
        mixture.condition(0, np.full(500, k)).marginal(1).mean() for k in (1.0, 5.0)
    )
    assert_allclose((of_many - of_few).mean(), 1.6, atol=0.35)  # the mean of 1, before the ends
    alone = sum(mixture.marginal(d).logpdf(TARGETS[:, d]).mean() for d in range(3))
    assert model.score(FRESH, TARGETS) > alone + 0.3


def test_each_value_is_as_likely_as_it_is(model):
    shares = model.predict_atoms(FRESH)
    atoms = model.atoms_
    assert np.isnan(atoms).sum() == 2 * len(atoms)
    of_calls = shares[:, ~np.isnan(atoms[:, 0])]
    truth = stats.poisson.pmf(atoms[~np.isnan(atoms[:, 0]), 0], np.exp(1.0 + FRESH[:, :1]))
    assert_allclose(of_calls, truth, atol=0.12)
    assert_allclose((of_calls - truth).mean(axis=0), 0.0, atol=0.02)
    for d in (0, 1):  # but for what the wide component has
        assert_allclose(shares[:, ~np.isnan(atoms[:, d])].sum(axis=1), 1.0, atol=0.02)


@pytest.mark.parametrize("noise_type", GRID_NOISE)
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e9])
def test_answers_agree(noise_type, unit):
    model = small(noise_type=noise_type).fit(X, unit * y)
    mixture = model.predict_mixture(FRESH)
    assert_allclose(model.predict(FRESH), mixture.mean(), rtol=1e-9)
    assert_allclose(model.predict_var(FRESH), mixture.var(), rtol=1e-9)
    assert_allclose(model.score_samples(FRESH, unit * TARGETS), mixture.logpdf(unit * TARGETS))
    raw, scaling = model._raw(FRESH), model._targets.scaling
    standardised = scaling.standardised(unit * TARGETS).T
    members = [
        model._loss.log_density(raw[[e]], standardised[None], [float(factor)])[0, 0]
        for e, factor in enumerate(np.broadcast_to(model._pooled_factors, len(raw)))
    ]
    expected = np.logaddexp.reduce(members) - np.log(len(raw)) - scaling.log_volume
    assert_allclose(mixture.logpdf(unit * TARGETS), expected, rtol=1e-9)
    draws = model.sample(FRESH, n_samples=400, random_state=0)
    error = mixture.std().mean(axis=0) / np.sqrt(400 * 500)
    assert (abs((draws - mixture.mean()).mean(axis=(0, 1))) < 5.0 * error).all()
    assert_allclose(sum(model.predict_variance_decomposition(FRESH)), mixture.var(), rtol=1e-9)
    quantiles = model.predict_quantiles(FRESH, [0.2, 0.9])
    for d in range(3):
        expected = mixture.marginal(d).ppf([[0.2], [0.9]]).T
        assert_allclose(quantiles[:, d], expected, rtol=1e-9)


def test_locations_are_bounded_in_normal_scores():
    """However far apart values are: in units of y, next to none of these would be a bound."""
    far = y * [1.0, 1e4, 1.0] + [0.0, 1e6, 0.0]
    bounds = small().fit(X, far)._loss.bounds
    assert_array_equal(bounds.lowest[:2, 0], -9.0)
    assert_array_equal(bounds.highest[:2, 0], 9.0)
    assert_array_equal(bounds.largest[:2, 0], 36.0)


def test_any_unit_says_the_same():
    once, again = (small().fit(X, unit * y).predict(FRESH) / unit for unit in (1.0, 2.0**20))
    assert_array_equal(once, again)


def test_held_out_rows_are_judged_by_the_same_density():
    model = small(n_estimators=5).fit(X, y)
    density = model.oof_mixture(X).logpdf(y)
    assert abs(density.mean() - model.oof_score_) < 0.2
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.score_samples(FRESH, TARGETS), model.score_samples(FRESH, TARGETS))
    single = model.score_samples(FRESH.astype(np.float32), TARGETS)
    assert_allclose(single, model.score_samples(FRESH, TARGETS), atol=1e-3)


def test_training_goes_on():
    model = small(warm_start=True).fit(X, y)
    before = model.atoms_
    model.fit(*counts(600, seed=2))
    assert_array_equal(model.atoms_, before)
    blockwise = small()
    for start in range(0, 600, 200):
        blockwise.partial_fit(X[start : start + 200], y[start : start + 200])
    assert np.isfinite(blockwise.score(FRESH, TARGETS))
    between = TARGETS + [0.5, 0.0, 0.0]  # on no value: far less dense, but no error
    assert (
        blockwise.score_samples(FRESH, between) < blockwise.score_samples(FRESH, TARGETS)
    ).all()
    assert np.isfinite(blockwise.score_samples(FRESH, between)).all()


def test_targets_beside_grids_may_have_zeros_of_their_own():
    rng = np.random.default_rng(0)
    rain = np.where(rng.random(600) < 0.4, 0.0, rng.lognormal(size=600))
    model = small(n_estimators=5).fit(X, np.column_stack([y[:, 1], rain]))
    first, *others = model.atoms_
    assert_array_equal(first, [np.nan, 0.0])
    assert_array_equal(np.array(others)[:, 0], [1, 2, 3, 4, 5])
    assert_allclose(model.predict_atoms(X).mean(axis=0)[0], (rain == 0).mean(), atol=0.05)


def test_draws_are_at_values(model):
    draws = model.sample(FRESH, n_samples=50, random_state=0)
    on_grid = np.isin(draws[..., :2], np.arange(40)).all(axis=2)
    assert on_grid.mean() > 0.99  # the others are of the wide component
    assert_allclose((draws[..., 1] == 3.0).mean(), (TARGETS[:, 1] == 3.0).mean(), atol=0.06)


def test_no_rows_and_far_ones_have_answers(model):
    nothing = model.predict_mixture(FRESH)[:0]
    none = np.empty((0, nothing.n_targets))
    assert nothing.mode().shape == none.shape
    assert nothing.responsibilities(none).shape == (0, nothing.n_components)
    assert nothing.condition([0], none[:, :1]).mean().shape == none[:, 1:].shape
    for d in range(nothing.n_targets):
        far = TARGETS[:2].astype(float)
        far[:, d] = 1e200
        assert np.isneginf(model.score_samples(FRESH[:2], far)).all()


def test_the_mode_is_at_values(model):
    point = MDNRegressor(n_estimators=5, random_state=0, point_estimate="mode")
    point.__dict__.update({k: v for k, v in model.__dict__.items() if k != "point_estimate"})
    mode = point.predict(FRESH)
    assert np.isin(mode[:, 0], np.arange(20)).all()
    assert np.isin(mode[:, 1], np.arange(1, 6)).all()


def test_sets_hold_what_is_asked(model):
    calibrated = pickle.loads(pickle.dumps(model)).calibrate(*counts(200, seed=5))
    fresh, targets = counts(250, seed=3)
    mixture = calibrated.predict_mixture(fresh)
    for coverage in (0.5, 0.9):
        held = [
            mixture.in_region(targets, coverage, n_samples=500, random_state=0),
            calibrated.in_region(fresh, targets, coverage),
            calibrated.in_region(fresh, targets, coverage, conformal=True),
        ]
        assert_allclose(np.mean(held, axis=1), coverage, atol=0.1)  # three standard errors


def test_sets_of_values_alone_are_neither_empty_nor_all():
    """Where combinations of values are likelier than what is asked, they are in."""
    pairs = y[:, :2].clip(None, 2)
    model = small().fit(X, pairs).calibrate(*((part[:300]) for part in (X, pairs)))
    for conformal in (False, True):
        held = model.in_region(X[300:], pairs[300:], 0.5, conformal=conformal).mean()
        assert 0.42 < held < 0.8


def test_isotropic_noise_has_one_variance_and_no_grids():
    model = small(noise_type="isotropic").fit(X, y)
    assert not any(map(len, model._targets.grids))
    assert np.isfinite(model.score(FRESH, TARGETS))


def test_a_sum_with_a_target_on_a_grid_is_learned_as_one():
    """What the others leave of it is next to nothing, which values of a grid cannot tell."""
    rng = np.random.default_rng(0)
    features, minutes = rng.normal(size=(600, 2)), rng.normal(size=600)
    grade = np.clip(np.round(3.0 + features[:, 1] + 0.7 * rng.normal(size=600)), 1, 5)
    targets = np.column_stack([grade, minutes, grade + minutes])
    model = MDNRegressor(n_estimators=5, random_state=0).fit(features[:400], targets[:400])
    score = model.score(features[400:], targets[400:])
    assert abs(score - model.best_validation_score_) < 0.6
    assert score > 8.0


@pytest.mark.parametrize("reg_covar", [1e-6, 1e-2, 1e-1])
def test_densities_are_whole_however_wide_values_are(reg_covar):
    """Values that are not to be told from each other are on no grid."""
    rng = np.random.default_rng(0)
    uneven = rng.choice([0.0, 1.0, 2.5, 10.0, 100.0, 1e4], size=300)
    targets = np.column_stack([uneven, y[:300, 1]])
    model = small(reg_covar=reg_covar).fit(X[:300], targets)
    mixture = model.predict_mixture(FRESH[:100])
    first, second = TARGETS[:100, 0], TARGETS[:100, 1]
    chained = mixture.marginal(0).logpdf(first)
    chained = chained + mixture.condition(0, first).marginal(0).logpdf(second)
    assert_allclose(mixture.logpdf(np.column_stack([first, second])), chained, rtol=1e-9)


def test_targets_that_are_off_their_grid_by_rounding_are_in_the_same_sets():
    pairs, rows = 0.1 * y[:200, :2].clip(None, 2), X[:200]
    model = small().fit(rows, pairs).calibrate(rows, pairs)
    kinds = pairs, pairs.astype(np.float32)
    for conformal in (False, True):
        assert_array_equal(*(model.in_region(rows, y, 0.6, conformal=conformal) for y in kinds))
    mixture = model.predict_mixture(rows)
    assert_array_equal(*(mixture.in_region(y, 0.6, n_samples=500, random_state=0) for y in kinds))


def test_draws_of_zeros_beside_a_grid_are_zeros():
    rng = np.random.default_rng(0)
    rain = np.where(rng.random(600) < 0.4, 0.0, 1.0 + rng.lognormal(size=600))
    model = small(n_estimators=5).fit(X, np.column_stack([y[:, 1], rain]))
    draws = model.sample(X, 100, random_state=0)
    assert_allclose((draws[..., 1] == 0.0).mean(), model.predict_atoms(X)[:, 0].mean(), atol=0.01)
    assert_array_equal(np.unique(model.predict_mixture(X[:1]).means[..., 1] == 0.0), [False, True])


def test_the_energy_score_is_the_same_each_time(model):
    mixture = model.predict_mixture(FRESH[:20])
    once, again = (mixture.energy_score(TARGETS[:20]) for _ in range(2))
    assert_array_equal(once, again)
