"""The closed-form gradient against autograd, in float64, for every noise type and activation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from skmdn.learning import network as network_module
from skmdn.learning.atoms import Pins, StillComponents
from skmdn.learning.curve import JohnsonCurve
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.network import ACTIVATIONS, Architecture, ClosedForm, MixtureNetwork
from skmdn.learning.noise import NOISE_MODELS
from skmdn.learning.rounding import Rounding


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def draw(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def architecture(n_outputs, activation="silu", hidden=(7, 6), n_plain=0):
    return Architecture(
        n_members=2,
        n_features=3,
        n_outputs=n_outputs,
        hidden_layer_sizes=hidden,
        activation=activation,
        n_plain=n_plain,
        n_frequencies=5,
        embedding_size=2,
        frequency_scale=2.0,
    )


def check_gradient(loss, generator):
    """In NumPy and in torch."""
    raw = draw(generator, 2, loss.n_outputs, 9).requires_grad_()
    y = draw(generator, 2, loss.n_targets, 9)
    nll = -loss.like(raw).log_density(raw, y)[0]
    (expected,) = torch.autograd.grad(nll.sum(), raw)
    for kind in (torch.as_tensor, np.asarray):
        at, targets, actual = (kind(part.detach()) for part in (raw, y, raw * torch.nan))
        ours = loss.like(at)
        found = ours.gradient(ours.split(at), targets, out=ours.split(actual))
        assert type(found) is type(at)
        np.testing.assert_allclose(found, nll.detach(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n_targets", [1, 2, 3])
@pytest.mark.parametrize("noise_type", NOISE_MODELS)
def test_loss_gradient_is_autograds(noise_type, n_targets, generator):
    loss = MixtureLoss(4, n_targets, NOISE_MODELS[noise_type], 1e-2, fixed_variance=0.3)
    check_gradient(loss, generator)


@pytest.mark.parametrize("units", [[0.3, 0.3, 0.3], [0.3, 0.0, 0.0]], ids=["all", "one"])
def test_loss_gradient_by_couplings_in_units_is_autograds(units, generator):
    units = np.array(units)[:, None]
    loss = MixtureLoss(4, 3, NOISE_MODELS["full"], 1e-2, coupling_units=units)
    check_gradient(loss, generator)


@pytest.mark.parametrize("kind", ["NumPy", "torch"])
@pytest.mark.parametrize(("hidden", "n_plain"), [((7,), 0), ((7, 6), 1), ((5, 4, 3), 3)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_network_gradient_is_autograds(activation, hidden, n_plain, kind, generator, monkeypatch):
    as_array = torch.Tensor.numpy if kind == "NumPy" else lambda tensor: tensor  # as on a GPU
    monkeypatch.setattr(network_module, "as_array", as_array)
    arch = architecture(n_outputs=4, activation=activation, hidden=hidden, n_plain=n_plain)
    flat = draw(generator, arch.n_parameters)
    x, d_raw = draw(generator, 2, 8, 3), draw(generator, 2, 4, 8)
    network = MixtureNetwork(arch, flat)
    raw = network(x)
    expected = torch.autograd.grad((raw * d_raw).sum(), list(network.parameters()))

    gradient = torch.full_like(flat, torch.nan)
    closed_form = ClosedForm(arch, arch.views(flat), arch.views(gradient), n_rows=8)
    torch.testing.assert_close(closed_form.forward(x), raw.detach(), rtol=1e-12, atol=1e-12)
    closed_form.d_raw.copy_(d_raw)
    closed_form.backward()
    expected = torch.cat([part.flatten() for part in expected])
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("noise_type", ["full", "diagonal"])
def test_loss_gradient_with_a_link_is_autograds(noise_type, n_targets, generator):
    skewed = draw(generator, 50, n_targets).exp().numpy()
    curve = JohnsonCurve.fit(skewed, np.ones(50))
    loss = MixtureLoss(4, n_targets, NOISE_MODELS[noise_type], 1e-2, curve=curve)
    check_gradient(loss, generator)


@pytest.mark.parametrize("n_targets", [1, 2])
@pytest.mark.parametrize("noise_type", ["full", "isotropic", "isotropic_across_components"])
def test_loss_gradient_with_atoms_is_autograds(noise_type, n_targets, generator):
    still = StillComponents.at(
        draw(generator, 2, n_targets).numpy(),
        np.geomspace(1e-2, 2e-2, n_targets),
        np.full(n_targets, 9.0),
    )
    loss = MixtureLoss(3, n_targets, NOISE_MODELS[noise_type], 1e-2, still=still)
    assert loss.n_outputs == 3 + MixtureLoss(3, n_targets, loss.noise, 1e-2).n_outputs
    check_gradient(loss, generator)


@pytest.mark.parametrize("curved", [False, True], ids=["straight", "curved"])
@pytest.mark.parametrize("noise_type", ["full", "diagonal"])
def test_loss_gradient_with_open_atoms_is_autograds(noise_type, curved, generator):
    """What is pinned has none."""
    noise, nan = NOISE_MODELS[noise_type], np.nan
    still = StillComponents.at(np.ones((1, 3)), 1e-2, np.array([9.0, 4.0, 25.0]))
    pins = Pins.at(np.array([[0.3, nan, nan], [nan, -0.2, 0.9]]), [2, 1], 1, noise.coupled)
    curve = JohnsonCurve.fit(draw(generator, 50, 3).exp().numpy(), np.ones(50)) if curved else None
    loss = MixtureLoss(4, 3, noise, 1e-2, curve=curve, still=still, pins=pins)
    assert loss.sizes[:3] == (6, 12, 12)
    assert_array_equal(loss.atoms, [[0.3, nan, nan], [nan, -0.2, 0.9], [1.0, 1.0, 1.0]])
    check_gradient(loss, generator)


@pytest.mark.parametrize("pinned", [False, True], ids=["", "pinned"])
@pytest.mark.parametrize("curved", [False, True], ids=["straight", "curved"])
@pytest.mark.parametrize("noise_type", ["full", "diagonal"])
def test_loss_gradient_of_targets_on_grids_is_autograds(noise_type, curved, pinned, generator):
    noise, nan = NOISE_MODELS[noise_type], np.nan
    grids = [np.array([-1.0, 0.0, 0.5, 1.0]), np.zeros(0), np.array([-0.4, 0.6])]
    counts = [np.array([3.0, 5.0, 0.0, 2.0]), np.zeros(0), np.array([5.0, 5.0])]
    loss = MixtureLoss(
        4,
        3,
        noise,
        np.array([[0.01], [0.02], [0.03]]),
        curve=JohnsonCurve.fit(draw(generator, 50, 3).exp().numpy(), np.ones(50))
        if curved
        else None,
        still=StillComponents.at(np.zeros((0, 3)), 1e-2, np.array([9.0, 4.0, 25.0])),
        pins=Pins.at(np.array([[nan, 0.3, nan]]), [2], 2, noise.coupled) if pinned else None,
        rounding=Rounding.to(grids, counts),
        coupling_units=np.zeros((3 * noise.coupled, 1)),
    )
    check_gradient(loss, generator)


def test_gradient_is_finite_far_from_every_component():
    loss = MixtureLoss(3, 1, NOISE_MODELS["diagonal"], 1e-6)
    raw = np.zeros((1, loss.n_outputs, 2), dtype=np.float32)
    raw[:, 6:] = -30.0
    out, y = np.empty_like(raw), np.array([[[1e3, -1e3]]], dtype=np.float32)
    nll = loss.gradient(loss.split(raw), y, loss.split(out))
    assert nll.dtype == np.float32
    assert np.isfinite(nll).all()
    assert np.isfinite(out).all()
