"""Questions about all targets at once: modes, regions, entropy, energy score."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import scoringrules
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, special, stats

from skmdn import NormalMixture
from skmdn.distribution import multivariate
from skmdn.distribution.scale import Diagonal


def random_mixture(n_targets, *, n=5, n_components=4, seed=0, diagonal=False, apart=2.0):
    rng = np.random.default_rng(seed)
    lower = np.tril(rng.normal(size=(n, n_components, n_targets, n_targets)))
    covariances = lower @ lower.swapaxes(-1, -2) + 0.1 * np.eye(n_targets)
    covariances = covariances * np.eye(n_targets) if diagonal else covariances
    means = apart * rng.normal(size=(n, n_components, n_targets))
    return NormalMixture(rng.dirichlet(np.ones(n_components), n), means, covariances)


# --- modes -----------------------------------------------------------------------------------


def bent(line, A, b=0.0, n_targets=2):
    """A joint density whose modes are known: p(y1) times normals, then a linear map."""
    n, n_components = line.means.shape
    means = np.zeros((n, n_components, n_targets))
    means[..., 0] = line.means
    variances = np.ones((n, n_components, n_targets))
    variances[..., 0] = line.covariances
    covariances = variances[..., None] * np.eye(n_targets)
    return NormalMixture(line.weights, means, covariances).affine(A, b)


@pytest.mark.parametrize("n_targets", [2, 3])
@given(seed=st.integers(0, 2**16))
def test_modes_move_with_a_linear_map_of_a_known_density(n_targets, seed):
    rng = np.random.default_rng(seed)
    n_components = int(rng.integers(1, 7))
    weights = rng.dirichlet(np.ones(n_components), 3)
    means = 2 * rng.normal(size=(3, n_components))
    line = NormalMixture(weights, means, rng.uniform(0.2, 1.5, (3, n_components)) ** 2)
    A = rng.normal(size=(n_targets, n_targets)) + 2 * np.eye(n_targets)
    joint = bent(line, A, 5.0, n_targets).modes()
    known = line.modes()
    # an ascent may pass by a shallow mode that no component's mean leads to, never add one
    assert (joint.counts <= known.counts).all()
    for i in range(3):
        found = joint.points[i, : joint.counts[i]]
        upright = np.linalg.solve(A, (found - 5.0).T).T
        assert_allclose(upright[:, 1:], 0, atol=1e-6)
        distance = np.abs(upright[:, :1] - known.points[i, : known.counts[i]])
        assert (distance.min(axis=1) < 1e-6).all()
        highest = np.nanargmax(known.logpdf[i])
        assert_allclose(upright[0, 0], known.points[i, highest], atol=1e-6)
        assert np.isnan(joint.points[i, joint.counts[i] :]).all()
        assert (np.diff(joint.logpdf[i, : joint.counts[i]]) <= 0).all()


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("n_targets", [2, 3, 5])
def test_modes_are_stationary_and_no_nearby_point_is_higher(n_targets, diagonal):
    mixture = random_mixture(n_targets, n=40, n_components=6, diagonal=diagonal)
    modes = mixture.modes()
    assert_array_equal(mixture.mode(), modes.points[:, 0])
    found = ~np.isnan(modes.logpdf)
    assert_array_equal(found.sum(axis=1), modes.counts)
    for k in range(modes.counts.max()):
        rows = np.flatnonzero(found[:, k])
        part, points = mixture[rows], modes.points[rows, k]
        assert_allclose(part.logpdf(points), modes.logpdf[rows, k], rtol=1e-12)
        resp = part.responsibilities(points)
        pull = np.linalg.solve(part.covariances, (part.means - points[:, None])[..., None])[..., 0]
        gradient = np.einsum("nk,nkd->nd", resp, pull)
        assert_allclose(gradient, 0, atol=1e-7)
        for step in 1e-3 * np.random.default_rng(0).normal(size=(20, n_targets)):
            assert (part.logpdf(points + step) <= modes.logpdf[rows, k] + 1e-12).all()


def test_the_mode_is_the_highest_point_not_the_heaviest_component():
    covariances = [[25 * np.eye(2), 0.01 * np.eye(2)]]
    mixture = NormalMixture([[0.9, 0.1]], [[[0.0, 0.0], [5.0, 5.0]]], covariances)
    assert_allclose(mixture.mode(), [[5, 5]], atol=1e-3)


def test_two_equal_components_merge_at_two_standard_deviations():
    for distance, count in ((0.0, 1), (1.9, 1), (2.0, 1), (2.001, 2), (8.0, 2)):
        means = [[[-distance / 2, 0.0], [distance / 2, 0.0]]]
        modes = NormalMixture([[0.5, 0.5]], means, [[np.eye(2)] * 2]).modes()
        assert modes.counts[0] == count
        if count == 1:
            assert_allclose(modes.points[0, 0], 0, atol=1e-4)


def test_an_ascent_that_starts_on_a_saddle_leaves_it():
    means = [[[-2.0, 0.0], [0.0, 0.0], [2.0, 0.0]]]
    modes = NormalMixture([[0.45, 0.1, 0.45]], means, [[np.eye(2)] * 3]).modes()
    assert modes.counts[0] == 2
    assert_allclose(np.abs(modes.points[0, :2, 0]), 1.931664737, rtol=1e-8)


def test_modes_that_do_not_stand_out_are_left_out():
    mixture = NormalMixture([[0.5, 0.45, 0.05]] * 3, [[-3.0, 3.0, 5.5]] * 3, [[1.0, 1.0, 0.1]] * 3)
    few, all_ = mixture.modes(prominence=0.2), mixture.modes()
    assert_array_equal(few.counts, [2] * 3)
    assert_array_equal(few.points[:, :2], all_.points[:, :2])
    assert_array_equal(few.logpdf[:, :2], all_.logpdf[:, :2])
    assert_array_equal(mixture.modes(prominence=0).points, all_.points)
    assert_array_equal(mixture[0].modes(prominence=0.2).points, few.points[:1])
    for value in (-0.1, 1.5, np.nan, [0.1], "much"):
        with pytest.raises(ValueError, match=r"^prominence must be"):
            mixture.modes(prominence=value)
    pair = NormalMixture([[1.0]], [[[0.0, 0.0]]], [[np.eye(2)]])
    with pytest.raises(ValueError, match="is defined for one target and this mixture has 2"):
        pair.modes(prominence=0.1)


def test_modes_keep_their_digits_far_from_zero_and_in_any_unit():
    near = random_mixture(2, n=20)
    far = near.affine(1e-3 * np.eye(2), 1e6)
    assert_allclose(far.mode(), 1e6 + 1e-3 * near.mode(), rtol=3e-16)
    assert_array_equal(far.modes().counts, near.modes().counts)


def test_coincident_impossible_and_distant_components():
    means = [[[0.0, 0.0], [0.0, 0.0], [1e6, 0.0], [0.0, 50.0]]]
    mixture = NormalMixture([[0.5, 0.2, 0.3, 0.0]], means, [[np.eye(2)] * 4])
    modes = mixture.modes()
    assert_allclose(modes.points[0, :2], [[0, 0], [1e6, 0]], atol=1e-9)
    assert_array_equal(modes.counts, [2])


# --- regions ---------------------------------------------------------------------------------


def test_the_region_of_one_normal_is_an_ellipse():
    covariance = np.array([[4.0, 1.0], [1.0, 0.5]])
    mixture = NormalMixture([[1.0]], [[[1.0, 2.0]]], [[covariance]])
    m = 100_000
    level = mixture.region_level(0.9, n_samples=m, random_state=0)
    distance = -2 * (level - mixture.logpdf(mixture.mean()))
    error = np.sqrt(0.9 * 0.1 / m)  # of the probability inside, as documented
    assert abs(stats.chi2(2).cdf(distance) - 0.9) < 4 * error


def test_in_region_covers_what_it_says():
    mixture = random_mixture(3)
    y = mixture.sample(20_000, random_state=1)
    inside = mixture.in_region(y, 0.8, random_state=0)
    error = np.sqrt(0.8 * 0.2 * (1 / 10_000 + 1 / 20_000))
    assert np.abs(inside.mean(axis=0) - 0.8).max() < 4 * error
    again = mixture.region_level(0.8, random_state=0)
    assert_array_equal(again, mixture.region_level(0.8, random_state=0))
    with pytest.raises(ValueError, match="n_samples must be a positive integer; got 0"):
        mixture.region_level(0.8, n_samples=0)


# --- entropy ---------------------------------------------------------------------------------


def test_entropy_of_one_component_is_exact():
    mixture = random_mixture(3, n_components=1)
    rows = zip(mixture.mean(), mixture.cov(), strict=True)
    assert_allclose(
        mixture.entropy(), [stats.multivariate_normal(m, c).entropy() for m, c in rows]
    )


def test_entropy_of_far_components_needs_no_luck():
    mixture = random_mixture(2, apart=1e4)
    entropy = mixture.entropy(n_samples=2, random_state=0)
    gaussian = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * mixture.covariances)[1]
    expected = (special.entr(mixture.weights) + mixture.weights * gaussian).sum(axis=1)
    assert_allclose(entropy, expected, rtol=1e-12)


def test_entropy_is_within_its_stated_error():
    mixture = random_mixture(2, n=20)
    entropy = mixture.entropy(n_samples=500, random_state=0)
    error = np.log(4) / 2 / np.sqrt(500)
    y = mixture.sample(50_000, random_state=1)
    plain = -mixture.logpdf(y)
    spread = np.sqrt(error**2 + plain.var(axis=0) / len(y))
    assert (np.abs(entropy - plain.mean(axis=0)) / spread).max() < 4
    repeats = [mixture.entropy(n_samples=500, random_state=seed) for seed in range(30)]
    assert (np.std(repeats, axis=0) < error).all()
    with pytest.raises(ValueError, match="n_samples must be a positive integer; got 0"):
        mixture.entropy(n_samples=0)


def test_entropy_of_one_target_is_that_of_its_copy_in_two():
    line = NormalMixture([[0.3, 0.7]], [[-1.0, 1.0]], [[0.5, 2.0]])
    joint = bent(line, np.eye(2))
    estimate = joint.entropy(n_samples=20_000, random_state=0)
    error = np.log(2) / 2 / np.sqrt(20_000)
    assert abs(estimate - line.entropy() - stats.norm.entropy()) < 4 * error


# --- energy score ----------------------------------------------------------------------------


def mean_norm_in_fifty_digits(variances, offsets):
    """E|X| by 1F1 for equal variances, else by the integral of 1 - E exp(-t |X|^2)."""
    with mpmath.workdps(30):
        variances, offsets = [mpmath.mpf(v) for v in variances], [mpmath.mpf(o) for o in offsets]

        def integrand(u):
            t = mpmath.e**u
            log_phi = sum(
                mpmath.log(1 + 2 * t * v) / 2 + t * o**2 / (1 + 2 * t * v)
                for v, o in zip(variances, offsets, strict=True)
            )
            return (1 - mpmath.exp(-log_phi)) * mpmath.e ** (-u / 2)

        return float(
            mpmath.quad(integrand, list(range(-140, 141, 7))) / (2 * mpmath.sqrt(mpmath.pi))
        )


@pytest.mark.parametrize(
    ("sds", "offsets"),
    [
        ((1.0, 1.0), (0.0, 0.0)),
        ((1.0, 1.0, 1.0), (3.0, 4.0, 0.0)),
        ((1.0, 1.0), (1e4, 0.0)),
        ((1e3, 1e-3), (0.0, 0.0)),
        ((1.0, 0.1, 0.3), (1.0, 0.2, 1.0)),
        ((1e3, 1.0, 1e-3), (1e3, 1.0, 1.0)),
        ((1.0, 2.0), (1e6, 1e6)),
        ((0.02, 1.0), (1.0, 0.0)),
    ],
)
def test_mean_distances_against_many_digits(sds, offsets):
    variances = np.square([sds])
    expected = mean_norm_in_fifty_digits(variances[0], offsets)
    assert_allclose(multivariate._mean_norm(np.array([offsets]), variances), expected, rtol=1e-9)
    turn = stats.ortho_group.rvs(len(sds), random_state=0)
    covariance = turn @ np.diag(variances[0]) @ turn.T
    rotated = multivariate._mean_norm_correlated(
        (turn @ offsets)[None], (covariance + covariance.T)[None] / 2
    )
    assert_allclose(rotated, expected, rtol=1e-9)


@pytest.mark.parametrize("structure", ["triangular", "diagonal", "isotropic"])
def test_energy_score_is_that_of_many_draws(structure):
    mixture = random_mixture(3, diagonal=structure != "triangular")
    if structure == "isotropic":
        variances = mixture.component_var()[..., :1, None] * np.eye(3)
        mixture = NormalMixture(mixture.weights, mixture.means, variances)
    y = mixture.sample(random_state=5)
    exact = mixture.energy_score(y)
    drawn = mixture.energy_score(y, n_samples=10_000, random_state=0)
    square = mixture.var().sum(axis=1) + np.square(y - mixture.mean()).sum(axis=1)
    assert (np.abs(exact - drawn) < 3 * np.sqrt(square / 10_000)).all()  # a bound of 3 errors
    repeats = [mixture.energy_score(y, n_samples=100, random_state=seed) for seed in range(100)]
    assert (np.abs(np.mean(repeats, axis=0) - exact) < 4 * np.std(repeats, axis=0) / 10).all()
    ensemble = np.moveaxis(mixture.sample(1000, random_state=1), 0, 1)
    assert_allclose(exact, scoringrules.es_ensemble(y, ensemble, backend="numpy"), rtol=0.1)


@pytest.mark.parametrize("n_targets", [2, 3, 6])
@pytest.mark.parametrize("sds", [1.0, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]], ids=["equal", "unequal"])
@pytest.mark.parametrize("far", [1e5, 1e9, 1e100, 1e153, 1e160, 1e300])
def test_energy_score_of_what_is_far_out_is_how_far_it_is(far, sds, n_targets):
    """E|Y - y| is r + (sum of variances but the one along y) / 2 r; half E|Y - Y'| comes off."""
    variances = np.square(np.broadcast_to(sds, 6)[:n_targets])
    mixture = NormalMixture([[1.0]], np.zeros((1, 1, n_targets)), np.diag(variances)[None, None])
    y = np.zeros(n_targets)
    at_zero = mixture.energy_score(y)
    of_pairs = np.sqrt(2) * mixture_distance(variances)
    assert_allclose(at_zero, mixture_distance(variances) - of_pairs / 2, rtol=1e-8)
    y[0] = far
    expected = far + variances[1:].sum() / (2 * far) - of_pairs / 2
    assert_allclose(mixture.energy_score(y), expected, rtol=1e-9)


def mixture_distance(variances):
    """E|X| of X ~ N(0, diag(variances)), by quadrature of 1 - E exp(-t |X|^2)."""
    found, _ = integrate.quad(
        lambda s: (1.0 - np.prod(1.0 / np.sqrt(1.0 + 2.0 * s * s * variances))) / s**2, 0.0, np.inf
    )
    return found / np.sqrt(np.pi)


def test_energy_score_of_isotropic_components_agrees_with_the_quadrature():
    mixture = random_mixture(3, diagonal=True)
    sds = np.broadcast_to(mixture.component_var()[..., :1], mixture.means.shape)
    points = mixture.sample(random_state=0)
    parameters = points, mixture.weights, mixture.means
    closed = multivariate.energy_score(*parameters, Diagonal(sds))
    nearly = sds * (1 + 1e-13 * np.arange(3))  # no longer equal: takes the quadrature
    assert_allclose(multivariate.energy_score(*parameters, Diagonal(nearly)), closed, rtol=1e-10)


@pytest.mark.parametrize("n_targets", [64, 65, 100, 400])
@pytest.mark.parametrize("far", [0.0, 9.0, 12.0, 20.0, 1e3])
def test_energy_score_of_many_targets_of_equal_variance(far, n_targets):
    """|Y - y|^2 is chi-squared, of 2 degrees of freedom more for each Poisson event."""
    mixture = NormalMixture([[1.0]], np.zeros((1, 1, n_targets)), np.eye(n_targets)[None, None])
    y = np.full(n_targets, far / np.sqrt(n_targets))
    events = np.arange(600_000 if far > 100 else 1000)
    chances = stats.poisson.pmf(events, far**2 / 2)
    expected = chances @ mean_chi(n_targets + 2 * events) - mean_chi(n_targets) / np.sqrt(2)
    assert_allclose(mixture.energy_score(y), expected, rtol=1e-9)

    of_two = NormalMixture([[0.5, 0.5]], [[0 * y, y]], [[np.eye(n_targets)] * 2])
    assert_allclose(of_two.energy_score(y), of_two.energy_score(0 * y), rtol=1e-9)


def mean_chi(freedom):
    return np.sqrt(2) * np.exp(special.gammaln((freedom + 1) / 2) - special.gammaln(freedom / 2))


def test_what_is_too_far_off_for_numbers_is_impossible():
    root = np.diag([1e-150, 1, 1]) @ np.array([[1.0, 0, 0], [1, 1, 0], [1, 1, 1]])
    mixture = NormalMixture([[1.0]], [[[0.0, 0, 0]]], [[root @ root.T]])
    far = [[1e200, 0, 0], [-1e200, 1, 0], [0, np.inf, 0], [np.inf, -np.inf, 0]]
    assert_array_equal(mixture.logpdf(np.array(far)[:, None])[:, 0], -np.inf)
    assert np.isnan(mixture.logpdf([[np.inf, np.nan, 0.0]])).all()
    apart = NormalMixture([[1.0]], [[[-1e308, 0, 0]]], [[np.eye(3) + 0.5]])
    assert apart.logpdf([[1.7e308, 0, 0]]) == -np.inf


@pytest.mark.parametrize("unit", [1e-90, 1e90])
def test_questions_to_several_targets_have_no_unit(unit):
    """Not even warnings, of matrices that have no factor or of squares."""
    rng = np.random.default_rng(0)
    means, factors = rng.normal(size=(20, 6, 3)), rng.normal(size=(20, 6, 3, 3))
    covariances = factors @ factors.swapaxes(-1, -2) + 0.05 * np.eye(3)
    weights = rng.dirichlet(np.ones(6), 20)
    plain = NormalMixture(weights, means, covariances)
    scaled = NormalMixture(weights, unit * means, unit**2 * covariances)
    assert_allclose(scaled.mode() / unit, plain.mode(), rtol=1e-6, atol=1e-6)
    y = plain.sample(random_state=0)
    assert_allclose(scaled.logpdf(unit * y) + 3 * np.log(unit), plain.logpdf(y), atol=1e-9)


def test_what_is_infinitely_far_off_scores_infinity():
    mixture = random_mixture(2)
    y = mixture.sample(random_state=0)
    expected = mixture.energy_score(y)
    expected[1], y[1, 0] = np.inf, -np.inf
    assert_array_equal(mixture.energy_score(y), expected)
    assert np.isnan(mixture[0].energy_score([[np.nan, np.inf]])).all()
    assert np.isinf(mixture.energy_score(y, n_samples=10, random_state=0)).tolist() == [
        False,
        True,
        *[False] * (len(y) - 2),
    ]


def test_energy_score_of_one_target_is_the_crps():
    line = NormalMixture([[0.3, 0.7]], [[-1.0, 1.0]], [[0.5, 2.0]])
    y = [[0.0], [10.0]]
    assert_array_equal(line.energy_score(y), line.crps(y))
    needle = NormalMixture(
        line.weights,
        np.stack([line.means, 0 * line.means], axis=-1),
        line.covariances[..., None, None] * np.diag([1.0, 0]) + 1e-24 * np.eye(2),
    )
    assert_allclose(needle.energy_score([[0.0, 0.0]]), line.crps(0.0), rtol=1e-9)


def test_energy_score_does_not_depend_on_blocks_or_leading_axes():
    mixture = random_mixture(2, n=300, n_components=12)
    y = mixture.sample(4, random_state=0)
    scores = mixture.energy_score(y)
    assert scores.shape == (4, 300)
    assert_allclose(scores[2], mixture.energy_score(y[2]), rtol=1e-13)
    alone = [mixture[i].energy_score(y[1, i])[0] for i in (0, 150, 299)]
    assert_allclose(scores[1, [0, 150, 299]], alone, rtol=1e-12)
    drawn = mixture.energy_score(y, n_samples=200, random_state=0)
    assert_allclose(drawn, scores, rtol=0.6)
    with pytest.raises(ValueError, match="n_samples must be a positive integer; got -1"):
        mixture.energy_score(y, n_samples=-1)


def test_a_matrix_of_zeros_has_no_factor_and_no_warning():
    lower, positive = multivariate._cholesky(np.zeros((1, 2, 2)))
    assert not positive.any()
    assert np.isfinite(lower).all()
