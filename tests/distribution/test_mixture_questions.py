"""Questions with an exact meaning for one target: shapes, limits, and what they say to others."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

from skmdn import NormalMixture

NORMAL = stats.norm([1.0, -20.0, 1e6], [0.5, 1e-3, 1e4])
SINGLE = NormalMixture(np.ones((3, 1)), NORMAL.mean()[:, None], NORMAL.var()[:, None])
MIXTURE = NormalMixture(
    [[0.3, 0.7], [0.5, 0.5], [1.0, 0.0]],
    [[-1.0, 2.0], [0.0, 1e3], [4.0, 0.0]],
    [[1.0, 0.25], [1.0, 1e-4], [9.0, 1.0]],
)


@pytest.mark.parametrize("name", ["pdf", "logpdf", "cdf", "logcdf", "sf", "logsf"])
def test_one_component_is_scipys_normal(name):
    y = NORMAL.mean() + NORMAL.std() * np.array([-30.0, -3.0, 0.0, 2.0, 8.0])[:, None]
    assert_allclose(getattr(SINGLE, name)(y), getattr(NORMAL, name)(y), rtol=1e-10)


@pytest.mark.parametrize("name", ["ppf", "isf"])
def test_quantiles_of_one_component_are_scipys(name):
    q = np.array([1e-12, 0.05, 0.5, 0.9, 1 - 1e-9])[:, None]
    expected = getattr(NORMAL, name)(q)
    assert_allclose(getattr(SINGLE, name)(q), expected, rtol=1e-10)
    assert_array_equal(SINGLE.median(), SINGLE.ppf(0.5))
    lower, upper = SINGLE.interval(0.9)
    assert_allclose((lower, upper), NORMAL.interval(0.9), rtol=1e-10)


def test_levels_broadcast_against_the_mixtures():
    alone = np.concatenate([row.ppf(q) for row, q in zip(MIXTURE, (0.1, 0.5, 0.9), strict=True)])
    assert_allclose(MIXTURE.ppf([0.1, 0.5, 0.9]), alone, rtol=1e-12)
    table = MIXTURE.ppf(np.array([0.1, 0.9])[:, None])
    assert_allclose(table, [MIXTURE.ppf(0.1), MIXTURE.ppf(0.9)], rtol=1e-12)
    assert_allclose(MIXTURE[0].ppf([0.1, 0.9]), table[:, 0], rtol=1e-12)
    assert MIXTURE.ppf(np.full((4, 2, 1), 0.3)).shape == (4, 2, 3)
    message = r"q must broadcast against the 3 mixtures; .* shape \(m, 1\), got \(2,\)"
    with pytest.raises(ValueError, match=message):
        MIXTURE.ppf([0.1, 0.9])


def test_a_single_column_answers_in_columns():
    column = MIXTURE.marginal([0])
    y, q = MIXTURE.sample(random_state=0), np.array([[0.1], [0.6]])
    for name in ("cdf", "logpdf", "crps", "expected_improvement", "energy_score"):
        assert_array_equal(getattr(column, name)(y[:, None]), getattr(MIXTURE, name)(y))
    assert_array_equal(column.ppf(q), MIXTURE.ppf(q)[..., None])
    assert_array_equal(column.expected_shortfall(q), MIXTURE.expected_shortfall(q)[..., None])
    assert_array_equal(column.interval(0.5)[0], MIXTURE.interval(0.5)[0][:, None])
    assert_array_equal(column.median(), MIXTURE.median()[:, None])
    assert_array_equal(column.mode(), MIXTURE.mode()[:, None])
    assert_array_equal(column.modes().points, MIXTURE.modes().points[..., None])
    assert_array_equal(column.region(0.5).intervals, MIXTURE.region(0.5).intervals)


def test_the_region_and_its_level_agree():
    region = MIXTURE.region(0.8)
    assert_array_equal(region.counts, [2, 2, 1])
    assert_array_equal(region.log_level, MIXTURE.region_level(0.8))
    for i, row in enumerate(MIXTURE):
        ends = region.intervals[i, : region.counts[i]]
        assert_allclose(row.logpdf(ends.ravel()), region.log_level[i], rtol=1e-8)
        total = sum(row.probability_between(low, high)[0] for low, high in ends)
        assert_allclose(total, 0.8, rtol=1e-9)
        middle = ends.mean(axis=1)
        assert row.in_region(middle, 0.8).all()
        assert not row.in_region(ends[:, 0] - 1e-3 * (middle - ends[:, 0]), 0.8).any()
    assert np.isnan(region.intervals[2, 1]).all()


def test_decisions_are_the_integrals_they_name():
    row = MIXTURE[0]
    y = np.linspace(-15, 15, 300_001)
    density, step = row.pdf(y), y[1] - y[0]
    for best in (-2.0, 0.5, 4.0):
        gain = (np.maximum(y - best, 0) * density).sum() * step
        assert_allclose(row.expected_improvement(best), gain, rtol=1e-7)
    for level in (0.01, 0.4, 0.9):
        tail = y < row.ppf(level)
        expected = integrate.simpson(np.where(tail, y * density, 0), dx=step) / level
        assert_allclose(row.expected_shortfall(level), expected, rtol=1e-3)
    assert_allclose(row.probability_between(-1, 1.5), row.cdf(1.5) - row.cdf(-1), rtol=1e-12)
    assert_allclose(row.probability_between(-np.inf, np.inf), 1, rtol=1e-15)


def test_upper_tail_and_minimisation_as_the_docstrings_say():
    flipped = MIXTURE.affine(-1.0)
    y = MIXTURE.sample(200_000, random_state=0)
    upper = -flipped.expected_shortfall(0.1)
    expected = [column[column > q].mean() for column, q in zip(y.T, MIXTURE.isf(0.1), strict=True)]
    assert_allclose(upper, expected, rtol=0.02)
    gain = np.maximum(MIXTURE.mean() - y, 0).mean(axis=0)
    assert_allclose(flipped.expected_improvement(-MIXTURE.mean()), gain, rtol=0.02)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.ppf(0.0), r"q must lie strictly between 0 and 1; got 0.0"),
        (lambda m: m.ppf([0.2, 1.0, 0.3]), r"q must lie strictly between 0 and 1; got \[0.2, 1.0"),
        (lambda m: m.isf(np.nan), "q must lie strictly between 0 and 1; got nan"),
        (lambda m: m.ppf("a"), "q must be a regular array of numbers; got 'a'"),
        (lambda m: m.interval(1.0), "coverage must lie strictly between 0 and 1; got 1.0"),
        (lambda m: m.interval([0.5, 0.9]), "coverage must be one number"),
        (lambda m: m.region(0), "coverage must lie strictly between 0 and 1; got 0"),
        (lambda m: m.region([0.5, 0.9]), "coverage must be one number"),
        (lambda m: m.region_level(90), "coverage must lie strictly between 0 and 1; got 90"),
        (lambda m: m.in_region(0.0, -1), "coverage must lie strictly between 0 and 1; got -1"),
        (lambda m: m.expected_shortfall(5), "level must lie strictly between 0 and 1; got 5"),
        (lambda m: m.probability_between(1, 0), "a must not exceed b; got a=1, b=0"),
        (
            lambda m: m.probability_between(1e9, [0, 0, 1e8]),
            "a must not exceed b; got a=1000000000.0",
        ),
        (lambda m: m.probability_between([0, 1], 2), r"a must have shape \(..., 3\)"),
        (lambda m: m.probability_between(0, [[2], [3]]), r"b must have shape \(..., 3\)"),
    ],
)
def test_bad_questions_get_one_line_that_names_the_argument(ask, message):
    with pytest.raises(ValueError, match=message) as error:
        ask(MIXTURE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "question",
    ["cdf", "logcdf", "sf", "logsf", "ppf", "isf", "interval", "region", "crps"]
    + ["expected_shortfall", "expected_improvement", "median", "probability_between"],
)
def test_several_targets_are_referred_to_marginal(question):
    pair = NormalMixture([[1.0]], [[[0.0, 0.0]]], [[np.eye(2)]])
    arguments = {"median": (), "probability_between": (0.1, 0.5)}.get(question, (0.5,))
    with pytest.raises(
        ValueError, match=rf"{question} is defined for one target .* has 2: ask marginal"
    ):
        getattr(pair, question)(*arguments)


# --- what is no number -----------------------------------------------------------------------


def test_targets_that_are_no_number_have_no_answer():
    mixture = NormalMixture([[0.5, 0.5]], [[-1.0, 1.0]], [[1.0, 4.0]])
    for question in ("logpdf", "cdf", "sf", "crps", "region_probability"):
        assert np.isnan(getattr(mixture, question)(np.nan)), question


@pytest.mark.parametrize("y", [[np.inf, 0.0], [np.inf, np.inf], [-np.inf, np.inf]])
def test_infinite_targets_have_no_density(y):
    joint = NormalMixture(
        [[0.5, 0.5]], [[[0.0, 1.0], [2.0, 3.0]]], [[[[2.0, 1.0], [1.0, 3.0]]] * 2]
    )
    for mixture in (joint, joint.marginal([1, 0])):
        assert mixture.logpdf(y) == -np.inf
        assert mixture.pdf(y) == 0.0
    assert np.isnan(joint.logpdf([np.nan, np.inf]))
    assert np.isnan(joint.responsibilities(y)).all()


def test_components_of_no_weight_gain_nothing_over_nothing():
    """-inf is the best so far where there is none."""
    mixture = NormalMixture([[1.0, 0.0]], [[0.0, 5.0]], [[1.0, 1.0]])
    assert_array_equal(mixture.expected_improvement(-np.inf), [np.inf])
    assert_array_equal(mixture.expected_improvement(np.inf), [0.0])
    alone = NormalMixture([[1.0]], [[0.0]], [[1.0]])
    assert_array_equal(mixture.expected_improvement(0.3), alone.expected_improvement(0.3))
