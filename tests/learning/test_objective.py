"""Which rows each member learns from, and which it holds out."""

from __future__ import annotations

import pytest
import torch

from skmdn.learning.judging import predicted
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.network import Architecture
from skmdn.learning.noise import NOISE_MODELS
from skmdn.learning.objective import MixtureObjective

LOSS = MixtureLoss(2, 1, NOISE_MODELS["diagonal"], 1e-6)


def objective(n_members, n_held_out, n_mixed=None):
    architecture = Architecture(n_members, 1, LOSS.n_outputs, (3,), "tanh")
    flat = torch.zeros(architecture.n_parameters)
    return MixtureObjective(architecture, LOSS, flat, torch.ones(20, 3), n_held_out, 5, n_mixed)


def held_out(work):
    """The rows (E, n) that members hold out; they learn from all others."""
    rows = work.held_out_rows(torch.arange(work.n_held_out))
    learned = work.training_rows(torch.arange(work.n_train))
    for out, others in zip(rows.tolist(), learned.tolist(), strict=True):
        assert sorted(out + others) == list(range(20))
    return rows.tolist()


@pytest.mark.parametrize(("n_held_out", "n_shared"), [(4, 0), (5, 0), (7, 2)])
def test_members_hold_out_parts_of_their_own(n_held_out, n_shared):
    work = objective(4, n_held_out)
    rows = held_out(work)
    assert (work.n_shared, work.n_mixed) == (n_shared, 4)
    for one, following in zip(rows, rows[1:] + rows[:1], strict=True):
        assert one[n_held_out - n_shared :] == following[:n_shared]
        assert len({*one, *following}) == 2 * n_held_out - n_shared


def test_a_few_may_speak_for_more():
    assert objective(4, 7, n_mixed=16).n_mixed == 16


def test_members_are_judged_by_the_rows_each_holds_out():
    work = objective(4, 7)
    work.table[:, 1] = torch.linspace(-1.0, 2.0, 20)
    score = work.judge(work.flat)
    factor, _ = work.factors
    seen = predicted(work, work.flat, work.held_out_rows(torch.arange(7)))
    densities = seen.log_densities([factor])
    assert score == pytest.approx(float(densities[0].double().mean()) + work.gain, abs=1e-4)
    assert work.gain >= 0.0


def test_what_mixing_gains_is_told_apart_from_weights():
    """Members whose rows weigh more count more in the score; the gain is what comes on top."""
    work = objective(4, 7)
    work.table[:, 1] = torch.linspace(-1.0, 2.0, 20)
    work.table[:8, 2] = 50.0
    score = work.judge(work.flat)
    factor, _ = work.factors
    rows = work.held_out_rows(torch.arange(7))
    seen = predicted(work, work.flat, rows)
    densities, weights = seen.log_densities([factor]), seen.weights
    mean = float((densities[0] * weights).sum() / weights.sum())
    assert abs(mean - float(densities[0].mean(1).mean())) > 0.01
    assert score - work.gain == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_weights_are_left_out_of_a_step_where_all_are_one(weight):
    work, generator = objective(4, 7), torch.Generator().manual_seed(0)
    work.flat.copy_(torch.randn(len(work.flat), generator=generator))
    work.table[:, 2] = weight
    with torch.no_grad(), work.threads():
        x, y, weights = next(work.batches(generator))
        assert (weights is None) == (weight == 1.0)
        loss, gradient = float(work.step((x, y, None))), work.gradient.clone()
        assert float(work.step((x, y, 0.0 * y[:, 0] + weight))) == pytest.approx(
            weight * loss, rel=1e-6
        )
    torch.testing.assert_close(work.gradient, weight * gradient, rtol=1e-5, atol=1e-6)
    assert gradient.any()
