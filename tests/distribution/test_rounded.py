"""Mixtures of which some targets are on grids, against ones with a component a value."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit

from skmdn import NormalMixture
from skmdn.distribution.rounded import Grid, Rounded
from skmdn.distribution.scale import Diagonal, Triangular

N, K = 5, 4
GRIDS = {
    0: Grid(np.array([-2.0, 0.0, 0.5, 3.0]), np.array([-np.inf, -1.0, 0.3, 0.9, np.inf]), 0.01),
    2: Grid(np.array([1e3, 2e3]), np.array([-np.inf, 0.2, np.inf]), 5.0),
}
PLAIN = [1, 3]  # the other targets


def draw(correlated=True, seed=0):
    """Weights, means (of other targets), a scale, locations and steepnesses; the last is plain."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(K), size=N)
    means = rng.normal(size=(N, K, 4)) * [1.0, 1.0, 1e3, 10.0]
    sds = rng.uniform(0.5, 2.0, size=(N, K, 4)) * [1.0, 1.0, 1e3, 10.0]
    lower = sds[..., None] * np.eye(4)
    lower[..., 3, 1] = 5.0 * rng.normal(size=(N, K)) * correlated
    location, steepness = rng.normal(size=(N, K, 2)), rng.uniform(0.5, 4.0, size=(N, K, 2))
    location[:, -1] = steepness[:, -1] = 0.0
    return weights, means, lower, location, steepness


def with_moments(means, lower, location, steepness):
    """Let rounded targets have the moments that they have."""
    for i, (d, grid) in enumerate(GRIDS.items()):
        shares = shares_of(grid, location[..., i], steepness[..., i])[:, :-1]
        mean = shares @ grid.values
        variance = (shares * (grid.values - mean[..., None]) ** 2).sum(axis=-1) + grid.sd**2
        means[:, :-1, d], lower[:, :-1, d, d] = mean, np.sqrt(variance)
    return means, lower


def shares_of(grid, location, steepness):
    below = expit((grid.ends - location[..., None]) * np.maximum(steepness, 1e-9)[..., None])
    return np.diff(below, axis=-1)


def rounded(correlated=True, seed=0):
    weights, means, lower, location, steepness = draw(correlated, seed)
    means, lower = with_moments(means, lower, location, steepness)
    sds = np.diagonal(lower, axis1=-2, axis2=-1)
    scale = Triangular(lower) if correlated else Diagonal(sds)
    scale = Rounded(scale, GRIDS, location, steepness)
    return NormalMixture._from_scale(weights, means, scale, scalar=False)


def exploded(correlated=True, seed=0):
    """The same with a component for each pair of values: the oracle."""
    weights, means, lower, location, steepness = draw(correlated, seed)
    first, second = (
        shares_of(grid, location[..., i], steepness[..., i])
        for i, grid in enumerate(GRIDS.values())
    )
    parts = [(weights[:, -1], means[:, -1], lower[:, -1])]
    for a, b in itertools.product(range(4), range(2)):
        at, wide = means[:, :-1].copy(), lower[:, :-1].copy()
        for d, k in ((0, a), (2, b)):
            at[..., d], wide[..., d, d] = GRIDS[d].values[k], GRIDS[d].sd
        own = weights[:, :-1] * first[:, :-1, a] * second[:, :-1, b]
        parts += [(own[:, k], at[:, k], wide[:, k]) for k in range(K - 1)]
    weights, means, lower = (np.stack(part, axis=1) for part in zip(*parts, strict=True))
    return NormalMixture(weights, means, lower @ lower.swapaxes(-1, -2))


def points(n_sets=40, seed=1):
    """On the grids, beside them, and off them."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n_sets, N, 4)) * [1.0, 1.0, 1e3, 10.0]
    on = rng.random((n_sets, N)) < 0.8
    for d, grid in GRIDS.items():
        values = rng.choice(grid.values, size=(n_sets, N))
        y[..., d] = np.where(on, values + grid.sd * rng.normal(size=on.shape), y[..., d])
    return y


both_kinds = pytest.mark.parametrize("correlated", [True, False])


@both_kinds
def test_density_and_moments(correlated):
    found, expected, y = rounded(correlated), exploded(correlated), points()
    assert_allclose(found.logpdf(y), expected.logpdf(y), rtol=1e-10)
    assert_allclose(found.logpdf(y[0, 0]), expected.logpdf(y[0, 0]), rtol=1e-10)
    assert_allclose(found.mean(), expected.mean(), rtol=1e-12)
    assert_allclose(found.std(), expected.std(), rtol=1e-12)
    assert_allclose(found.cov(), expected.cov(), rtol=1e-9, atol=1e-9)
    assert_allclose(found.responsibilities(y).sum(axis=-1), 1.0)
    far = np.full((N, 4), np.inf)
    assert_array_equal(found.logpdf(far), -np.inf)
    assert np.isnan(found.logpdf(far * np.nan)).all()


@both_kinds
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_marginals(correlated, size):
    found, expected, y = rounded(correlated), exploded(correlated), points()
    for dims in itertools.permutations(range(4), size):
        ours, theirs = found.marginal(dims), expected.marginal(dims)
        assert_allclose(ours.logpdf(y[..., dims]), theirs.logpdf(y[..., dims]), rtol=1e-9)
        assert_allclose(ours.mean(), theirs.mean(), rtol=1e-12)


@both_kinds
def test_one_target_answers_all_its_questions(correlated):
    found, expected, y = rounded(correlated), exploded(correlated), points()
    for d in range(4):
        ours, theirs = found.marginal(d), expected.marginal(d)
        assert ours.means.ndim == 2
        assert_allclose(ours.cdf(y[..., d]), theirs.cdf(y[..., d]), rtol=1e-9)
        assert_allclose(ours.ppf([[0.05], [0.6]]), theirs.ppf([[0.05], [0.6]]), rtol=1e-6)
        assert_allclose(ours.crps(y[..., d]), theirs.crps(y[..., d]), rtol=1e-9)
        assert_allclose(ours.mode(), theirs.mode(), rtol=1e-6)
    assert found.marginal(0).n_components == 1 + 4  # the plain one, and the values


@both_kinds
@pytest.mark.parametrize("size", [1, 2, 3])
def test_conditioning(correlated, size):
    found, expected, y = rounded(correlated), exploded(correlated), points(n_sets=1)[0]
    for dims in itertools.permutations(range(4), size):
        rest = [d for d in range(4) if d not in dims]
        ours, theirs = (m.condition(dims, y[:, dims]) for m in (found, expected))
        assert_allclose(ours.logpdf(y[:, rest]), theirs.logpdf(y[:, rest]), rtol=1e-8)
        assert_allclose(ours.mean(), theirs.mean(), rtol=1e-8)
        assert_allclose(ours.cov(), theirs.cov(), rtol=1e-7, atol=1e-9)


def test_draws_are_at_the_values_as_often_as_they_should():
    found, expected = rounded(), exploded()
    draws = found.sample(40_000, random_state=0)
    error = expected.std() / 200.0
    assert_allclose((draws.mean(axis=0) - expected.mean()) / error, 0.0, atol=4.0)
    for d, grid in GRIDS.items():
        for value in grid.values:
            ends = value + 6.0 * grid.sd * np.array([-1.0, 1.0])
            share = ((draws[..., d] > ends[0]) & (draws[..., d] < ends[1])).mean(axis=0)
            truth = expected.marginal(d).probability_between(*ends)
            assert_allclose(share, truth, atol=4.0 * 0.5 / 200.0)
    inside = draws[..., 0][np.abs(draws[..., 0] - 3.0) < 0.06]
    assert_allclose(inside.std(), 0.01, rtol=0.06)  # some are of the plain component
    for row in range(N):
        correlation = np.corrcoef(draws[:, row].T)
        sds = expected.std()[row]
        assert_allclose(correlation, expected.cov()[row] / np.outer(sds, sds), atol=0.03)


def test_entropy_energy_and_regions():
    found, expected, y = rounded(), exploded(), points(n_sets=1)[0]
    ours, theirs = (m.entropy(n_samples=20_000, random_state=0) for m in (found, expected))
    assert_allclose(ours, theirs, atol=0.02)
    exact = expected.energy_score(y)
    squares = expected.var().sum(axis=1) + ((expected.mean() - y) ** 2).sum(axis=1)
    for n_samples in (None, 20_000):
        found_score = found.energy_score(y, n_samples=n_samples, random_state=0)
        error = np.sqrt(squares / (n_samples or 1_000))
        assert_allclose((found_score - exact) / error, 0.0, atol=3.0)


def test_a_region_holds_values_as_they_are():
    """Draws lie about values, which are the densest points: less dense, they would let in more."""
    found = rounded()
    draws = found.sample(20_000, random_state=1)
    for d, grid in GRIDS.items():
        nearest = grid.values[abs(draws[..., d, None] - grid.values).argmin(axis=-1)]
        near = abs(draws[..., d] - nearest) < 6.0 * grid.sd
        draws[..., d] = np.where(near, nearest, draws[..., d])
    for coverage in (0.5, 0.9):
        held = found.in_region(draws, coverage, random_state=0).mean()
        assert abs(held - coverage) < 0.02


@both_kinds
def test_no_draw_is_denser_than_the_mode(correlated):
    found = rounded(correlated)
    mode, draws = found.mode(), found.sample(5_000, random_state=0)
    assert (found.logpdf(mode) >= found.logpdf(draws).max(axis=0)).all()
    for d, grid in GRIDS.items():
        assert np.isin(mode[:, d], grid.values).all()
    of_grids = found.marginal([0, 2])  # nothing is left to climb
    assert_array_equal(of_grids.logpdf(of_grids.mode()) >= of_grids.logpdf(mode[:, [0, 2]]), True)


def test_rows_and_batches():
    found, y = rounded(), points(n_sets=1)[0]
    density = found.logpdf(y)
    assert_array_equal(found[[3, 1]].logpdf(y[[3, 1]]), density[[3, 1]])
    assert_array_equal([row.logpdf(at)[0] for row, at in zip(found, y, strict=True)], density)
    assert_allclose(found[0].logpdf(y), [found[0].logpdf(at)[0] for at in y], rtol=1e-12)
    twice = NormalMixture.concatenate([found, found[:2]])
    assert_array_equal(twice.logpdf(y[[0, 1, 2, 3, 4, 0, 1]])[5:], density[:2])
    assert_array_equal(pickle.loads(pickle.dumps(found)).logpdf(y), density)
    assert "rounded" in repr(found)


def test_mixing_with_what_is_not_rounded():
    found, y = rounded(), points(n_sets=1)[0]
    plain = NormalMixture([[1.0]] * N, found.mean()[:, None], found.cov()[:, None])
    mixed = NormalMixture.mix([found, plain])
    expected = np.logaddexp(found.logpdf(y), plain.logpdf(y)) - np.log(2.0)
    assert_allclose(mixed.logpdf(y), expected, rtol=1e-12)
    scale = found._scale
    grids = {**GRIDS, 0: GRIDS[0]._replace(sd=0.02)}
    others = Rounded(scale.scale, grids, scale.location, scale.steepness)
    others = NormalMixture._from_scale(found.weights, found.means, others, scalar=False)
    with pytest.raises(ValueError, match="mixtures must be rounded to the same grids"):
        NormalMixture.mix([found, others])


@pytest.mark.parametrize(
    "question",
    [
        NormalMixture.modes,
        NormalMixture.to_torch,
        lambda mixture: mixture.affine([1.0, 0.0, 0.0, 1.0]),
    ],
)
def test_what_has_no_closed_form_says_so(question):
    with pytest.raises(ValueError, match="targets are on grids, here 0, 2: use draws"):
        question(rounded())


def test_of_others_all_is_answered_once_values_are_known():
    given = rounded().condition([2, 0], [[1e3, 0.5]] * N)
    assert given.modes().counts.min() >= 1
    assert given.affine([1.0, -1.0]).n_targets == 1
