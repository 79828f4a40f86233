"""Several targets: what each adds to the score, and networks kept for one while others learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from skmdn.learning.atoms import StillComponents
from skmdn.learning.curve import JohnsonCurve
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.network import Architecture
from skmdn.learning.noise import NOISE_MODELS
from skmdn.learning.objective import MixtureObjective
from skmdn.learning.parts import n_parts, outputs_of, target_log_densities

K, D, E, B = 3, 3, 2, 5
RNG = np.random.default_rng(0)
Y = RNG.normal(size=(E, D, B))
APART = [name for name, noise in NOISE_MODELS.items() if noise.per_target]
CURVE = JohnsonCurve.fit(np.exp(RNG.normal(size=(200, D))), np.ones(200))
STILL = StillComponents.at(np.array([[0.5, -1.0, 0.0]]), 1e-3, np.array([4.0, 9.0, 2.0]))


def loss_of(noise_type, **parts):
    return MixtureLoss(K, D, NOISE_MODELS[noise_type], reg_covar=1e-4, **parts)


def raw_of(loss):
    return 0.7 * np.random.default_rng(1).normal(size=(E, loss.n_outputs, B))


@pytest.mark.parametrize("noise_type", APART)
@pytest.mark.parametrize("factor", [1.0, 2.5])
@pytest.mark.parametrize("parts", [{}, {"curve": CURVE}], ids=["plain", "curve"])
def test_parts_are_conditional_log_densities(noise_type, factor, parts):
    """log p(y_1, ..., y_d) - log p(y_1, ..., y_d-1), by scipy's of the first targets."""
    loss = loss_of(noise_type, **parts)
    raw = raw_of(loss)
    found = loss.parameters(raw, factor)
    of_first = np.zeros((D + 1, E, B))
    for d in range(1, D + 1):
        for e, b in np.ndindex(E, B):
            each = []
            for k in range(K):
                factors = (
                    np.diag(found.sds[e, b, k]) if found.factor is None else found.factor[e, b, k]
                )
                normal = stats.multivariate_normal(
                    found.means[e, b, k, :d], (factors @ factors.T)[:d, :d]
                )
                each.append(normal.logpdf(Y[e, :d, b]))
            of_first[d, e, b] = logsumexp(each, b=found.weights[e, b])
    parts_found = target_log_densities(loss, raw, Y, factor)
    np.testing.assert_allclose(np.diff(of_first, axis=0), parts_found.swapaxes(0, 1), atol=1e-8)


@pytest.mark.parametrize("noise_type", APART)
@pytest.mark.parametrize("parts", [{}, {"still": STILL}], ids=["plain", "still"])
def test_the_parts_of_all_targets_add_up(noise_type, parts):
    loss = loss_of(noise_type, **parts)
    raw = raw_of(loss)
    (expected,) = loss.log_density(raw, Y)
    np.testing.assert_allclose(target_log_densities(loss, raw, Y, 1.0).sum(1), expected, atol=1e-9)


@pytest.mark.parametrize("noise_type", NOISE_MODELS)
def test_targets_have_parts_of_their_own_where_they_share_no_variance(noise_type):
    assert n_parts(loss_of(noise_type)) == (D if noise_type in APART else 1)


@pytest.mark.parametrize("noise_type", APART)
@pytest.mark.parametrize("target", range(D))
def test_outputs_of_a_target_say_nothing_of_those_before_it(noise_type, target):
    loss = loss_of(noise_type)
    raw = raw_of(loss)
    before = target_log_densities(loss, raw, Y, 1.0)
    raw[:, outputs_of(loss, target)] += 0.3
    after = target_log_densities(loss, raw, Y, 1.0)
    np.testing.assert_array_equal(before[:, :target], after[:, :target])
    assert (before[:, target] != after[:, target]).all()


@pytest.mark.parametrize("noise_type", APART)
def test_all_outputs_but_the_logits_are_those_of_one_target(noise_type):
    loss = loss_of(noise_type)
    found = np.concatenate([outputs_of(loss, target) for target in range(D)])
    assert sorted(found) == list(range(K, loss.n_outputs))


# --- networks kept -------------------------------------------------------------------------------


def work_of(**changed):
    loss = loss_of("full")
    arch = Architecture(4, 2, loss.n_outputs, (8,), "silu")
    generator = torch.Generator().manual_seed(0)
    flat = 0.3 * torch.randn(arch.n_parameters, generator=generator)
    table = torch.randn(40, 2 + D + 1, generator=generator)
    table[:, -1] = 1.0
    return MixtureObjective(arch, loss, flat, table, n_held_out=12, batch_size=7, **changed)


OTHER = 0.3 * torch.randn(len(work_of().flat), generator=torch.Generator().manual_seed(1))


def raw_outputs_of(work, flat):
    return torch.as_tensor(work.predictions(flat, work.judged.gathered).raw)


def test_what_is_kept_is_told_by_the_networks_of_before_and_the_rest_by_others():
    work = work_of()
    own, before = raw_outputs_of(work, work.flat), raw_outputs_of(work, OTHER)
    outputs = outputs_of(work.loss, 1)
    work.keep({1: OTHER})
    found = raw_outputs_of(work, work.flat)
    torch.testing.assert_close(found[:, outputs], before[:, outputs], rtol=0.0, atol=0.0)
    rest = np.setdiff1d(np.arange(work.loss.n_outputs), outputs)
    torch.testing.assert_close(found[:, rest], own[:, rest], rtol=0.0, atol=0.0)


def test_what_is_kept_is_not_learned():
    """The loss is that of the kept outputs, and its gradient that of all others."""
    work = work_of()
    work.keep({0: OTHER, 2: OTHER})
    (batch,) = list(work.batches(torch.Generator().manual_seed(0)))[:1]
    with torch.no_grad(), work.threads():
        loss = float(work.step(batch))
    head = work.architecture.views(work.gradient)["layer_1"]
    kept = np.concatenate([outputs_of(work.loss, 0), outputs_of(work.loss, 2)])
    assert not head[:, kept].any()
    assert head[:, outputs_of(work.loss, 1)].any()
    step, before = 1e-3, work.gradient.clone()
    with torch.no_grad(), work.threads():
        work.flat.sub_(step * before)
        lower = float(work.step(batch))
    slope = (loss - lower) * work.n_in_batch / step
    assert slope == pytest.approx(float(before @ before), rel=0.05)


def test_what_was_kept_before_stays():
    work = work_of()
    before = work.judge(work.flat)
    work.keep({1: OTHER})
    assert work.open_parts() == [0, 2]
    assert work.judge(work.flat) != before
    work.keep({0: OTHER})
    work.let_go()  # of what was kept last
    assert work.open_parts() == [0, 2]
    work.keep({})
    work.let_go()
    assert work.open_parts() == [0, 2]


def test_parts_kept_at_once_share_their_networks():
    work, alone = work_of(), work_of()
    work.keep({0: OTHER, 2: OTHER})
    alone.keep({0: OTHER})
    alone.keep({2: OTHER.clone()})
    assert (len(work.kept), len(alone.kept)) == (1, 2)
    assert work.open_parts() == alone.open_parts() == [1]
    found, expected = (raw_outputs_of(each, work.flat) for each in (work, alone))
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0)


def test_letting_go_leaves_no_trace():
    work = work_of()
    before = work.judge(work.flat), work.part_scores, work.factors
    work.keep({1: OTHER})
    work.judge(work.flat)
    work.let_go()
    assert work.open_parts() == [0, 1, 2]
    assert work.factors == before[2]
    assert work.judge(work.flat) == pytest.approx(before[0], abs=1e-3)


def test_parts_of_the_score_are_those_of_held_out_rows():
    work = work_of()
    score = work.judge(work.flat)
    assert len(work.part_scores) == D
    assert sum(work.part_scores) == pytest.approx(score - work.gain, abs=0.05)
    again = work_of(kept=[(outputs_of(work.loss, 0), OTHER)])
    again.judge(again.flat)
    work.keep({0: OTHER})
    work.judge(work.flat)
    assert again.part_scores == pytest.approx(work.part_scores, abs=1e-6)
    assert again.open_parts() == work.open_parts()


def test_parts_of_rows_infinitely_far_are_the_least_likely():
    work = work_of()
    seen = work.predictions(work.flat, work.judged.gathered)
    far = seen._replace(y=np.full_like(seen.y, 1e30))
    with np.errstate(all="ignore"):  # as in `fit`
        assert far.part_scores(1.0) == (-math.inf,) * D


@pytest.mark.parametrize("n_threads", [2, 3])
def test_members_that_threads_share_have_their_own_networks_kept(n_threads, monkeypatch):
    alone = work_of()
    monkeypatch.setattr("skmdn.learning.objective.n_shares", lambda *sizes: n_threads)
    shared, gradients, losses = work_of(), [], []
    for work in (alone, shared):
        work.keep({1: OTHER})
        batch = next(work.batches(torch.Generator().manual_seed(0)))
        with torch.no_grad(), work.threads():
            losses.append(float(work.step(batch)))
        gradients.append(work.gradient)
    assert len(shared.shares) == n_threads
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-5)
