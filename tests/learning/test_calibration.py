"""Variance factors of members and of their mixture, where the right ones are known."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from scipy.optimize import minimize_scalar

from skmdn.learning.calibration import (
    _best_steps,
    _share_by_moments,
    calibrate,
    pooled_factors,
)
from skmdn.learning.judging import judged_rows, search_factors, settled_factors, vertex

VARIANCE = 0.01  # what every member believes


class Seen(NamedTuple):
    """What `Normals` make of rows."""

    wrong: np.ndarray
    weights: torch.Tensor
    noise_is_learned: bool
    n_targets: int

    def log_densities(self, factors):
        factors = factors if self.noise_is_learned else [4.0] * len(factors)
        found = [stats.norm(0, np.sqrt(f * VARIANCE)).logpdf(self.wrong) for f in factors]
        return torch.from_numpy(np.stack(found))

    def errors(self, factor):
        errors = torch.from_numpy(self.wrong[:, None]).repeat(1, self.n_targets, 1)
        return errors, torch.full_like(errors, factor * VARIANCE)

    def part_scores(self, factor):
        return ()

    def first(self, n_rows):
        return self._replace(wrong=self.wrong[:, :n_rows], weights=self.weights[:, :n_rows])


class Normals:
    """Members that err by a common part and one of their own, and believe in ``VARIANCE``.

    Member e holds out the rows from ``e * n / M`` on, a quarter of them also held out by e - 1.
    """

    def __init__(self, common, own, n_rows=4000, n_members=16, tail=None, seed=0):
        rng = np.random.default_rng(seed)
        errors = common * rng.normal(size=n_rows)
        if tail is not None:
            errors *= np.where(rng.random(n_rows) < tail[0], tail[1], 1.0)
        self.each = errors + own * rng.normal(size=(n_members, n_rows))
        self.offsets = torch.arange(n_members)[:, None] * n_rows // n_members
        self.n_rows, self.n_shared = n_rows, n_rows // n_members // 4
        self.n_held_out = -(-n_rows // n_members) + self.n_shared
        self.n_mixed = n_members
        self.noise_is_learned, self.n_targets = True, 1

    def held_out_rows(self, positions):
        return (positions + self.offsets) % self.n_rows

    def weights_of(self, rows):
        return torch.ones(rows.shape)

    @cached_property
    def judged(self):
        return judged_rows(self)

    def gathered(self, rows):
        return rows

    def predictions(self, flat, rows):
        wrong = np.take_along_axis(self.each, rows.numpy(), axis=1)
        return Seen(wrong, self.weights_of(rows), self.noise_is_learned, self.n_targets)

    def score(self, factors):
        """Mean log-density, by all members mixed, of rows that none of them saw."""
        sds = np.sqrt(np.asarray(factors) * VARIANCE)[:, None]
        found = stats.norm(0, sds).logpdf(self.each)
        return (np.logaddexp.reduce(found, axis=0) - np.log(len(found))).mean()


def best_score(members):
    """Score with the best factor that all members may share."""
    found = minimize_scalar(
        lambda log_factor: -members.score(np.full(len(members.each), np.exp(log_factor))),
        bounds=np.log([0.1, 1e4]),
        method="bounded",
        options={"xatol": 1e-2},
    )
    return -found.fun


def searched(objective):
    """The score, the factors of one member and of two, and what is made of them in the end."""
    score, factors, gain, _ = settled_factors(objective, torch.zeros(1), (1.0, 1.0))
    objective.factors = factors
    found = calibrate(objective, torch.zeros(1))
    assert found.member_factor == pytest.approx(factors[0], rel=0.01)
    assert found.score == pytest.approx(score - gain, abs=3e-3)
    return score, factors, found


@pytest.mark.parametrize("sd", [0.05, 0.1, 0.4])
def test_the_search_finds_the_factors_of_members_that_agree(sd):
    score, factors, found = searched(Normals(common=sd, own=0.0))
    assert factors == pytest.approx((sd**2 / VARIANCE,) * 2, rel=0.15)
    assert score == pytest.approx(found.score, abs=2e-4)  # to agree is to gain nothing
    assert score == pytest.approx(-stats.norm(0, sd).entropy(), abs=0.05)


@pytest.mark.parametrize(
    ("common", "own", "short"),
    [(0.2, 0.0, 0.0), (0.2, 0.1, 0.0), (0.15, 0.15, 0.1), (0.1, 0.2, 0.15)],
)
@pytest.mark.parametrize("n_members", [2, 3, 16])
def test_pairs_foretell_the_score_of_all_members(common, own, short, n_members):
    """It falls short only where most of the error is the members' own."""
    members = Normals(common, own, n_members=n_members)
    score, factors, found = searched(members)
    assert factors[1] <= 1.02 * factors[0]
    best = best_score(members)
    assert best - short - 0.05 < score < best + 0.03
    assert score >= found.score


@pytest.mark.parametrize("n_rows", [200, 800])
def test_members_far_apart_promise_no_more_than_the_better_of_them(n_rows):
    """Carried over without a bound, one row on which two differ would outweigh all others."""
    members = Normals(common=0.1, own=0.1, n_rows=n_rows, seed=1)
    members.each[:, ::40] += 20.0 * np.arange(16)[:, None]
    score = searched(members)[0]
    best = best_score(members)
    assert score < best + 0.3


@pytest.mark.parametrize(("common", "own"), [(0.2, 0.0), (0.2, 0.1), (0.1, 0.2)])
def test_a_few_members_speak_for_all(common, own):
    few = Normals(common, own, n_members=5)
    few.n_mixed = 16
    every = Normals(common, own, n_rows=50_000)
    best = best_score(every)
    assert best - 0.2 < searched(few)[0] < best + 0.02  # told with care
    few.n_mixed = 5
    assert not own or searched(few)[0] < best - 0.02


def test_members_are_judged_by_the_rows_each_holds_out():
    members = Normals(common=0.1, own=0.1, n_members=5)
    score, (factor, _), gain, _ = settled_factors(members, torch.zeros(1), (1.0, 1.0))
    positions = np.arange(members.n_held_out) + members.offsets.numpy()
    errors = np.take_along_axis(members.each, positions % members.n_rows, axis=1)
    densities = stats.norm(0, np.sqrt(factor * VARIANCE)).logpdf(errors)
    assert score - gain == pytest.approx(densities.mean(), abs=2e-4)


@given(n_rows=st.integers(2, 300), n_members=st.integers(1, 20), share=st.floats(0.0, 1.0))
def test_members_are_judged_on_each_row_they_hold_out_and_on_none_twice(n_rows, n_members, share):
    n_held_out = 1 + int(share * (n_rows - 2))
    members = Normals(0.1, 0.1, n_rows, n_members)
    members.n_held_out = n_held_out
    members.n_shared = max(0, n_held_out - -(-n_rows // n_members))
    rows, n_pairs = members.judged
    held_out = members.held_out_rows(torch.arange(n_held_out))
    assert torch.equal(rows.sort().values, held_out.sort().values)
    with_before, with_next = rows[:, :n_pairs], rows[:, n_pairs : 2 * n_pairs]
    assert torch.equal(with_before, with_next.roll(1, dims=0))
    usual = n_held_out <= 1.25 * n_rows / n_members
    assert not usual or n_pairs == members.n_shared


def test_of_many_rows_some_are_judged_and_a_quarter_of_these_by_the_member_before_too():
    members = Normals(0.1, 0.1, n_rows=100_000)
    rows, n_pairs = members.judged
    assert rows.shape == (16, 1024 + 256)
    assert n_pairs == 256
    assert len(set(rows.flatten().tolist())) == 16 * 1024
    held_out = members.held_out_rows(torch.arange(members.n_held_out)).tolist()
    assert all(set(own) >= set(one) for own, one in zip(held_out, rows.tolist(), strict=True))
    assert all(len(set(one)) == len(one) for one in rows.tolist())
    assert torch.equal(rows[1:, :256], rows[:-1, 256:512])


def test_rows_that_one_member_holds_out_tell_of_that_member_alone():
    lonely = Normals(common=0.2, own=0.1)
    lonely.n_shared = 0
    score, factors, found = searched(lonely)
    assert factors[0] == factors[1]
    assert score == pytest.approx(found.score, abs=2e-4)
    assert found.pooled_factors.tolist() == [found.member_factor] * 16


@pytest.mark.parametrize("n_members", [8, 16, 32])
@pytest.mark.parametrize(("common", "own"), [(0.2, 0.0), (0.2, 0.1), (0.15, 0.15)])
def test_the_pooled_factor_is_nearly_the_best_one(common, own, n_members):
    members = Normals(common, own, n_rows=16_000, n_members=n_members)
    found = searched(members)[2].pooled_factors
    assert len(set(found.tolist())) == 1  # errors are normal: no tails
    best = best_score(members)
    assert members.score(found) > best - 0.005


@pytest.mark.parametrize("common", np.geomspace(0.1, 0.13, 7))
def test_factors_are_found_between_the_steps_of_their_grids(common):
    members = Normals(common, 0.0)
    found = searched(members)[2]
    squares = (members.each[0] ** 2).mean() / VARIANCE
    assert_allclose(found.member_factor, squares, rtol=0.025)
    assert_allclose(found.pooled_factors, squares, rtol=0.025)  # they agree
    members = Normals(common, 0.5 * common, n_rows=16_000)
    assert members.score(searched(members)[2].pooled_factors) > best_score(members) - 0.001


def test_factors_that_change_nothing_stay():
    """Where the noise is given."""
    members = Normals(common=0.2, own=0.1)
    members.noise_is_learned = False
    _, factors, found = searched(members)
    assert factors == (1.0, 1.0)
    assert found.member_factor == 1.0


def test_the_vertex_of_scores_lies_between_them():
    steps = torch.arange(9, dtype=torch.float64)
    nearest, step, height = vertex(3.0 - 2.0 * (steps - 4.3) ** 2, stay=2)
    assert (nearest, step, height) == (4, pytest.approx(2.3), pytest.approx(3.0))
    assert vertex(steps, stay=2) == (8, 6.0, 8.0)
    assert vertex(-steps, stay=2) == (0, -2.0, 0.0)
    assert vertex(torch.tensor([0.0, 1.0, 1.0, 0.0]), stay=0)[1] == 1.5


NAN, INF = torch.nan, torch.inf
NOTHING_TO_GAIN = {
    "all alike": [2.0, 2.0, 2.0, 2.0, 2.0],
    "but for rounding": [2.0 + 5e-7, 2.0, 2.0, 2.0 + 2e-7, 2.0],
    "all but alike": [2.0, 2.0, 2.0 + 3e-7, 2.0 + 2e-7, 2.0],
    "impossible": [-INF, -INF, -INF, -INF, -INF],
    "no numbers": [NAN, NAN, NAN, NAN, NAN],
    "alone": [-INF, -INF, 1.0, -INF, -INF],
}


@pytest.mark.parametrize("scores", NOTHING_TO_GAIN.values(), ids=NOTHING_TO_GAIN)
def test_where_there_is_nothing_to_gain_factors_stay(scores):
    assert vertex(torch.tensor(scores, dtype=torch.float64), stay=2)[:2] == (2, 0.0)


@pytest.mark.parametrize("start", [3.6, 4.4, 6.5])
def test_a_step_of_the_search_scores_as_if_it_had_been_taken(start):
    """Wherever the search stands: what training has learned is compared by that."""
    for own, tolerance in ((0.0, 1e-3), (0.1, 0.02)):
        members = Normals(common=0.2, own=own)
        score, _, gain, _ = searched_once(members, start)
        settled = settled_factors(members, torch.zeros(1), (1.0, 1.0))
        assert score - gain == pytest.approx(settled.score - settled.gain, abs=1e-3)
        assert gain == pytest.approx(settled.gain, abs=tolerance)


def searched_once(members, start):
    return search_factors(members, torch.zeros(1), (start, start))


def test_a_step_of_the_search_is_no_larger_than_it_may_be():
    _, factors, *_ = searched_once(Normals(common=0.8, own=0.0), 1.0)
    assert factors == pytest.approx((1.3**2, 1.3**2))
    _, factors, *_ = searched_once(Normals(common=0.01, own=0.0), 1.0)
    assert factors == pytest.approx((1.3**-2, 1.3**-2))


def test_one_and_two_mixed_are_scored_with_factors_of_their_own():
    rng = np.random.default_rng(0)
    grid = 1.1 ** np.arange(-24.0, 9.0)
    rows = rng.normal(size=(2, 1, 500))
    densities = torch.from_numpy(stats.norm(0, np.sqrt(0.3 * grid[None, :, None])).logpdf(rows))
    found = _best_steps(densities, torch.ones(500, dtype=torch.float64), 0, 1 / 16)
    assert found.alone > found.paired + 2.0  # what differs is theirs alone
    of_each = densities.mean(0), densities.logsumexp(0) - np.log(2.0)
    for own, all_of_them in zip(found.scores, of_each, strict=True):
        assert own.mean() == pytest.approx(all_of_them.mean(1).max())


@pytest.mark.parametrize(("n_members", "own"), [(16, 0.0), (16, 0.1), (3, 0.3)])
def test_the_share_by_moments_is_that_of_the_errors(n_members, own):
    """Of a mean square R of one member and R - B of them all, B / R is counted twice."""
    members = Normals(common=0.3, own=own, n_members=n_members, n_rows=40_000)
    every_row = members.each**2, members.each.mean(axis=0) ** 2
    alone, mixed = (part.mean() for part in every_row)
    expected = 1.0 - 2.0 * (alone - mixed) / alone
    assert _share_by_moments(members, torch.zeros(1), 2.0) == pytest.approx(expected, abs=0.05)


def test_shares_by_moments_weigh_rows_and_take_targets_together():
    """Rows of no weight tell nothing, and two targets of a kind what one does."""
    members = Normals(common=0.3, own=0.1, n_rows=40_000)
    expected = _share_by_moments(members, torch.zeros(1), 2.0)
    members.each[:, ::2] *= 5.0 * np.random.default_rng(1).normal(size=(16, 20_000))
    members.weights_of, members.n_targets = lambda rows: rows % 2.0, 2
    assert _share_by_moments(members, torch.zeros(1), 2.0) == pytest.approx(expected, abs=0.05)


def test_members_that_know_everything_share_nothing():
    assert _share_by_moments(Normals(0.0, 0.0), torch.zeros(1), 1.0) == 1.0


@pytest.mark.parametrize(("common", "own"), [(0.3, 0.0), (0.3, 0.1), (0.2, 0.2)])
def test_a_few_pairs_tell_the_pooled_factor_by_moments(common, own):
    """Members that fit their rows all too closely may nearly agree elsewhere, or not at all."""
    short = []
    for seed in range(10):
        members = Normals(common, own, n_rows=100, seed=seed)
        found = searched(members)[2].pooled_factors
        members.each = Normals(common, own, n_rows=4000, seed=100 + seed).each
        best = best_score(members)
        short.append(best - members.score(found))
    assert np.mean(short) < 0.03


@pytest.mark.parametrize(("n_members", "n_wide"), [(8, 1), (15, 1), (16, 1), (31, 1), (32, 2)])
def test_heavy_tails_are_spoken_for_by_one_member_in_sixteen(n_members, n_wide):
    members = Normals(common=0.1, own=0.02, tail=(0.08, 6.0), n_members=n_members)
    found = searched(members)[2].pooled_factors
    wide = found > found.min() * 2.0
    assert wide.sum() == n_wide
    # Of 10, 31 and 97 times, what is next to the 36 times of the errors.
    assert found.max() / found.min() == pytest.approx(1.1**36)
    best = best_score(members)
    assert members.score(found) > best + 0.1


def test_few_members_have_no_tails_and_few_pairs_no_certainty():
    few = Normals(common=0.1, own=0.02, tail=(0.08, 6.0), n_members=7)
    assert len(set(pooled_factors(few, torch.zeros(1), 1.0).tolist())) == 1
    alone = Normals(common=0.1, own=0.02, n_members=4)
    alone.n_shared = 0
    assert pooled_factors(alone, torch.zeros(1), 1.7).tolist() == [1.7] * 4


def test_a_few_heavy_rows_say_nothing_about_tails():
    members = Normals(common=0.1, own=0.02, tail=(0.08, 6.0))
    members.weights_of = lambda rows: torch.where(rows % 997 == 0, 1e6, 1.0)
    assert len(set(pooled_factors(members, torch.zeros(1), 1.0).tolist())) == 1
