"""What is learned depends on the rows as a weighted set: weight 2 is twice, weight 0 is gone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skmdn import MDNRegressor

NOISE_TYPES = ["full", "diagonal", "isotropic", "isotropic_across_components", "fixed"]
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3)) * (rng.random((40, 3)) < 0.7)
Y = np.column_stack([X[:, 0] + rng.normal(size=40), 1e3 * rng.normal(size=40)])
WHOLE = rng.integers(0, 4, size=40).astype(float)


def small(**parameters):
    defaults = {"n_components": 2, "n_estimators": 2, "max_iter": 5, "hidden_layer_sizes": (8,)}
    return MDNRegressor(**defaults | {"random_state": 0} | parameters)


def assert_same(left, right, X=X):
    for name in ("weights", "means", "covariances"):
        assert_array_equal(
            getattr(left.predict_mixture(X), name), getattr(right.predict_mixture(X), name)
        )


def repeated(weights, *tables):
    index = np.repeat(np.arange(len(weights)), weights.astype(int))
    index = np.random.default_rng(1).permutation(index)
    return tuple(table[index] for table in tables)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_weights_are_repetitions(noise_type, early_stopping):
    model = small(noise_type=noise_type, early_stopping=early_stopping, max_iter=20)
    twin = small(noise_type=noise_type, early_stopping=early_stopping, max_iter=20)
    assert_same(model.fit(X, Y, WHOLE), twin.fit(*repeated(WHOLE, X, Y)))
    assert model.loss_curve_ == twin.loss_curve_
    assert model.validation_scores_ == twin.validation_scores_


def test_weights_are_repetitions_in_sparse_rows_and_passes_over_blocks():
    rows = sparse.csr_array(X)
    assert_same(small().fit(rows, Y, WHOLE), small().fit(*repeated(WHOLE, rows, Y)))
    blockwise, twin = small(), small()
    for block in (slice(20), slice(20, 40)):
        blockwise.partial_fit(X[block], Y[block], WHOLE[block])
        twin.partial_fit(*repeated(WHOLE[block], X[block], Y[block]))
    assert_same(blockwise, twin)


@settings(max_examples=15)
@given(
    cells=st.lists(
        st.tuples(*[st.integers(-1, 1)] * 3, st.integers(0, 3)), min_size=3, max_size=12
    ).filter(lambda cells: len({cell[:3] for cell in cells if cell[3]}) > 1)
)
def test_weights_are_repetitions_where_rows_are_equal(cells):
    """Unless few values agree by chance, so no two cells have the same X here."""
    table, weights = np.array(cells, dtype=float)[:, :3], np.array([cell[3] for cell in cells])
    table[:, 0] += 3.0 * np.arange(len(table))
    model = small(max_iter=2).fit(table[:, :2], table[:, 2], weights)
    repeats = np.repeat(table, weights, axis=0)
    twin = small(max_iter=2).fit(repeats[:, :2], repeats[:, 2])
    assert_same(model, twin, table[:, :2])


def test_a_row_of_weight_zero_is_gone_whatever_it_holds():
    present = WHOLE > 0
    wild_X, wild_Y = X.copy(), Y.copy()
    wild_X[~present], wild_Y[~present] = 1e200, -1e200
    model = small().fit(wild_X, wild_Y, WHOLE)
    assert_same(model, small().fit(X[present], Y[present], WHOLE[present]))


def test_the_order_of_rows_is_none():
    rng = np.random.default_rng(2)
    order = rng.permutation(40)
    model, other = small(validation_fraction=0.5), small(validation_fraction=0.5)
    assert_same(model.fit(X, Y), other.fit(X[order], Y[order]))
    fractions = rng.random(40)
    assert_same(model.fit(X, Y, fractions), other.fit(X[order], Y[order], fractions[order]))
    held_out, permuted = model.oof_mixture(X), other.oof_mixture(X[order])
    assert_allclose(permuted.weights, held_out.weights[order], rtol=1e-12)
    assert_allclose(permuted.means, held_out.means[order], rtol=1e-12)


@pytest.mark.parametrize("unit", [1.0, 2.0, 3.0, 1e10, 1e-10, 2.0**-1000, 1e308, 1e-320])
def test_the_unit_of_the_weights_is_none(unit):
    model = small().fit(X, Y, np.full(40, unit))
    assert_same(model, small().fit(X, Y))


def test_weights_count():
    """Rows weighted up are the ones learned."""
    x = np.zeros((200, 1))
    y = np.repeat([-1.0, 1.0], 100) + 0.1 * np.random.default_rng(3).normal(size=200)
    model = small(max_iter=100).fit(x, y, np.repeat([3.0, 1.0], 100))
    # Exact for the weighted set: mean -1/2, P(y < 0) = 3/4.
    assert_allclose(model.predict(x[:1]), -0.5, atol=0.05)
    assert_allclose(model.predict_mixture(x[:1]).cdf([0.0]), 0.75, atol=0.03)


@pytest.mark.parametrize("tiny", [1e-3, 1e-20, 1e-200, 5e-324])
@pytest.mark.parametrize("row", [np.argmax(X[:, 0]), np.argmin(X[:, 0]), slice(20)])
def test_unequal_weights_give_finite_answers(row, tiny):
    weights = np.ones(40)
    weights[row] = tiny
    for scale in (1.0, 1e300):
        assert np.isfinite(small().fit(X, Y, scale * weights).score_samples(X, Y)).all()


def test_a_score_is_the_weighted_mean():
    model = small().fit(X, Y)
    assert_allclose(model.score(X, Y, WHOLE), model.score(*repeated(WHOLE, X, Y)), rtol=1e-12)
    for unit in (1e308 / WHOLE.max(), 1e-300):
        assert_allclose(model.score(X, Y, unit * WHOLE), model.score(X, Y, WHOLE), rtol=1e-12)
    impossible = (
        np.append(1e300, Y[1:]) if Y.ndim == 1 else np.vstack([[1e300] * Y.shape[1], Y[1:]])
    )
    weights = np.append(0.0, np.ones(len(Y) - 1))
    assert_allclose(model.score(X, impossible, weights), model.score(X[1:], Y[1:]), rtol=1e-12)
    assert_allclose(model.score(X, Y), model.score_samples(X, Y).mean(), rtol=1e-15)
    assert_allclose(model.score(X, Y, np.full(40, 0.1)), model.score(X, Y), rtol=1e-12)
