"""What a batch of mixtures holds, its density, moments and draws."""

from __future__ import annotations

import pickle

import mpmath
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skmdn import NormalMixture
from skmdn.distribution.scale import Diagonal, Triangular


def random_mixture(n=6, n_components=4, n_targets=2, seed=0, spread=1.0):
    """Correlated components; ``spread`` sets the targets' units apart."""
    rng = np.random.default_rng(seed)
    units = spread ** np.linspace(1, -1, n_targets)
    lower = np.tril(rng.normal(size=(n, n_components, n_targets, n_targets)))
    lower[..., range(n_targets), range(n_targets)] = rng.uniform(
        0.2, 1.5, (n, n_components, n_targets)
    )
    lower *= units[:, None]
    weights = rng.dirichlet(np.ones(n_components), n)
    means = units * rng.normal(size=(n, n_components, n_targets))
    return NormalMixture(weights, means, lower @ lower.swapaxes(-1, -2))


def random_line(n=6, n_components=4, seed=0):
    """Mixtures of a 1-D y."""
    return random_mixture(n, n_components, 1, seed).marginal(0)


# --- what it holds ---------------------------------------------------------------------------


def test_arrays_end_in_the_shape_of_y():
    line, column, joint = random_line(), random_line().marginal([0]), random_mixture(n_targets=3)
    for mixture, tail in ((line, ()), (column, (1,)), (joint, (3,))):
        assert mixture.weights.shape == (6, 4)
        assert mixture.means.shape == (6, 4, *tail)
        assert mixture.covariances.shape == (6, 4, *tail, *tail)
        assert mixture.component_var().shape == mixture.means.shape
        for answer in (mixture.mean(), mixture.var(), mixture.std(), mixture.mode()):
            assert answer.shape == (6, *tail)
        assert mixture.cov().shape == (6, *tail, *tail)
        assert mixture.sample(random_state=0).shape == (6, *tail)
        assert mixture.sample(5, random_state=0).shape == (5, 6, *tail)
        assert mixture.logpdf(mixture.mean()).shape == (6,)
        assert mixture.responsibilities(mixture.mean()).shape == (6, 4)
        assert len(mixture) == 6
        assert mixture.n_components == 4
        assert mixture.n_targets == (tail or (1,))[0]


def test_what_is_put_in_comes_out():
    given = random_mixture(n_targets=3, spread=1e3)
    again = NormalMixture(given.weights, given.means, given.covariances)
    assert_allclose(again.weights, given.weights, rtol=1e-15)
    assert_array_equal(again.means, given.means)
    assert_allclose(again.covariances, given.covariances, rtol=1e-12)
    line = NormalMixture([[0.25, 0.75]], [[1, 2]], [[4, 9]])
    assert_array_equal(line.covariances, [[4, 9]])
    assert line.means.dtype == np.float64


def test_a_mixture_is_frozen():
    weights = np.array([[0.5, 0.5]])
    mixture = NormalMixture(weights, [[0.0, 1.0]], [[1.0, 1.0]])
    weights[:] = 7
    assert_array_equal(mixture.weights, [[0.5, 0.5]])
    with pytest.raises(ValueError, match="read-only"):
        mixture.weights[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        mixture.means[0, 0] = 1
    with pytest.raises(AttributeError):
        mixture.weights = weights
    with pytest.raises(AttributeError):
        mixture.name = "a"


@pytest.mark.parametrize("mixture", [random_line(), random_mixture()])
def test_pickle_returns_the_same_bits(mixture):
    again = pickle.loads(pickle.dumps(mixture))
    y = mixture.mean()
    assert_array_equal(again.logpdf(y), mixture.logpdf(y))
    assert_array_equal(again.sample(3, 0), mixture.sample(3, 0))


def test_rows_are_selected_as_numpy_would_and_stay_batches():
    mixture = random_mixture()
    mask = np.array([True, False, True, True, False, False])
    for rows in (slice(1, 4), [3, 0, 0], mask, np.array([5]), slice(0, 0)):
        assert_array_equal(mixture[rows].means, mixture.means[rows])
        assert_array_equal(mixture[rows].covariances, mixture.covariances[rows])
    assert_array_equal(mixture[-1].means, mixture.means[-1:])
    assert_array_equal(mixture[np.int64(2)].means, mixture.means[2:3])
    assert_array_equal(np.concatenate([row.mean() for row in mixture]), mixture.mean())
    with pytest.raises(IndexError):
        mixture[6]
    for rows in ((0, 1), (slice(None), [0, 1]), None, True, [[0, 1]]):
        with pytest.raises(IndexError, match=r"use marginal\(dims\)"):
            mixture[rows]


def test_no_rows_is_a_batch_too():
    for mixture in (random_line()[:0], random_mixture(n_targets=2)[:0]):
        assert len(mixture) == 0
        assert mixture.mode().shape == mixture.mean().shape
        assert mixture.logpdf(mixture.mean()).shape == (0,)
        assert mixture.sample(3).shape == (3, *mixture.mean().shape)
        assert mixture.cov().shape[0] == 0


def test_repr_tells_the_sizes():
    assert repr(random_mixture(7, 4, 3)) == (
        "<NormalMixture: n_rows=7, n_components=4, n_targets=3, triangular>"
    )


def test_concatenate_and_mix():
    first, second = random_mixture(2, seed=1), random_mixture(3, seed=2)
    both = NormalMixture.concatenate(part for part in (first, second))
    assert_array_equal(both.means, np.concatenate([first.means, second.means]))
    y = both.sample(random_state=0)
    separately = np.concatenate([first.logpdf(y[:2]), second.logpdf(y[2:])])
    assert_allclose(both.logpdf(y), separately, rtol=1e-14)

    diagonal = NormalMixture([[1.0]] * 2, [[[0.0, 1.0]]] * 2, [[np.diag([1.0, 4.0])]] * 2)
    pooled = NormalMixture.mix(part for part in (first, diagonal))
    assert_allclose(pooled.pdf(y[:2]), (first.pdf(y[:2]) + diagonal.pdf(y[:2])) / 2, rtol=1e-13)
    assert_allclose(pooled.weights.sum(axis=1), 1, rtol=1e-15)

    for join, other in (
        (NormalMixture.concatenate, diagonal),  # one component against four
        (NormalMixture.concatenate, first.marginal(0)),
        (NormalMixture.mix, second),
        (NormalMixture.mix, first.marginal(0)),
    ):
        with pytest.raises(ValueError, match="mixtures must share"):
            join([first, other])
    with pytest.raises(ValueError, match="mixtures must share"):
        NormalMixture.concatenate([])


@pytest.mark.parametrize("join", [NormalMixture.concatenate, NormalMixture.mix])
@pytest.mark.parametrize(("others", "said"), [([1, 2], "1"), (3, "3"), (None, "None")])
def test_only_mixtures_are_joined(join, others, said):
    with pytest.raises(TypeError, match=f"^mixtures must be NormalMixtures; got {said}$"):
        join(others)


EYE = [[[[1.0, 0.0], [0.0, 1.0]]]]


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "message"),
    [
        ([[1.0]], [0.0], [[1.0]], r"means must have shape \(n, K\), or \(n, K, D\).*got \(1,\)"),
        ([[1.0]], [["a"]], [[1.0]], "means must be a regular array of numbers"),
        ([[1.0]], [[np.nan]], [[1.0]], "means must be finite"),
        ([[1.0]], [[0.0, 1.0]], [[1.0, 1.0]], r"weights must have the shape \(n, K\) = \(1, 2\)"),
        ([[1.5, -0.5]], [[0.0, 1.0]], [[1.0, 1.0]], "weights must be non-negative.*-0.5"),
        ([[np.nan, 1.0]], [[0.0, 1.0]], [[1.0, 1.0]], "weights must be non-negative numbers"),
        ([[0.5, 0.6]], [[0.0, 1.0]], [[1.0, 1.0]], "weights must sum to 1.*row 0 sums to 1.1"),
        ([[0.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]], "weights must sum to 1.*row 0 sums to 0.0"),
        ([[1.0]], [[0.0]], [[0.0]], "covariances must be positive; the least is 0.0"),
        ([[1.0]], [[0.0]], [[np.inf]], "covariances must be finite"),
        ([[1.0]], [[0.0]], [[[1.0]]], r"covariances must have shape \(1, 1\); got \(1, 1, 1\)"),
        ([[1.0]], [[[0.0, 1.0]]], [[1.0]], r"covariances must have shape \(1, 1, 2, 2\)"),
        ([[1.0]], [[[0.0, 1.0]]], [[[[1.0, 2.0], [2.0, 1.0]]]], "must be positive definite"),
        ([[1.0]], [[[0.0, 1.0]]], [[[[1.0, 0.0], [0.0, -1.0]]]], "covariances must be"),
        ([[1.0]], [[[0.0, 1.0]]], [[[[1.0, 0.5], [0.1, 1.0]]]], "covariances must be symmetric"),
        ([[1.0]], [[[0.0], [1.0, 2.0]]], EYE, "means must be a regular array of numbers"),
    ],
)
def test_bad_parameters_get_one_line_that_names_them(weights, means, covariances, message):
    with pytest.raises(ValueError, match=message) as error:
        NormalMixture(weights, means, covariances)
    assert "\n" not in str(error.value)


def test_weights_are_divided_by_their_sum():
    weights = np.random.default_rng(0).dirichlet(np.ones(40), 100).astype(np.float32)
    mixture = NormalMixture(weights, np.zeros((100, 40)), np.ones((100, 40)))
    assert_allclose(mixture.weights.sum(axis=1), 1, rtol=4e-16)
    assert_allclose(mixture.weights, weights, rtol=1e-6)


# --- density ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_targets", [1, 2, 3, 5])
@pytest.mark.parametrize("spread", [1.0, 1e3])
def test_logpdf_is_scipys(n_targets, spread):
    mixture = random_mixture(n_targets=n_targets, spread=spread)
    y = mixture.sample(random_state=1)

    def cholesky(covariance):  # scipy takes a matrix of such different units for singular
        return stats.Covariance.from_cholesky(np.linalg.cholesky(covariance))

    expected = [
        np.logaddexp.reduce(
            [
                np.log(w) + stats.multivariate_normal(m, cholesky(c)).logpdf(point)
                for w, m, c in zip(*row, strict=True)
            ]
        )
        for *row, point in zip(mixture.weights, mixture.means, mixture.covariances, y, strict=True)
    ]
    assert_allclose(mixture.logpdf(y), expected, rtol=1e-10, atol=1e-10)
    assert_allclose(mixture.pdf(y), np.exp(expected), rtol=1e-9)


@pytest.mark.parametrize("n_targets", [1, 2, 3])
def test_logpdf_is_torchs_for_leading_axes_in_any_number_of_blocks(n_targets):
    mixture = random_mixture(500, 8, n_targets)
    y = mixture.sample(30, random_state=1)
    expected = mixture.to_torch().log_prob(torch.tensor(y)).numpy()
    assert_allclose(mixture.logpdf(y), expected, rtol=1e-10, atol=1e-10)
    assert_allclose(
        mixture.logpdf(y.reshape(5, 6, *y.shape[1:])).reshape(30, -1),
        expected,
        rtol=1e-9,
        atol=1e-10,
    )


def test_logpdf_far_in_the_tail_against_fifty_digits():
    weights, means = [[0.3, 0.7 - 1e-12, 1e-12]], [[[0.0, 1.0], [3.0, -2.0], [0.0, 0.0]]]
    covariances = [[[[1.0, 0.9], [0.9, 1.0]], [[1e6, 0.5], [0.5, 1e-6]], [[1e-4, 0], [0, 1e4]]]]
    mixture = NormalMixture(weights, means, covariances)
    points = [(0.0, 0.0), (500.0, -400.0), (1e5, 1e5), (3.0, -2.0), (0.0, 1e3)]
    for point in points:
        with mpmath.workdps(50):
            total = mpmath.mpf(0)
            for w, m, c in zip(weights[0], means[0], covariances[0], strict=True):
                sigma, r = mpmath.matrix(c), mpmath.matrix(point) - mpmath.matrix(m)
                norm = mpmath.sqrt(mpmath.det(2 * mpmath.pi * sigma))
                total += w * mpmath.exp(-(r.T * sigma**-1 * r)[0] / 2) / norm
            expected = float(mpmath.log(total))
        assert_allclose(mixture.logpdf([point]), expected, rtol=1e-10)


def test_density_integrates_to_one():
    mixture = random_mixture(2, 3, 2, spread=30.0)
    nodes = np.linspace(-20, 20, 801)
    grid = np.stack(np.meshgrid(*(s * nodes for s in (30.0, 1 / 30)), indexing="ij"), axis=-1)
    cell = np.prod(grid[1, 1] - grid[0, 0])
    for row in mixture:
        density = row.pdf(grid.reshape(-1, 2))
        assert_allclose(density.sum() * cell, 1, rtol=1e-10)  # trapezia converge exponentially


@pytest.mark.parametrize("make", [random_line, random_mixture])
def test_responsibilities_are_bayes_rule(make):
    mixture = make()
    y = mixture.sample(3, random_state=0)
    joint = mixture.weights * np.exp(mixture.component_logpdf(y))
    assert_allclose(mixture.responsibilities(y), joint / mixture.pdf(y)[..., None], rtol=1e-11)
    far = mixture.responsibilities(1e4 * (1 + np.abs(y)))
    assert_allclose(far.sum(axis=-1), 1, rtol=1e-14)


@pytest.mark.parametrize("make", [random_line, random_mixture])
def test_one_value_asks_all_mixtures_and_one_mixture_answers_all_values(make):
    mixture = make()
    y = mixture.mean()
    expected = [mixture[i].logpdf(y[j])[0] for i in range(6) for j in range(6)]
    by_value = np.concatenate([mixture.logpdf(value) for value in y])
    assert_allclose(by_value.reshape(6, 6).T.ravel(), expected, rtol=1e-13)
    by_mixture = np.concatenate([row.logpdf(y) for row in mixture])
    assert_allclose(by_mixture, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("mixture", "y", "message"),
    [
        (random_line(), np.zeros((6, 1)), r"y must have shape \(..., 6\), .* got \(6, 1\)"),
        (random_line(), np.zeros(5), r"y must have shape \(..., 6\), .* got \(5,\)"),
        (random_mixture(), np.zeros((6, 3)), r"y must have shape \(..., 6, 2\), .* got \(6, 3\)"),
        (random_mixture(), np.zeros(6), r"y must have shape \(..., 6, 2\), .* got \(6,\)"),
        (random_mixture(), 0.0, r"y must have shape \(..., 6, 2\), .* got \(\)"),
        (random_mixture(), np.zeros((5, 2)), r"y must have shape \(..., 6, 2\), .* got \(5, 2\)"),
        (random_line(), ["a"] * 6, "y must be a regular array of numbers"),
    ],
)
def test_y_of_the_wrong_shape(mixture, y, message):
    for question in (mixture.logpdf, mixture.responsibilities, mixture.component_logpdf):
        with pytest.raises(ValueError, match=message):
            question(y)


# --- moments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_targets", [1, 2, 5])
def test_moments_are_sums_over_components(n_targets):
    mixture = random_mixture(300, 8, n_targets)
    w, m, c = mixture.weights, mixture.means, mixture.covariances
    mean = (w[..., None] * m).sum(axis=1)
    raw = (w[..., None, None] * (c + m[..., :, None] * m[..., None, :])).sum(axis=1)
    cov = raw - mean[:, :, None] * mean[:, None, :]
    assert_allclose(mixture.mean(), mean, rtol=1e-11, atol=1e-12)
    assert_allclose(mixture.cov(), cov, rtol=1e-10, atol=1e-11)
    assert_allclose(mixture.var(), np.diagonal(cov, axis1=1, axis2=2), rtol=1e-10)
    assert_array_equal(mixture.std(), np.sqrt(mixture.var()))


def test_moments_keep_their_digits_far_from_zero():
    near = random_mixture(50, 5, 2)
    far = NormalMixture(near.weights, 2.0**27 + np.round(near.means, 4), 1e-4 * near.covariances)
    means = far.means - 2.0**27  # exact in float64
    shifted = NormalMixture(near.weights, means, 1e-4 * near.covariances)
    assert_allclose(far.cov(), shifted.cov(), rtol=1e-10, atol=1e-13)
    assert_allclose(far.mean() - 2.0**27, shifted.mean(), atol=2e-8)


def test_a_negligible_component_far_away_costs_no_digits():
    mixture = NormalMixture([[0.5, 0.0, 0.5]], [[1.0, 1e15, 1.001]], [[1e-8, 1.0, 1e-8]])
    assert_allclose(mixture.mean(), 1.0005, rtol=1e-15)
    assert_allclose(mixture.var(), 1e-8 + 0.0005**2, rtol=1e-11)


# --- draws -----------------------------------------------------------------------------------


def test_draws_of_one_target_follow_the_cdf():
    mixture = random_line(5, 6, seed=3)
    draws = mixture.sample(20_000, random_state=0)
    for i, row in enumerate(mixture):
        assert stats.kstest(draws[:, i], row.cdf).pvalue > 1e-3


@pytest.mark.parametrize("structure", ["triangular", "diagonal"])
def test_draws_of_several_targets_follow_mean_and_covariance(structure):
    mixture = random_mixture(3, 4, 3, spread=100.0)
    if structure == "diagonal":
        kept = mixture.covariances * np.eye(3)
        mixture = NormalMixture(mixture.weights, mixture.means, kept)
    m = 100_000
    draws = mixture.sample(m, random_state=0)
    error = np.abs(draws.mean(axis=0) - mixture.mean()) / mixture.std()
    assert error.max() < 4.5 / np.sqrt(m)
    unit = mixture.std()[:, :, None] * mixture.std()[:, None, :]
    centred = draws - mixture.mean()
    products = np.einsum("mnd,mne->mnde", centred, centred) / unit
    error = np.abs(products.mean(axis=0) - mixture.cov() / unit) / products.std(axis=0)
    assert error.max() < 4.5 / np.sqrt(m)


def test_draws_choose_components_by_weight_and_never_an_impossible_one():
    weights = np.array([[0.0, 0.2, 0.0, 0.5, 0.3, 0.0]])
    mixture = NormalMixture(weights, [np.arange(6.0)], np.full((1, 6), 1e-12))
    m = 50_000
    chosen = np.round(mixture.sample(m, random_state=0)).astype(int).ravel()
    counts = np.bincount(chosen, minlength=6)
    assert (counts[weights[0] == 0] == 0).all()
    possible = weights[0] > 0
    assert stats.chisquare(counts[possible], m * weights[0, possible]).pvalue > 1e-3


def test_equal_random_states_give_equal_draws():
    mixture = random_mixture(1000, 4, 2)
    first = mixture.sample(7, random_state=3)
    assert_array_equal(mixture.sample(7, random_state=3), first)
    assert_array_equal(mixture.sample(7, np.random.default_rng(3)), first)
    assert not np.array_equal(mixture.sample(7, random_state=4), first)
    legacy = [mixture.sample(2, np.random.RandomState(0)) for _ in range(2)]
    assert_array_equal(*legacy)
    stream = np.random.RandomState(0)
    assert not np.array_equal(mixture.sample(2, stream), mixture.sample(2, stream))
    assert not np.array_equal(mixture.sample(), mixture.sample())


def test_the_global_random_state_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002
    mixture = random_mixture()
    mixture.sample()
    mixture.entropy()
    mixture.region_level(0.5, n_samples=10)
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002


@pytest.mark.parametrize("y", [None, [0.0, 1j]])
def test_what_is_no_real_number_is_refused(y):
    with pytest.raises(ValueError, match=r"^y must be a regular array of numbers; got "):
        random_mixture(n_targets=1).logpdf(y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 0}, "n_samples must be a positive integer; got 0"),
        ({"n_samples": 1.5}, "n_samples must be a positive integer; got 1.5"),
    ],
)
def test_bad_requests_for_draws(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_line().sample(**arguments)


def test_scales_of_the_estimator_answer_like_covariances():
    """The trusted constructor and the checked one meet in the same numbers."""
    rng = np.random.default_rng(0)
    weights, means = rng.dirichlet(np.ones(3), 5), rng.normal(size=(5, 3, 2))
    sds = rng.uniform(0.1, 2, (5, 3, 2))
    for scale in (Diagonal(sds), Triangular(sds[..., None] * np.tril(np.ones((2, 2))))):
        trusted = NormalMixture._from_scale(weights, means, scale, scalar=False)
        checked = NormalMixture(weights, means, scale.covariances())
        y = trusted.sample(random_state=0)
        assert_allclose(trusted.logpdf(y), checked.logpdf(y), rtol=1e-11)
        assert_allclose(trusted.marginal(1).cdf(y[:, 1]), checked.marginal(1).cdf(y[:, 1]))


def test_one_number_is_asked_of_every_mixture_of_one_target_kept_as_a_column():
    means = np.array([-1.0, 0.0, 2.0])
    column = NormalMixture(np.ones((3, 1)), means[:, None, None], np.ones((3, 1, 1, 1)))
    flat = NormalMixture(np.ones((3, 1)), means[:, None], np.ones((3, 1)))
    for name in ("cdf", "sf", "logpdf", "crps", "expected_improvement"):
        found, expected = getattr(column, name)(0.5), getattr(flat, name)(0.5)
        assert_allclose(np.ravel(found), expected, rtol=1e-12)
    between = column.probability_between(-np.inf, 0.5)
    assert_allclose(between, flat.probability_between(-np.inf, 0.5), rtol=1e-12)
    with pytest.raises(ValueError, match=r"^y must have shape \(\.\.\., 1, 2\), one value a"):
        NormalMixture([[1.0]], np.zeros((1, 1, 2)), np.eye(2)[None, None]).logpdf(0.5)
