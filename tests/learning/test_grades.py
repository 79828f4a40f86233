"""Components on many atoms at once: how likely each is, and what is learned of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats

from skmdn import MDNRegressor
from skmdn.learning import grades
from skmdn.learning.atoms import StillComponents
from skmdn.learning.grades import GradedComponents, Grades
from skmdn.learning.initialization import starting_head_bias
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.noise import NOISE_MODELS

VALUES = np.linspace(-2.0, 2.0, 21)
COUNTS = np.where(np.arange(21) == 3, 900.0, 1000 * stats.binom(20, 0.4).pmf(np.arange(21)))
LOG_ODDS = np.log(np.append(COUNTS, 0.01))
GRADES = Grades.of(VALUES, COUNTS, LOG_ODDS, n_grades=4)


STILL = StillComponents.at(VALUES[:, None], 1e-6, np.array([9.0]))
GRADED = GradedComponents(STILL.means, STILL.variances, GRADES)
LOSS = MixtureLoss(3, 1, NOISE_MODELS["diagonal"], 1e-6, still=GRADED)


def numbers_of(locations, scales):
    """Return the numbers (1, 2, M, 1) that say so."""
    said = np.array([locations, np.log(scales)])
    return (grades._BOUND * np.arctanh(said / grades._BOUND))[None, ..., None]


def shares_at(cuts, locations, scales):
    """Return the shares (A, M) of cells of logistic distributions, by scipy."""
    ends = np.concatenate([[-np.inf], cuts[1:-1], [np.inf]])[:, None]
    return np.diff(stats.logistic.cdf(ends, locations, scales), axis=0)


def test_few_atoms_have_weights_of_their_own():
    for n_atoms, expected in ((4, True), (5, False)):
        counts, log_odds = np.full(n_atoms, 30.0), np.zeros(n_atoms + 1)
        assert (Grades.of(np.arange(n_atoms), counts, log_odds, 3) is None) is expected


LOCATIONS, SCALES = np.array([-1.0, 0.0, 0.4, 3.0]), np.array([0.05, 0.3, 2.0, 0.7])


@pytest.mark.parametrize("factor", [1.0, 0.2, 30.0])
def test_shares_are_those_of_rounded_logistic_distributions(factor):
    numbers = np.broadcast_to(numbers_of(LOCATIONS, SCALES), (1, 2, 4, 21))
    cells = GRADES.cells(numbers, VALUES[None, None], np.array([1.0]))
    expected = shares_at(GRADES.cuts, LOCATIONS, SCALES * np.sqrt(factor))
    assert_allclose(cells.of_atom, 0.0)
    likely = expected.T > 1e-10  # scipy's differences of what is all but one are rounding errors
    found = np.exp(-0.5 * cells.terms(factor)[0])
    assert_allclose(found[likely], expected.T[likely], rtol=1e-5)
    weights = np.array([0.1, 0.05, 0.3, 0.2, 0.15, 0.2])
    spread = GRADES.spread(weights[None, :, None], numbers[..., :1], np.array([factor]))[0, :, 0]
    wanted = np.append(expected @ weights[2:], weights[1])
    wanted[3] += weights[0]
    assert_allclose(spread, wanted, atol=1e-14)


def test_targets_are_in_the_cell_of_the_nearest_atom():
    near = VALUES + np.linspace(-0.09, 0.09, 21)
    cells = GRADES.cells(np.zeros((1, 2, 4, 21)), near[None, None], np.array([0.01]))
    assert_allclose(cells.of_atom[0, 0], (near - VALUES) ** 2 / 0.01 + np.log(0.01))


@pytest.mark.parametrize("location", [-6.0, 6.0])
def test_what_is_beyond_all_scores_is_at_the_outermost_atom(location):
    """All of it: none is lost."""
    numbers = np.tile(numbers_of(np.full(4, 0.999 * location), np.full(4, 0.01)), (2, 1, 1, 1))
    spread = GRADES.spread(np.full((2, 6, 1), 0.25) * [[0], [0], [1], [1], [1], [1]], numbers, 1.0)
    assert_allclose(spread[:, 0 if location < 0 else 20], 1.0)
    assert_allclose(spread.sum(1), 1.0)


def test_atoms_that_stand_out_are_components_by_themselves():
    """A common one among common ones does not."""
    assert_array_equal(GRADES.alone, np.eye(22)[:, [3, 21]])
    even = Grades.of(np.arange(6.0), np.array([5, 80, 100, 90, 60, 30]), np.zeros(7), 2)
    assert_array_equal(even.alone, np.eye(7)[:, [6]])


def test_to_begin_with_atoms_are_about_as_likely_as_among_all_rows():
    raw = starting_head_bias(LOSS, np.zeros((3, 1)), LOG_ODDS)[None, :, None]
    found = LOSS.parameters(raw).weights[0, 0]
    odds = np.append(np.ones(3), np.exp(LOG_ODDS))
    assert_allclose(np.cumsum(found), np.cumsum(odds / odds.sum()), atol=0.03)
    assert_allclose(found[3:].sum(), 1.0 - 3.0 / odds.sum())
    assert_allclose(found[:3], 1.0 / odds.sum())


def test_atoms_that_stand_out_begin_with_what_their_neighbours_have_not():
    odds, beside = np.exp(LOG_ODDS), COUNTS[[2, 4]].mean()
    alone = COUNTS[3] - beside
    graded = (odds.sum() - alone - odds[-1]) / 4
    assert_allclose(np.exp(GRADES.starting_logits), [alone, odds[-1], *[graded] * 4])


def cell_shares(counts):
    found = Grades.of(np.arange(len(counts)), counts, np.zeros(len(counts) + 1), 3)
    return np.diff(special.ndtr(found.cuts))


def test_shares_are_shrunk_towards_their_neighbours_as_far_as_they_vary_by_chance():
    rng = np.random.default_rng(0)
    truth = stats.norm.pdf(np.linspace(-2.5, 2.5, 40))
    truth /= truth.sum()
    counts = rng.poisson(1000 * truth)
    raw = counts / counts.sum()
    assert ((cell_shares(counts) - truth) ** 2).mean() < 0.6 * ((raw - truth) ** 2).mean()
    heaps = 1000 * truth * np.where(np.arange(40) % 2, 1.7, 0.3)
    assert_allclose(cell_shares(heaps), heaps / heaps.sum(), atol=0.006)
    rough = rng.poisson(1000 * truth * rng.gamma(9.0, 1 / 9.0, size=40))
    nearer = grades.shrunk(rough.astype(float)) - rough
    wanted = grades._averaged(rough, 0.5) - rough
    inner = np.abs(wanted) > 1.0
    assert 0.1 < np.median(nearer[inner] / wanted[inner]) < 0.75  # they vary more than by chance
    even = grades.shrunk(np.array([50.0, 46, 51, 55, 49, 53, 47, 50]))
    assert_allclose(even, grades._averaged(np.array([50.0, 46, 51, 55, 49, 53, 47, 50]), 0.5))


def test_what_nobody_was_at_is_as_likely_as_what_one_was_at():
    """All of it together; and no cell is too narrow for single precision."""
    counts = np.append(stats.norm.pdf(np.linspace(-2.5, 2.5, 40)) * 500, np.zeros(80))
    assert cell_shares(counts)[41:].sum() < 1.5 / counts.sum()
    counts[60] = 1
    assert (np.diff(Grades.of(np.arange(120), 1e7 * counts, np.zeros(121), 3).cuts) > 2e-6).all()
    few = np.append(np.full(9, 50.0), [1, 1, 0])
    assert 0.2 / few.sum() < cell_shares(few)[-1] < 1.0 / few.sum()


@pytest.mark.parametrize("size", [1.0, 20.0, 1e6])
def test_gradient_is_autograds(size):
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(2, LOSS.n_outputs, 7, generator=generator, dtype=torch.float64)
    y = torch.randn(2, 1, 7, generator=generator, dtype=torch.float64)
    y[:, :, :3] = 0.2  # at an atom
    raw[:, -8:] *= size  # mu and log s
    for kind in (torch.as_tensor, np.asarray):
        at = raw.clone().requires_grad_()
        expected = -LOSS.like(at).log_density(at, y)[0]
        expected.sum().backward()
        ours, here, found = LOSS.like(kind(raw)), kind(raw), kind(torch.full_like(raw, torch.nan))
        values = ours.gradient(ours.split(here), kind(y), out=ours.split(found))
        assert_allclose(values, expected.detach(), rtol=1e-12)
        assert_allclose(found, at.grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_numbers_of_single_precision_are_finite(size):
    raw = np.random.default_rng(0).normal(scale=size, size=(3, LOSS.n_outputs, 50))
    raw, y = raw.astype(np.float32), np.resize(VALUES, (3, 1, 50)).astype(np.float32)
    loss, out = LOSS.like(raw), np.full_like(raw, np.nan)
    with np.errstate(under="ignore", over="ignore"):  # of a component's distance
        values = loss.gradient(loss.split(raw), y, loss.split(out))
    assert np.isfinite(values).all()
    assert np.isfinite(out).all()


def test_finished_mixtures_have_the_density_that_was_learned():
    """Their weights at atoms are sums over grades."""
    rng = np.random.default_rng(0)
    raw, y = rng.normal(size=(2, LOSS.n_outputs, 5)), rng.normal(size=(2, 1, 5))
    y[:, 0, :3] = VALUES[[2, 3, 9]]
    for factor in (1.0, 3.0):
        found = LOSS.parameters(raw, np.full(2, factor))
        means = [
            np.concatenate([row, np.broadcast_to(LOSS.still.means[..., 0], (5, 22, 1))], 1)
            for row in found.means
        ]
        sds = [
            np.concatenate([row, np.broadcast_to(LOSS.still.sds, (5, 22, 1))], 1)
            for row in found.sds
        ]
        densities = stats.norm.pdf(
            y[:, 0, :, None], np.array(means)[..., 0], np.array(sds)[..., 0]
        )
        expected = np.log((found.weights * densities).sum(-1))
        assert_allclose(LOSS.log_density(raw, y, [factor])[0], expected, rtol=1e-9)
        mean = (found.weights * np.array(means)[..., 0]).sum(-1)
        assert_allclose(LOSS.means(raw, factor)[:, 0], mean)
        found_mean, found_variance = LOSS.moments(raw, factor)
        assert_allclose(found_mean[:, 0], mean)
        spread = np.array(sds)[..., 0] ** 2 + (np.array(means)[..., 0] - mean[..., None]) ** 2
        assert_allclose(found_variance[:, 0], (found.weights * spread).sum(-1))


def test_torch_has_the_same_mixtures():
    rng = np.random.default_rng(0)
    raw, y = rng.normal(size=(2, LOSS.n_outputs, 5)), rng.normal(size=(2, 1, 5))
    there, targets = torch.from_numpy(raw), torch.from_numpy(y)
    loss, factors = LOSS.like(there), np.array([0.5, 2.0])
    assert_allclose(loss.log_density(there, targets, [3.0]), LOSS.log_density(raw, y, [3.0]))
    assert_allclose(loss.means(there, factors), LOSS.means(raw, factors))
    for found, expected in zip(loss.moments(there, 3.0), LOSS.moments(raw, 3.0), strict=True):
        assert_allclose(found, expected)


@pytest.fixture(scope="module")
def rounded():
    rng = np.random.default_rng(1000)
    X = rng.normal(size=(3000, 10))
    y = np.round(20.0 + 5.0 * X[:, 0] + 3.0 * X[:, 1] + 1.5 * rng.normal(size=3000))
    return X, y, MDNRegressor(n_estimators=5, random_state=0).fit(X[:1000], y[:1000])


def test_neighbouring_values_tell_of_each_other(rounded, monkeypatch):
    """A linear function, rounded: weights learned one by one are 0.2 nats behind."""
    X, y, model = rounded
    monkeypatch.setattr(grades, "_FEW_ATOMS", 100)
    one_by_one = MDNRegressor(n_estimators=5, random_state=0).fit(X[:1000], y[:1000])
    assert len(model.atoms_) == len(one_by_one.atoms_) >= 40
    assert model.score(X[1000:], y[1000:]) > one_by_one.score(X[1000:], y[1000:]) + 0.1


def test_values_are_as_likely_as_they_are(rounded):
    """The mixture's chance of each is within 0.1 nats of the truth, on average."""
    X, y, model = rounded
    mixture = model.predict_mixture(X[1000:])
    found = mixture.probability_between(y[1000:] - 0.5, y[1000:] + 0.5)
    cells = stats.norm(20.0 + 5.0 * X[1000:, 0] + 3.0 * X[1000:, 1], 1.5)
    truth = cells.cdf(y[1000:] + 0.5) - cells.cdf(y[1000:] - 0.5)
    assert np.log(truth).mean() - np.log(found).mean() < 0.1


def test_means_are_those_of_the_mixtures(rounded):
    X, _, model = rounded
    assert_allclose(model.predict(X), model.predict_mixture(X).mean(), rtol=1e-10)


@pytest.mark.parametrize("tiny", [1e-12, 1e-15, 1e-20])
@pytest.mark.parametrize("value", [0.0, 15.0])
def test_atoms_of_hardly_any_weight_are_finite(tiny, value):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = np.round(8.0 + 3.0 * X[:, 0] + 2.0 * rng.normal(size=400)).clip(0.0, 15.0)
    weights = np.where(y == value, tiny, 1.0)
    model = MDNRegressor(n_estimators=2, max_iter=5, random_state=0).fit(X, y, weights)
    assert len(model.atoms_) > 8
    assert np.isfinite(model.predict(X)).all()
    assert np.isfinite(model.best_validation_score_)


def test_the_size_of_all_weights_says_nothing():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = np.round(8.0 + 3.0 * X[:, 0] + 2.0 * rng.normal(size=400))
    y[:2] = 20.0, 22.0  # with few rows there would be more beyond
    model = MDNRegressor(n_estimators=2, max_iter=3, random_state=0)
    first = model.fit(X, y).score_samples(X, y)
    cuts, atoms = model._targets.grades.cuts, model.atoms_
    for size in (1e-3, 1e3):
        model.fit(X, y, np.full(400, size))
        assert_array_equal(model.atoms_, atoms)
        assert_allclose(model._targets.grades.cuts, cuts)
        assert_allclose(model.score_samples(X, y), first, rtol=1e-3)
