"""What raw outputs stand for: variances by factors, and components on a curve."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skmdn.learning.curve import JohnsonCurve
from skmdn.learning.judging import predicted
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.network import Architecture
from skmdn.learning.noise import NOISE_MODELS
from skmdn.learning.objective import MixtureObjective

FLOOR = 1e-2


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize(
    ("noise_type", "curved"),
    [*((name, False) for name in NOISE_MODELS), ("full", True), ("diagonal", True)],
)
def test_factors_multiply_what_is_above_the_floor(noise_type, curved):
    noise = NOISE_MODELS[noise_type]
    curve = JohnsonCurve.fit(np.exp(draw(40, 2)), np.ones(40)) if curved else None
    loss = MixtureLoss(3, 2, noise, FLOOR, fixed_variance=0.5, curve=curve)
    raw, factors = draw(4, loss.n_outputs, 5), np.array([0.1, 1.0, 2.0, 30.0])
    before, after = loss.parameters(raw), loss.parameters(raw, factors)
    expected = factors if noise.learned else np.ones(4)
    above = (before.sds**2 - FLOOR) * expected[:, None, None, None]
    np.testing.assert_allclose(after.sds**2 - FLOOR, above, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(after.means, before.means)
    np.testing.assert_array_equal(after.weights, before.weights)


@pytest.mark.parametrize("noise_type", ["full", "diagonal"])
def test_a_component_is_as_wide_as_the_curve_is_steep(noise_type):
    """To first order it is the normal distribution of u, taken through the curve."""
    curve = JohnsonCurve.fit(np.exp(draw(40, 2)), np.ones(40))
    loss = MixtureLoss(1, 2, NOISE_MODELS[noise_type], 1e-30, curve=curve)
    raw = draw(1, loss.n_outputs, 3)
    _, u, raw_variances, *_ = loss.split(raw)
    raw_variances[:] = -20.0  # sd of u: 4.5e-5
    u_sd, found = float(np.exp(-10.0)), loss.parameters(raw)
    low, high = (np.moveaxis(curve.at(u + sign * u_sd)[0], -1, 1) for sign in (-1, 1))
    np.testing.assert_allclose(found.sds, (high - low) / 2, rtol=1e-5)
    np.testing.assert_array_equal(found.means, np.moveaxis(curve.at(u)[0], -1, 1))


def test_targets_vary_together_along_their_curves():
    """To first order, covariances are those of u times the slopes of both curves."""
    curve = JohnsonCurve.fit(np.exp(draw(40, 3)), np.ones(40))
    straight = MixtureLoss(2, 3, NOISE_MODELS["full"], 1e-30)
    raw = draw(2, straight.n_outputs, 4)
    slope = np.moveaxis(curve.at(straight.split(raw)[1])[1], -1, 1)
    of_u = straight.parameters(raw).factor
    found = MixtureLoss(2, 3, straight.noise, 1e-30, curve=curve).parameters(raw).factor
    expected = slope[..., :, None] * (of_u @ of_u.swapaxes(-1, -2)) * slope[..., None, :]
    np.testing.assert_allclose(found @ found.swapaxes(-1, -2), expected, rtol=1e-9)


def test_variances_stay_within_single_precision_where_the_curve_is_steepest():
    y = np.random.default_rng(0).standard_cauchy((500, 1))
    curve = JohnsonCurve.fit((y - y.mean()) / y.std(), np.ones(500))
    loss = MixtureLoss(1, 1, NOISE_MODELS["diagonal"], 1e-6, curve=curve)
    raw = np.full((1, loss.n_outputs, 2), 1e3, dtype=np.float32)
    raw[:, 1] = [-1e30, 1e30]
    sds = loss.like(raw).parameters(raw).sds
    assert sds.dtype == np.float32
    assert np.isfinite(np.square(sds)).all()


@np.errstate(all="ignore")
def test_targets_infinitely_far_have_no_density_rather_than_no_number():
    """A search for the best factor would else take the one that gives no number."""
    loss = MixtureLoss(2, 1, NOISE_MODELS["diagonal"], 1e-6)
    architecture = Architecture(1, 1, loss.n_outputs, (3,), "silu")
    table = torch.tensor([[0.0, 1e30, 1.0], [0.0, 0.0, 1.0]])  # beyond float32 once squared
    flat = torch.zeros(architecture.n_parameters)  # weights 1/2, means 0, variances 1
    objective = MixtureObjective(architecture, loss, flat, table, n_held_out=1, batch_size=1)
    found = predicted(objective, flat, torch.tensor([[0, 1]])).log_densities([1.0, 4.0])
    expected = -0.5 * np.log(2.0 * np.pi * np.array([1.0, 4.0]))
    np.testing.assert_array_equal(found[:, 0, 0], -np.inf)
    np.testing.assert_allclose(found[:, 0, 1], expected, rtol=1e-5)


@pytest.mark.parametrize("shift", [0.0, 1e4, 1e8, 1e30])
def test_what_all_logits_share_says_nothing(shift):
    """In single precision, large ones would swallow the distances, and leave no density at all."""
    loss = MixtureLoss(2, 1, NOISE_MODELS["fixed"], 1e-6)
    raw = np.array([shift, shift, 0.0, 3.0], dtype=np.float32).reshape(1, 4, 1)
    found = loss.log_density(raw, np.ones((1, 1, 1), dtype=np.float32))
    expected = np.logaddexp(-0.5, -2.0) - np.log(2.0) - 0.5 * np.log(2.0 * np.pi)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_gradients_far_from_components_are_no_subnormal_numbers():
    """Products of those take a hundred times as long: some fits took twice the time."""
    loss = MixtureLoss(3, 1, NOISE_MODELS["diagonal"], 1e-6)
    raw, d_raw = np.zeros((2, 1, loss.n_outputs, 60), dtype=np.float32)
    raw[:, 3:6] = np.array([0.0, 1.0, 2.0], dtype=np.float32)[:, None]
    y = np.linspace(30.0, 60.0, 60, dtype=np.float32)[None, None]  # the first has e^-58 to e^-118
    loss.gradient(loss.split(raw), y, out=loss.split(d_raw))
    assert np.abs(d_raw[d_raw != 0]).min() > np.finfo(np.float32).tiny
    # All weight is on the last component, of variance 1 + reg_covar.
    np.testing.assert_allclose(d_raw[:, 5:6], 2.0 - y, rtol=1e-5)
