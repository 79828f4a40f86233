"""Targets of which many are one value: zeros of what is rare, grades, limits."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats

from skmdn import AutoregressiveMDNRegressor, MDNRegressor
from skmdn.learning.curve import JohnsonCurve

NOISE_TYPES = ["full", "diagonal", "isotropic"]
SD = 0.5


def hurdle(n, seed=0):
    """Zero with a probability of expit(2 x); else exp(x + SD z)."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, size=(n, 1))
    positive = np.exp(X[:, 0] + SD * rng.normal(size=n))
    return X, np.where(rng.random(n) < special.expit(2.0 * X[:, 0]), 0.0, positive)


def small(**parameters):
    defaults = {"n_components": 2, "n_estimators": 2, "max_iter": 20, "hidden_layer_sizes": (8,)}
    return MDNRegressor(**defaults | {"random_state": 0} | parameters)


def assert_same(left, right):
    for name in ("weights", "means", "covariances"):
        assert_array_equal(getattr(left, name), getattr(right, name))


X, y = hurdle(300)
BOTH = np.column_stack([y, np.where(y == 0, 3.0, y + X[:, 0])])


def half_open(n, seed=0):
    """The same, beside a second target that is normal and tells whether the first is zero."""
    X, first = hurdle(n, seed)
    noise = np.random.default_rng([seed, 1]).normal(size=n)
    return X, np.column_stack([first, X[:, 0] + 2.0 * (first == 0) + SD * noise])


OPEN = half_open(300)[1]


def test_zeros_are_as_likely_as_they_are_and_the_rest_is_learned_beside_them():
    model = small(n_estimators=8, max_iter=200).fit(*hurdle(2000))
    fresh, targets = hurdle(1000, seed=1)
    mixture = model.predict_mixture(fresh)
    zero = model.predict_atoms(fresh)[:, 0]
    width = 1e-3 * hurdle(2000)[1].std()  # the floor's
    beside = mixture.probability_between(-5.0 * width, 5.0 * width) - zero
    assert beside.min() > -1e-5
    assert beside.max() < 0.02  # little else is as small
    truth = special.expit(2.0 * fresh[:, 0])
    assert np.abs(zero - truth).mean() < 0.04
    positive = targets > 0.01
    expected = stats.lognorm(SD, scale=np.exp(fresh[:, 0])).logpdf(targets) + np.log1p(-truth)
    regret = (expected - mixture.logpdf(targets))[positive]
    assert regret.mean() < 0.1  # 800 rows to learn it from
    # At zero the density is that of the floor: no other model with this floor has more.
    floor = stats.norm.logpdf(0.0, scale=width)
    regret = (np.log(truth) + floor - mixture.logpdf(np.zeros(1000)))[~positive]
    assert regret.mean() < 0.05


def test_grades_are_told_apart():
    """A density of six grades is that of a classifier, at the height of the floor."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 2))
    grades = np.floor(3.0 + X[:, 0] + 0.5 * rng.normal(size=1500)).clip(0, 5)
    train, test = slice(1000), slice(1000, 1500)
    model = small(n_estimators=8, max_iter=200).fit(X[train], grades[train])
    assert_array_equal(model.atoms_, np.arange(6.0))
    edges = np.append(np.arange(1.0, 6.0), np.inf)
    cdf = stats.norm.cdf((edges - 3.0 - X[test, :1]) / 0.5)
    truth = np.log(np.diff(cdf, prepend=0.0)[np.arange(500), grades[test].astype(int)])
    floor = stats.norm.logpdf(0.0, scale=1e-3 * grades[train].std())
    assert model.score(X[test], grades[test]) > truth.mean() + floor - 0.1
    mixture, chances = model.predict_mixture(X[test]), model.predict_atoms(X[test])
    for grade in range(6):
        near = mixture.probability_between(grade - 0.01, grade + 0.01)
        assert_allclose(chances[:, grade], near, atol=0.01)


@pytest.mark.parametrize("targets", [y, BOTH], ids=["one", "two"])
@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_there_is_one_component_at_each_atom(noise_type, targets):
    model = small(noise_type=noise_type, reg_covar=1e-4).fit(X, targets)
    atom = targets[y == 0][0]
    assert_array_equal(model.atoms_, [atom])
    mixture = model.predict_mixture(X[:5])
    assert mixture.n_components == 2 * 2 + 1 + 1
    at_atom = mixture.means[:, 4]
    assert_allclose(at_atom, np.broadcast_to(atom, at_atom.shape), rtol=1e-12, atol=1e-12)
    sd = 1e-2 * np.atleast_1d(targets.std(axis=0))
    if noise_type == "isotropic":
        sd = np.full_like(sd, np.sqrt(np.mean(sd**2)))
    covariance = np.diag(sd**2) if targets.ndim == 2 else sd[0] ** 2
    at_atom = mixture.covariances[:, 4]
    assert_allclose(at_atom, np.broadcast_to(covariance, at_atom.shape), rtol=1e-9, atol=1e-15)
    assert_allclose(model.predict(X[:5]), mixture.mean(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_behind_the_atoms_is_a_wide_component_that_hardly_counts(noise_type):
    model = small(noise_type=noise_type).fit(X, BOTH)
    mixture = model.predict_mixture(X[:5])
    unit = BOTH.std(axis=0)
    if noise_type == "isotropic":
        unit = np.full(2, np.sqrt(np.mean(unit**2)))
    farthest = np.abs((BOTH - BOTH.mean(axis=0)) / unit).max(axis=0)
    sd = unit * np.maximum(np.sqrt(3.0 * farthest), 3.0)
    assert (sd > 3.0 * unit).any()
    assert_allclose(mixture.means[:, -1], np.tile(BOTH.mean(axis=0), (5, 1)), rtol=1e-9)
    assert_allclose(mixture.covariances[:, -1], np.tile(np.diag(sd**2), (5, 1, 1)))
    assert (mixture.weights[:, -1] < 0.02).all()


@pytest.mark.parametrize("targets", [y, BOTH, OPEN], ids=["one", "two", "open"])
@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_the_mixture_is_that_of_the_networks(noise_type, targets):
    """What they have in common is there once, and as likely as in all of them."""
    model = small(noise_type=noise_type).fit(X, targets)
    pooled = model._network_mixtures(X)
    model._pooled_factors = model._member_factor
    mixture = model.predict_mixture(X)
    expected = np.mean([one.pdf(targets) for one in pooled], axis=0)
    assert_allclose(mixture.pdf(targets), expected, rtol=1e-9)


def test_counts_that_nobody_saw_have_some_density():
    """Those between are atoms, and as far beyond as one may expect."""
    rng = np.random.default_rng(0)
    X, counts = rng.normal(size=(800, 2)), rng.integers(0, 3, size=800)
    counts[:9] = [3, 4, 5, 6, 8, 9, 10, 11, 12]
    model = small(n_components=5, n_estimators=8, max_iter=200).fit(X, counts)
    assert_array_equal(model.atoms_, np.arange(16.0))
    assert model.score_samples(X, np.full(800, 7)).min() > -6.0
    assert model.score_samples(X, np.full(800, 15)).min() > -8.0
    assert_allclose(model.predict_var(X).mean(), counts.var(), rtol=0.3)


def test_rare_values_that_are_no_atoms_have_some_density():
    """There are so few of them that components become peaks there."""
    rng = np.random.default_rng(0)
    X, values = rng.normal(size=(800, 2)), rng.integers(0, 3, size=800).astype(float)
    values[:9] = rng.uniform(3.0, 12.0, size=9)
    model = small(n_components=5, n_estimators=8, max_iter=200).fit(X, values)
    assert_array_equal(model.atoms_, [0.0, 1.0, 2.0])
    assert model.score_samples(X, np.full(800, 7)).min() > -25.0
    assert_allclose(model.predict_var(X).mean(), values.var(), rtol=0.1)


def test_what_is_rare_among_grades_is_a_grade():
    rng = np.random.default_rng(0)
    X, grades = rng.normal(size=(600, 2)), rng.integers(3, 7, size=600)
    grades[:8] = 8
    model = MDNRegressor(n_estimators=8, random_state=0).fit(X, grades)
    assert_array_equal(model.atoms_, [3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    assert 0.5 < model.predict_atoms(X)[:, -1].mean() / (8 / 600) < 2.0
    assert model.predict_atoms(X)[:, -2].mean() < 0.003  # nobody has a seven


@pytest.mark.parametrize("noise_type", ["full", "diagonal"])
def test_what_an_atom_leaves_open_is_learned(noise_type):
    model = small(noise_type=noise_type, n_estimators=8, max_iter=200).fit(*half_open(2000))
    assert_array_equal(model.atoms_, [[0.0, np.nan]])
    fresh, targets = half_open(1000, seed=1)
    zero, truth = targets[:, 0] == 0, special.expit(2.0 * fresh[:, 0])
    assert np.abs(model.predict_atoms(fresh)[:, 0] - truth).mean() < 0.04
    mixture, scale = model.predict_mixture(fresh), half_open(2000)[1].std(axis=0)
    # At zero, the first target has the density of the floor, whatever the second is.
    floor = stats.norm.logpdf(0.0, scale=1e-3 * scale[0])
    second = stats.norm.logpdf(targets[:, 1], fresh[:, 0] + 2.0, SD)
    regret = (np.log(truth) + floor + second - mixture.logpdf(targets))[zero]
    assert regret.mean() < 0.1
    first = stats.lognorm(SD, scale=np.exp(fresh[:, 0])).logpdf(targets[:, 0])
    second = stats.norm.logpdf(targets[:, 1], fresh[:, 0], SD)
    regret = (np.log1p(-truth) + first + second - mixture.logpdf(targets))[~zero]
    assert regret.mean() < 0.2
    # What is known of the first target tells of the second.
    told = mixture.condition([0], np.zeros((1000, 1))).mean()
    assert np.abs(told[:, 0] - fresh[:, 0] - 2.0).mean() < 0.1


@pytest.mark.parametrize("noise_type", ["full", "diagonal"])
def test_a_component_at_an_open_atom_is_pinned_to_it(noise_type):
    model = small(noise_type=noise_type, reg_covar=1e-4).fit(X, OPEN)
    mixture, sd = model.predict_mixture(X[:5]), 1e-2 * OPEN.std(axis=0)
    assert mixture.n_components == 2 * (2 + 2) + 1  # two at the atom, as half of the rows are
    of_atom = np.arange(9) % 4 // 2 == 1
    of_atom[-1] = False
    pinned = mixture.means[:, of_atom], mixture.covariances[:, of_atom]
    assert_allclose(pinned[0][..., 0], 0.0, atol=1e-12)
    assert_allclose(pinned[1][..., 0, 0], sd[0] ** 2, rtol=1e-9)
    assert_allclose(pinned[1][..., 0, 1], 0.0, atol=1e-15)
    assert (pinned[1][..., 1, 1] > 10.0 * sd[1] ** 2).all()
    assert (np.ptp(pinned[0][..., 1], axis=0) > 0.01).all()
    assert_allclose(model.predict(X[:5]), mixture.mean(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("noise_type", ["isotropic_across_components", "fixed"])
def test_components_of_one_width_have_no_atoms(noise_type):
    model = small(noise_type=noise_type).fit(X, y)
    assert model.atoms_.shape == (0,)
    assert model.predict_atoms(X).shape == (300, 0)
    assert model.predict_mixture(X[:1]).n_components == 4


@pytest.mark.parametrize("targets", [y, BOTH, OPEN], ids=["one", "two", "open"])
@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_held_out_scores_are_those_of_the_densities(noise_type, targets):
    model = small(noise_type=noise_type, validation_fraction=0.5).fit(X, targets)
    assert_allclose(model.oof_mixture(X).logpdf(targets).mean(), model.oof_score_, rtol=1e-5)


@pytest.mark.parametrize("targets", [BOTH, OPEN], ids=["two", "open"])
def test_weights_are_repetitions(targets):
    weights = np.random.default_rng(0).integers(0, 4, size=300)
    index = np.random.default_rng(1).permutation(np.repeat(np.arange(300), weights))
    model, twin = small().fit(X, targets, weights), small().fit(X[index], targets[index])
    assert_array_equal(model.atoms_, twin.atoms_)
    assert_same(model.predict_mixture(X), twin.predict_mixture(X))


@pytest.mark.parametrize("targets", [BOTH, OPEN], ids=["two", "open"])
@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_a_change_of_units_is_a_change_of_units(noise_type, targets):
    expected = small(noise_type=noise_type).fit(X, targets)
    found = small(noise_type=noise_type).fit(X, 1e6 * targets)
    assert_allclose(found.atoms_, 1e6 * expected.atoms_)
    shifted = found.score_samples(X, 1e6 * targets) + 2 * np.log(1e6)
    assert_allclose(shifted, expected.score_samples(X, targets), atol=1e-4)


def test_weights_decide_what_is_common():
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(300, 2)), np.append(rng.normal(size=290), np.zeros(10))
    weights = np.where(targets == 0, 3.0, 1.0)
    assert_array_equal(small(max_iter=1).fit(rows, targets, weights).atoms_, [0.0])
    lighter = np.where(targets == 0, 0.5, 1.0)
    assert_array_equal(small(max_iter=1).fit(rows, targets, lighter).atoms_, [])


@pytest.mark.parametrize("targets", [y[:, None], OPEN], ids=["one", "two"])
def test_the_curve_of_the_targets_is_that_of_the_rest(targets):
    """Zeros and the rest together are no normal distribution on any curve.

    The second target is looked at whether the first is zero or not.
    """
    model = small(max_iter=1, early_stopping=False).fit(X, targets)  # no line is tried
    standardised = model._targets.scaling.standardised(targets)
    scores = model._targets.curve.inverse(standardised.T).T
    positive = targets[:, 0] > 0
    assert stats.skew(standardised[positive, 0]) > 1.5
    assert abs(stats.skew(scores[positive, 0])) < 0.5
    for d in range(1, targets.shape[1]):
        alone = JohnsonCurve.fit(standardised[:, [d]], np.ones(300))
        assert_allclose(model._targets.curve.gamma[d], alone.gamma[0], rtol=1e-3, atol=1e-3)


def test_there_are_as_many_components_where_all_rows_are_at_open_atoms():
    """A target that is constant, or one of two, says nothing about how to learn the other."""
    rng = np.random.default_rng(0)
    two = X[:, 0] + 3.0 * rng.choice([-1.0, 1.0], size=300) + 0.3 * rng.normal(size=300)
    alone = small(n_estimators=4, max_iter=200).fit(X, two).score(X, two)
    for first in (np.full(300, 7.0), rng.integers(0, 2, size=300)):
        model = small(n_estimators=4, n_components=4, max_iter=200)
        model.fit(X, np.column_stack([first, two]))
        other = model.predict_mixture(X).marginal([1])
        assert other.logpdf(two[:, None]).mean() > alone - 0.15
        shares = np.unique(first, return_counts=True)[1] / 300
        assert_allclose(model.predict_atoms(X).mean(axis=0), shares, atol=0.03)


def test_training_that_goes_on_keeps_its_atoms():
    """They are decided with the scales; later rows need have none."""
    model = small(warm_start=True).fit(X, y)
    model.fit(X, y + 1.0)
    assert_array_equal(model.atoms_, [0.0])
    blockwise = small().partial_fit(X, y).partial_fit(X[y > 0], y[y > 0])
    assert_array_equal(blockwise.atoms_, [0.0])
    assert blockwise.predict_mixture(X).n_components == 6
    again = pickle.loads(pickle.dumps(model))
    assert_same(again.predict_mixture(X), model.predict_mixture(X))


def test_links_of_a_chain_have_their_own():
    """Each target is a mixture of its own; their values need not come together."""
    targets = np.column_stack([y, np.random.default_rng(0).integers(0, 3, size=300)])
    chain = AutoregressiveMDNRegressor(small()).fit(X, targets)
    assert_array_equal(chain.estimators_[0].atoms_, [0.0])
    assert_array_equal(chain.estimators_[1].atoms_, [0.0, 1.0, 2.0])
    # Where both are at atoms, their densities are those of two floors, and chances below one.
    floors = stats.norm.logpdf(0.0, scale=1e-3 * targets.std(axis=0)).sum()
    chances = chain.score_samples(X, targets)[y == 0] - floors
    assert (chances < 1e-6).all()
    truth = special.log_expit(2.0 * X[y == 0, 0]) + np.log(1.0 / 3.0)
    assert_allclose(chances.mean(), truth.mean(), atol=0.15)


def test_draws_are_at_atoms():
    """As often as these are likely, so that they can be counted; a mixture's lie about them."""
    model = small(n_estimators=5, max_iter=100).fit(X, y)
    draws = model.sample(X, n_samples=400, random_state=0)
    zero = (draws == 0.0).mean(axis=0)
    assert_allclose(zero, model.predict_atoms(X)[:, 0], atol=0.1)  # four standard errors
    assert_allclose(zero.mean(), model.predict_atoms(X).mean(), atol=0.006)
    assert_allclose(draws[draws != 0.0].mean(), y[y > 0].mean(), rtol=0.15)
    both = small(n_estimators=5, max_iter=100).fit(X, BOTH)
    assert_array_equal(both.atoms_, [[0.0, 3.0]])
    draws = both.sample(X, n_samples=100, random_state=0)
    assert_array_equal(draws[..., 0] == 0.0, draws[..., 1] == 3.0)
    half = small(n_estimators=5, max_iter=100).fit(X, OPEN)
    draws, likely = half.sample(X, n_samples=100, random_state=0), half.predict_atoms(X)
    assert_allclose((draws[..., 0] == 0.0).mean(), likely.mean(), atol=0.01)
    assert len(np.unique(draws[..., 1])) == draws[..., 1].size


def test_counts_by_few_features_of_two_values():
    """Most rows equal others, which are no copies: held out together they would leave gaps."""
    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(800, 2)).astype(float)
    y = rng.poisson(2 + 4 * X[:, 0]).astype(float)
    model = MDNRegressor(random_state=0).fit(X, y)
    cells = np.array([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)])
    means = [y[(cell == X).all(axis=1)].mean() for cell in cells]
    assert_allclose(model.predict(cells), means, atol=0.35)  # three standard errors
    assert_array_equal(model.atoms_[:10], np.arange(10))
    shares = model.predict_atoms(cells)[:, :3]
    assert_allclose(shares, stats.poisson.pmf(np.arange(3), 2 + 4 * cells[:, :1]), atol=0.06)
