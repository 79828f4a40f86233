"""Values that many rows share: which are found, and where their components start."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skmdn.learning.atoms import Pins, at_atoms, elsewhere, find_atoms
from skmdn.learning.initialization import atom_log_odds


def found(y, weights=None):
    y = np.asarray(y, dtype=float).reshape(len(y), -1)
    return find_atoms(y, np.ones(len(y)) if weights is None else weights)


def smooth(n, seed=0):
    return np.random.default_rng(seed).normal(size=n)


SPECIAL = {  # and the values that stand out
    "nothing": (smooth(500), []),
    "many zeros": (np.append(smooth(500), np.zeros(40)), [0.0]),
    "more zeros than not": (np.append(smooth(300), np.zeros(700)), [0.0]),
    "limits": (smooth(1000).clip(-1.5, 1.5), [-1.5, 1.5]),
    "fewer than ten": (np.append(smooth(50), np.zeros(9)), []),
    "few among many": (np.append(smooth(980), np.zeros(19)), []),
    "grades": (np.arange(200) % 6, list(range(6))),
    "grades, two of them rare": (np.append(np.arange(200) % 4, [4, 4, 5]), list(range(6))),
    "a lattice, many points of it rare": (
        np.append(np.arange(1800) % 60, np.repeat(np.arange(60, 101), 2)),
        list(range(104)),
    ),
    "no lattice, two values rare": (
        np.append(np.array([0.0, 1.0, 4.0, 9.3])[np.arange(200) % 4], [16, 16, 25]),
        [0.0, 1.0, 4.0, 9.3, 16.0],
    ),
    "no lattice, many values rare": (
        np.append(np.arange(1800) % 60, np.repeat(np.arange(60, 101), 2)) ** 1.5,
        (np.arange(60) ** 1.5).tolist(),
    ),
    "grades that nobody has": (np.array([0, 1, 2, 5, 8])[np.arange(200) % 5], list(range(9))),
    "a lattice with few points": (np.array([0, 1, 99])[np.arange(200) % 3], [0, 1, 99]),
    "a lattice of too many points": (np.append(np.arange(120) % 12, 300), list(range(12))),
    "a constant": (np.full(10, 3.0), [3.0]),
    "too few of each": (np.arange(90) % 10, []),
    "a fine lattice": (np.arange(4000) % 200, list(range(200))),
    "a fine grid": (np.arange(4000) % 201, []),
    "peaks of a fine grid": (np.append(np.arange(4000) % 201, [7.0] * 200), [7.0]),
    "two limits that most are at": (
        np.append(smooth(50), [-9.0] * 300 + [9.0] * 300),
        [-9.0, 9.0],
    ),
    "two limits, and less between them than at either": (
        np.append(smooth(250), [-9.0] * 350 + [9.0] * 400),
        [-9.0, 9.0],
    ),
    "a limit that most are at, and one that few are": (
        np.append(smooth(350), [-9.0] * 600 + [9.0] * 50),
        [-9.0, 9.0],
    ),
    "three limits": (
        np.append(smooth(300), np.repeat([-9.0, 0.0, 9.0], [300, 200, 200])),
        [-9.0, 0.0, 9.0],
    ),
    "two limits of what is rounded": (
        np.append(smooth(3000).round(2), [-9.0] * 3500 + [9.0] * 3500),
        [-9.0, 9.0],
    ),
    "two limits, and few rows between them": (
        np.append(smooth(60), [-9.0] * 110 + [9.0] * 130),
        [-9.0, 9.0],
    ),
    "heaps": (np.append(smooth(400), np.repeat(np.linspace(-2.0, 2.0, 15), 40)), []),
    "two peaks of a coarse grid": (
        np.append(np.arange(150) % 25, [3.0] * 200 + [7.0] * 200) ** 1.5,
        [],
    ),
    "a coarse grid of rare values": (np.arange(95) % 10, []),
    "common ones of a grid": (np.append(np.arange(81) % 9, [3, 4, 5]), []),
    "few rows": (np.append(smooth(30), np.zeros(9)), []),
    "numbers rounded": (smooth(2000).round(2), []),
}


@pytest.mark.parametrize(("y", "expected"), SPECIAL.values(), ids=SPECIAL)
def test_atoms_are_values_that_stand_out_or_a_grid(y, expected):
    y = np.random.default_rng(1).permutation(np.asarray(y, dtype=float))
    assert_array_equal(found(y)[:, 0], expected)
    moved = found(17.0 + 0.1 * y)[:, 0]
    assert_allclose(moved, 17.0 + 0.1 * np.asarray(expected), rtol=1e-15)
    assert np.isin(17.0 + 0.1 * np.intersect1d(expected, y), moved).all()


def lattice(y, weights=None):
    return found(np.random.default_rng(0).permutation(y), weights)[:, 0]


def test_a_lattice_goes_on_beyond_rare_ends():
    """Three times as far as the fourth row is from the second, but not far beyond an outlier."""
    body = np.repeat(np.arange(20.0, 40.0), 30)
    assert_array_equal(lattice(body), np.arange(20, 40))
    assert_array_equal(lattice(np.append(body, [40, 41, 43])), np.arange(20, 49))  # a quarter
    assert_array_equal(lattice(np.append(body, 49)), np.arange(20, 50))
    assert_array_equal(lattice(np.append(body, [40, 40, 41])), np.arange(20, 45))
    assert_array_equal(lattice(np.append(body, [40, 40, 40, 41])), np.arange(20, 42))
    assert_array_equal(lattice(np.append(body, [43, 43, 43])), np.arange(20, 44))
    below = 59.0 - np.append(body, [40, 41, 43])
    assert_array_equal(lattice(below), np.arange(11, 40))


def test_a_lattice_does_not_go_on_beyond_zero():
    body = np.append(np.repeat(np.arange(5.0, 25.0), 30), [1, 2, 4])
    assert_array_equal(lattice(body), np.arange(25))
    assert_array_equal(lattice(-body), np.arange(-24, 1))
    assert_array_equal(lattice(body - 1.0), np.arange(24))
    assert lattice(body - 2.0)[0] < -1.0  # there are negative ones


@pytest.mark.parametrize("n_values", [9, 10])
def test_of_few_values_there_are_none_beyond(n_values):
    y = np.append(np.repeat(np.arange(n_values - 3.0), 30), n_values - 3.0 + np.arange(3))
    assert len(lattice(y)) == n_values + (2 if n_values == 10 else 0)


@pytest.mark.parametrize(("last", "n_atoms"), [(20, 21), (21, 5)])
def test_between_few_values_there_are_no_others(last, n_atoms):
    assert len(lattice(np.repeat([0.0, 1.0, 2.0, 3.0, last], 30))) == n_atoms


@pytest.mark.parametrize(("miss", "is_one"), [(0.01, True), (0.05, False)])
def test_a_lattice_is_one_but_for_rounding(miss, is_one):
    values = np.delete(np.arange(30.0), 17)
    values[11] += miss
    atoms = lattice(np.repeat(values, 30))
    assert (len(atoms) == 30) is is_one
    assert np.isin(values, atoms).all()


@pytest.mark.parametrize("offset", [0.0, 100.0, 1000.0])
def test_a_lattice_in_single_precision_is_one(offset):
    values = np.float32(offset + 0.01 * np.delete(np.arange(60), 33)).astype(float)
    assert len(lattice(np.repeat(values, 15))) == 60


def test_many_features_call_for_a_line_rather_than_rare_atoms():
    y = np.random.default_rng(0).integers(0, 100, size=1000)[:, None].astype(float)
    assert len(find_atoms(y, np.ones(1000), n_features=50)) == 100
    assert len(find_atoms(y, np.ones(1000), n_features=51)) == 0
    grades = np.arange(1200)[:, None] % 6  # a grid
    assert len(find_atoms(grades, np.ones(1200), n_features=500)) == 6


def test_three_rows_in_four_with_common_values_are_enough_on_a_lattice():
    for n_common, is_one in ((760, True), (740, False)):
        rare = 5 + np.arange(1000 - n_common) // 5
        y = np.concatenate([np.arange(n_common) % 5, rare]).astype(float)[:, None]
        atoms = find_atoms(y, np.ones(1000), n_features=200)
        assert len(atoms) == (len(np.unique(y)) if is_one else 0)


def test_unequal_weights_do_not_stretch_a_lattice():
    y = np.random.default_rng(0).normal(20.0, 4.0, size=400).round()
    span = np.ptp(y) + 1
    for weights in (np.where(np.arange(400) == 7, 1e8, 1.0), np.full(400, 1e-3)):
        assert span <= len(find_atoms(y[:, None], weights)) <= 1.5 * span + 1


def test_weights_count():
    y = np.append(smooth(500), np.zeros(10))
    assert len(found(y)) == 0
    assert_array_equal(found(y, np.where(y == 0, 3.0, 1.0)), [[0.0]])


def test_a_quarter_of_all_rows_need_not_be_distinct():
    """Rows with few different X are merged: their weights count."""
    y = np.append(smooth(60), [0.0, 0.0])
    assert_array_equal(found(y, np.where(y == 0, 20.0, 1.0)), [[0.0]])
    assert len(found(y, np.where(y == 0, 5.0, 1.0))) == 0
    assert len(found(y[30:], np.where(y[30:] == 0, 20.0, 1.0))) == 0


def test_of_several_targets_those_are_pinned_that_many_rows_share():
    y = np.column_stack([smooth(500), smooth(500, 1)])
    y[:50], y[50:100, 0], y[100:130], y[130:139] = 0.0, 0.0, (1.0, -2.0), (1.0, 0.0)
    y = np.random.default_rng(2).permutation(y)
    expected = np.array([[0.0, np.nan], [0.0, 0.0], [1.0, -2.0]])
    assert_array_equal(found(y), expected)
    assert_array_equal(found(y[:, ::-1])[[0, 2, 1]], expected[:, ::-1])
    assert_array_equal(found(5.0 - 2.0 * y), 5.0 - 2.0 * expected[[0, 2, 1]])
    assert_array_equal(find_atoms(y, np.ones(500), may_be_open=False), expected[1:])


def test_of_rare_combinations_the_finer_grid_is_left_open():
    """Of 30 by 20 values, few pairs are on ten rows; of the 20 alone, all are."""
    rng = np.random.default_rng(0)
    y = np.column_stack([rng.integers(0, 30, 600), smooth(600), rng.integers(0, 20, 600)])
    values = np.arange(20.0)
    nothing = np.full(20, np.nan)
    assert_array_equal(found(y), np.column_stack([nothing, nothing, values]))
    assert_array_equal(found(y[:, [0, 2]]), np.column_stack([nothing, values]))
    assert_array_equal(found(y[:, [2, 0]]), np.column_stack([values, nothing]))


def test_common_combinations_are_kept_beside_rare_ones():
    y = np.array([[0.0, 0.0]] * 60 + [[1.0, 0.0]] * 20 + [[k % 2, 1 + k // 4] for k in range(36)])
    assert_array_equal(found(y), [[0.0, np.nan], [1.0, np.nan], [0.0, 0.0], [1.0, 0.0]])
    grades = np.stack(np.divmod(np.arange(600) % 6, 3), axis=1)
    grades[:50] = 2, 7  # whole rows make a grid
    assert_array_equal(found(grades), [*np.unique(grades[50:], axis=0), [2, 7]])
    hundred = np.arange(2000) % 100
    whole = np.column_stack([np.arange(100), -np.arange(100)])
    assert_array_equal(found(np.column_stack([hundred, -hundred])), whole)


def test_as_much_is_learned_as_there_are_open_targets():
    y = np.column_stack([np.arange(600) % 32, *(smooth(600, seed) for seed in range(3))])
    assert len(found(y[:, :2])) == 32
    assert len(found(y)) == 0
    y[:, 0] = np.arange(600) % 16
    assert len(found(y)) == 16
    assert len(found(np.column_stack([np.arange(660) % 33, smooth(660)]))) == 0


def test_of_many_zeros_those_of_most_rows_are_taken():
    """In whichever order the targets come."""
    rng = np.random.default_rng(0)
    y = np.where(rng.random((3000, 6)) < [0.5, 0.45, 0.4, 0.35, 0.3, 0.25], 0.0, smooth((3000, 6)))
    atoms = found(y)
    assert 4 <= len(atoms) <= 10
    assert not np.isnan(atoms).all(axis=0)[:4].any()
    assert {row.tobytes() for row in found(y[:, ::-1])[:, ::-1]} == {
        row.tobytes() for row in atoms
    }
    many = np.column_stack([np.where(rng.random(300) < 0.5, 0.0, 1.0), smooth((300, 69))])
    assert_array_equal(found(many)[:, 0], [0.0, 1.0])


def test_pins_are_what_atoms_say():
    atoms = np.array([[0.0, np.nan, 2.0], [np.nan, 1.0, np.nan]])
    pins = Pins.at(atoms, [1, 2], n_free=1, coupled=True)
    assert_array_equal(pins.values[:, :, 0], [[0, 0, 0], [0, 0, 2], [0, 1, 0], [0, 1, 0]])
    assert_array_equal(pins.free[:, :, 0], [[1, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 1]])
    # Couplings of targets 1 and 0, 2 and 0, 2 and 1.
    assert_array_equal(pins.coupled[:, :, 0], [[1, 1, 1], [0, 0, 0], [0, 1, 0], [0, 1, 0]])
    assert Pins.at(atoms, [1, 2], n_free=1, coupled=False).coupled.shape == (4, 0, 1)


def test_rows_are_at_atoms_or_elsewhere():
    y, atoms = np.array([[0.0, 1.0], [0.0, 2.0], [5.0, 1.0]]), np.array([[0.0, 2.0], [0.0, 1.0]])
    at = at_atoms(y, atoms)
    assert_array_equal(at, [[False, True], [True, False], [False, False]])
    assert_array_equal(elsewhere(at), [False, False, True])
    assert elsewhere(at[:2]).all()  # something must be left to learn from
    assert elsewhere(at_atoms(y, atoms[:0])).all()


def test_rows_are_at_the_atoms_that_say_most():
    nan = np.nan
    atoms = np.array([[0.0, nan], [nan, 0.0], [0.0, 1.0]])
    y = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 0.0], [3.0, 0.0], [3.0, 1.0]])
    assert_array_equal(at_atoms(y, atoms), [[0, 0, 1], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]])


def test_atoms_start_as_likely_as_they_are():
    """Softmax of the starting logits: the shares of the atoms, the rest in equal parts."""
    at = at_atoms(np.array([[0.0], [0.0], [1.0], [2.0], [3.0]]), np.array([[0.0], [1.0]]))
    weights = np.array([1.0, 2.0, 1.0, 3.0, 3.0])
    odds = np.exp(np.append(np.zeros(3), atom_log_odds(at, weights, 3)))
    assert_allclose(odds / odds.sum(), [0.2, 0.2, 0.2, 0.3, 0.1])


def test_starting_weights_are_finite_without_rows_elsewhere_or_at_an_atom():
    at = at_atoms(np.zeros((5, 1)), np.array([[0.0], [1.0]]))
    odds = atom_log_odds(at, np.ones(5), 2)
    assert np.isfinite(odds).all()
    assert odds[0] > odds[1]
