"""Rows as a weighted set: what they hold decides, not how, where or in which units."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats

from skmdn.learning import rows
from skmdn.learning.rows import blocks, canonical_rows, dense

#: Few values, so that rows repeat; X has two columns, y one, then comes the weight.
TABLES = st.lists(
    st.tuples(*[st.sampled_from([-1.0, 0.0, -0.0, 2.5])] * 3, st.integers(0, 3)),
    min_size=1,
    max_size=20,
).filter(lambda cells: any(cell[3] for cell in cells))


def split(cells):
    table = np.array(cells, dtype=float)
    return table[:, :2], table[:, 2:3], table[:, 3]


def content(X, y, found):
    return [(*dense(X[[i]])[0], *y[i]) for i in found.first]


@given(TABLES)
def test_distinct_rows_keep_their_share_of_the_weight(cells):
    X, y, weights = split(cells)
    found = canonical_rows(X, y, weights)
    expected, kept = Counter(), Counter()
    for *row, weight in cells:
        if weight:
            expected[tuple(value + 0.0 for value in row)] += weight  # -0.0 equals 0.0
    for row, weight in zip(content(X, y, found), found.weights, strict=True):
        kept[tuple(value + 0.0 for value in row)] += weight
    assert set(kept) == set(expected)
    total = expected.total() / len(found.first)
    assert_allclose([kept[row] * total for row in expected], list(expected.values()), rtol=1e-13)
    assert_allclose(found.weights.mean(), 1, rtol=1e-14)


@given(TABLES)
def test_positions_lead_from_the_data_to_the_rows(cells):
    X, y, weights = split(cells)
    found = canonical_rows(X, y, weights)
    present = weights > 0
    assert_array_equal(found.positions[~present], -1)
    assert_array_equal(X[found.first[found.positions[present]]], X[present])
    assert_array_equal(y[found.first[found.positions[present]]], y[present])
    if (weights[present] == 1).all():
        assert_array_equal(found.positions[found.first], np.arange(len(found.first)))


def grades(n_rows=200):
    """X and y of so few values that most rows equal others by chance."""
    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(n_rows, 2)).astype(float)
    return X, (X[:, :1] + rng.integers(4, size=(n_rows, 1))).astype(float)


def test_observations_that_agree_by_chance_stay_rows_and_are_spread():
    X, y = grades()
    found = canonical_rows(X, y, np.ones(200))
    assert_array_equal(np.sort(found.first), np.arange(200))
    assert_array_equal(found.positions[found.first], np.arange(200))
    assert_array_equal(found.weights, 1)
    is_one = (np.column_stack([X, y])[found.first] == [1, 0, 2]).all(axis=1)
    assert is_one.sum() > 10
    assert np.diff(np.flatnonzero(is_one)).max() > 10  # nor do equal ones follow one another


def test_what_is_there_very_often_is_no_copy():
    """Prices by kind and size, say, which tell them exactly."""
    X = np.random.default_rng(0).integers(2, size=(200, 3)).astype(float)
    y = X.sum(axis=1, keepdims=True)
    assert len(canonical_rows(X, y, np.ones(200)).first) == 200


def test_weights_of_any_kind_are_shared_by_equal_observations():
    X, y = grades()
    weights = np.random.default_rng(1).uniform(0.1, 2, 200)
    found = canonical_rows(X, y, weights)
    assert len(found.first) == 200
    shuffled = np.random.default_rng(2).permutation(200)
    twin = canonical_rows(X[shuffled], y[shuffled], weights[shuffled])
    assert_array_equal(X[found.first], X[shuffled][twin.first])
    assert_allclose(found.weights, twin.weights, rtol=1e-13)


@pytest.mark.parametrize("unit", [0.01, 1.0, 20.0, np.pi])
def test_weights_make_no_rows(unit):
    """They say how much a row counts, in any unit; nobody knows whether they count persons."""
    rng = np.random.default_rng(0)
    X, y = grades()
    for features, targets in (
        (X, y),
        (X, rng.normal(size=(200, 1))),
        (rng.normal(size=X.shape), y),
    ):
        _, first = np.unique(np.column_stack([features, targets]), axis=0, return_index=True)
        weights = unit * rng.integers(12, 30, size=len(first))
        found = canonical_rows(features[first], targets[first], weights)
        assert len(found.first) == len(first)
        assert_allclose(found.weights * weights.mean(), weights[found.first], rtol=1e-13)


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize(
    "case",
    ["X is its own", "y is its own", "both are few", "a few", "X tells y", "y of one value"],
)
def test_copies_are_merged(case, times):
    """Of a bootstrap sample, as large or larger than what it is of."""
    rng = np.random.default_rng(0)
    X = rng.integers(4, size=(300, 4)).astype(float)
    y = X[:, :1] + rng.integers(4, size=(300, 1)).astype(float)
    if case == "X is its own":
        X = rng.normal(size=(300, 2))
    if case == "y is its own":  # of repeated measurements
        y = rng.normal(size=(300, 1))
    if case in ("X tells y", "y of one value"):
        y = np.sin(X[:, :1]) * (case == "X tells y")
    if case == "a few":
        X[:290] = rng.normal(size=(290, 4))
    sample = rng.integers(300, size=300 * times)
    X, y = X[sample], y[sample]
    found = canonical_rows(X, y, np.ones(len(X)))
    assert len(found.first) == len(np.unique(np.column_stack([X, y]), axis=0))


def test_chance_is_told_by_many_rows_too():
    X, y = grades(70_000)
    assert len(canonical_rows(X, y, np.ones(70_000)).first) == 70_000


@given(TABLES, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(cells, random):
    cells = [
        (x + 10.0 * i, *rest) for i, (x, *rest) in enumerate(cells)
    ]  # else some may be chance
    found = canonical_rows(*split(cells))
    repeated = [(*row, 1) for *row, weight in cells for _ in range(weight)]
    random.shuffle(repeated)
    X, y, weights = split(repeated)
    twin = canonical_rows(X, y, weights)
    assert content(*split(cells)[:2], found) == content(X, y, twin)
    assert_array_equal(found.weights, twin.weights)  # to the bit


@given(TABLES, st.sampled_from([2.0**900, 2.0**-900, 3.0, 1e-3]))
def test_units_change_nothing(cells, unit):
    X, y, weights = split(cells)
    found = canonical_rows(X, y, weights)
    for twin in (
        canonical_rows(unit * X, y, weights),
        canonical_rows(X + 7, unit * y, weights),
        canonical_rows(X, y, 2.0**1000 * weights),
    ):
        for name in ("first", "weights", "positions"):
            assert_array_equal(getattr(twin, name), getattr(found, name))


@given(TABLES)
def test_sparse_rows_are_the_same_rows(cells):
    X, y, weights = split(cells)
    found = canonical_rows(X, y, weights)
    for twin in (sparse.csr_array(X), sparse.csr_matrix(X.astype(np.float32))):
        for name in ("first", "weights", "positions"):
            assert_array_equal(
                getattr(canonical_rows(twin, y, weights), name), getattr(found, name)
            )


def test_the_order_is_a_shuffle():
    """No column, nor the sum of several, may be sorted by it: its parts are the folds."""
    x = np.arange(4000.0)
    X, y = np.column_stack([x, x % 7]), np.sin(x / 500)[:, None]
    found = canonical_rows(X, y, np.ones(4000))
    for column in (x, x % 7, y[:, 0], x + x % 7):
        ordered = column[found.first]
        assert abs(stats.spearmanr(ordered, np.arange(4000)).statistic) < 0.05  # 3 sigma
        assert abs(stats.spearmanr(ordered[1:], ordered[:-1]).statistic) < 0.05


def test_one_hash_for_all_rows_merges_no_unequal_ones(monkeypatch):
    monkeypatch.setattr(
        rows, "_row_hashes", lambda table, present, *_: np.zeros(len(present), dtype=np.uint64)
    )
    X, y = np.array([[1.0], [1.0], [2.0], [3.0]]), np.array([[1.0], [1.0], [1.0], [1.0]])
    found = canonical_rows(X, y, np.array([1.0, 2.0, 4.0, 5.0]))
    assert_array_equal(X[found.first][:, 0], [1, 2, 3])
    assert_allclose(found.weights, [0.75, 1.0, 1.25], rtol=1e-15)


@pytest.mark.parametrize("unit", [1.0, 1e308, 5e-324, 1e-310])
def test_weights_of_any_size(unit):
    X, y = np.arange(8.0)[:, None], np.zeros((8, 1))
    found = canonical_rows(X, y, np.full(8, unit))
    assert_allclose(found.weights, 1, rtol=1e-15)
    assert len(canonical_rows(X, y, np.array([1.0, *[0.0] * 7])).first) == 1
    rows = canonical_rows(X, y, np.array([1e300, *[1e-300] * 7]))
    assert len(rows.first) == 8
    assert sorted(rows.weights) == pytest.approx([1e-30] * 7 + [8.0])  # a number in float32, too


@pytest.mark.parametrize(
    ("n_rows", "n_columns"), [(0, 3), (1, 0), (10, 2), (5, 2**21), (5, 2**22)]
)
def test_blocks_cover_all_rows_once(n_rows, n_columns):
    parts = list(blocks(n_rows, n_columns))
    covered = [i for part in parts for i in range(n_rows)[part]]
    assert covered == list(range(n_rows))
    assert all(
        (part.stop - part.start) * n_columns * 8 <= 2**24 or part.stop - part.start == 1
        for part in parts
    )


def test_groups_follow_one_another_whole_in_an_order_of_their_own():
    rng = np.random.default_rng(0)
    X, y = rng.integers(3, size=(300, 1)).astype(float), np.zeros((300, 1))
    groups = rng.integers(40, size=300)
    found = canonical_rows(X, y, np.ones(300), groups)
    in_order = groups[found.first]
    changes = np.flatnonzero(np.diff(in_order)) + 1
    starts = in_order[np.append(0, changes)]
    assert len(starts) == len(np.unique(groups))  # each begins once
    assert (np.diff(starts) < 0).any()  # not as they are labelled
    # Equal rows are one, if they are of one group.
    distinct = np.unique(np.column_stack([X[:, 0], groups]), axis=0)
    assert len(found.first) == len(distinct)
    assert_allclose(found.weights.sum(), len(distinct))
    shuffled = rng.permutation(300)
    twin = canonical_rows(X[shuffled], y, np.ones(300), groups[shuffled])
    assert_array_equal(in_order, groups[shuffled][twin.first])
    assert_array_equal(X[found.first], X[shuffled][twin.first])


def test_a_sample_is_of_all_rows_in_their_order(monkeypatch):
    monkeypatch.setattr(rows, "MOST_SAMPLED", 100)
    assert rows.sample_of(100) == slice(None)
    found = rows.sample_of(1001)
    assert (len(found), found[0], found[-1]) == (100, 0, 1000)
    assert set(np.diff(found)) <= {10, 11}
