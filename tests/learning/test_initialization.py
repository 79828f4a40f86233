"""Where components start: at the means of slabs of equal weight, equally likely, all alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skmdn.learning.atoms import Pins, StillComponents
from skmdn.learning.initialization import (
    refinement,
    slab_means,
    starting_head_bias,
    starting_parameters,
    starting_point,
)
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.network import Architecture, MixtureNetwork
from skmdn.learning.noise import NOISE_MODELS


def close(actual, expected, **tolerance):
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), **tolerance)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_slabs_of_one_target_are_between_its_quantiles():
    y = column(*range(12))[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    means = slab_means(y, torch.ones(12), 4)
    close(means[:, 0].sort().values, [1.0, 4.0, 7.0, 10.0])


def test_a_heavy_row_lies_in_several_slabs():
    # Weights 1/8, 1/8, 3/4 in four slabs of 1/4: the two light rows share one.
    means = slab_means(column(0.0, 1.0, 5.0), torch.tensor([1.0, 1.0, 6.0]), 4)
    close(means[:, 0].sort().values, [0.5, 5.0, 5.0, 5.0])


@given(
    rows=st.lists(
        st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.integers(1, 4)),
        min_size=1,
        max_size=12,
    ),
    n_components=st.integers(1, 15),
)
def test_slab_means_are_a_partition(rows, n_components):
    """Equally weighted they have the mean of all rows, and each lies among them."""
    table = torch.tensor(rows, dtype=torch.float64)
    y, weights = table[:, :2], table[:, 2]
    means = slab_means(y, weights, n_components)
    assert means.shape == (n_components, 2)
    close(means.mean(0), weights @ y / weights.sum(), rtol=1e-9, atol=1e-9)
    assert (means >= y.min(0).values - 1e-9).all()
    assert (means <= y.max(0).values + 1e-9).all()


def test_weights_are_repetitions():
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(9, 2, generator=generator, dtype=torch.float64)
    weights = torch.tensor([1, 2, 1, 3, 1, 1, 2, 1, 1])
    repeated = y.repeat_interleave(weights, dim=0)
    left, right = slab_means(y, weights, 3), slab_means(repeated, torch.ones(13), 3)
    close(left, right, rtol=1e-12, atol=1e-12)


def test_slabs_of_several_targets_lie_along_their_longest_axis():
    along = column(*torch.linspace(-1, 1, 100).tolist())
    across = 0.01 * torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    y = torch.cat([along + across, 2 * along - 0.5 * across], dim=1)
    means = slab_means(y, torch.ones(100), 5)
    order = means[:, 0].argsort()
    close(means[order, 0], [-0.8, -0.4, 0.0, 0.4, 0.8], atol=0.02, rtol=0)
    close(means[order, 1], [-1.6, -0.8, 0.0, 0.8, 1.6], atol=0.02, rtol=0)


def test_an_outlier_moves_one_mean():
    y = torch.arange(100.0)[:, None]
    spoiled = y.clone()
    spoiled[50] = 1e9
    near = slab_means(spoiled, torch.ones(100), 5)[:, 0].sort().values[:4]
    close(near, slab_means(y, torch.ones(100), 5)[:, 0].sort().values[:4], atol=1.0, rtol=0)


@pytest.mark.parametrize("n_rows", [1, 2, 5])
def test_constant_targets_and_more_components_than_rows(n_rows):
    means = slab_means(torch.full((n_rows, 2), 3.0), torch.ones(n_rows), 7)
    close(means, torch.full((7, 2), 3.0))


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("noise_type", NOISE_MODELS)
def test_the_head_starts_at_these_means_with_equal_weights(noise_type, n_targets):
    loss = MixtureLoss(4, n_targets, NOISE_MODELS[noise_type], 1e-2, fixed_variance=0.7)
    means = np.random.default_rng(0).normal(size=(4, n_targets))
    found = loss.parameters(starting_head_bias(loss, means, np.zeros(0))[None, :, None])
    np.testing.assert_allclose(found.weights, np.full((1, 1, 4), 0.25))
    np.testing.assert_array_equal(found.means[0, 0], means)
    sd = (0.25 + 1e-2 if loss.noise.learned else 0.7) ** 0.5
    np.testing.assert_allclose(found.sds, np.full((1, 1, 4, n_targets), sd))
    if found.factor is not None:
        expected = np.broadcast_to(sd * np.eye(n_targets), found.factor.shape)
        np.testing.assert_allclose(found.factor, expected)


LOSS = MixtureLoss(3, 2, NOISE_MODELS["full"], 1e-6)
ARCHITECTURE = Architecture(
    n_members=4,
    n_features=5,
    n_outputs=LOSS.n_outputs,
    hidden_layer_sizes=(32, 16),
    activation="silu",
)


def start(seed=0):
    table = torch.randn(50, 8, generator=torch.Generator().manual_seed(9))
    table[:, -1] = 1.0
    generator = torch.Generator().manual_seed(seed)
    return table, starting_point(ARCHITECTURE, LOSS, table, generator)


def test_every_row_starts_near_the_mixture_of_the_slabs():
    table, flat = start()
    y = table[:, 5:7]
    raw = MixtureNetwork(ARCHITECTURE, flat)(table[:, :5]).detach().numpy()
    bias = starting_head_bias(LOSS, slab_means(y, table[:, 7], 3).numpy(), np.zeros(0))
    away = raw - bias[None, :, None]
    assert away.std() < 0.5
    assert away.std() > 0.01


def test_members_differ_by_chance_alone():
    flat = start()[1]
    assert torch.equal(flat, start()[1])
    assert not torch.equal(flat, start(seed=1)[1])
    assert flat.isfinite().all()
    for name, part in ARCHITECTURE.views(flat).items():
        if name not in {"head_bias", "embedding_bias"}:
            assert len({tuple(member.flatten().tolist()) for member in part}) == 4, name


@pytest.mark.parametrize("sizes", [(256,), (256, 256, 256)])
@pytest.mark.parametrize("activation", ["silu", "relu", "tanh", "identity"])
def test_signals_keep_their_size(activation, sizes):
    """Outputs of the last hidden layer neither vanish nor explode with depth."""
    architecture = Architecture(
        n_members=2, n_features=20, n_outputs=7, hidden_layer_sizes=sizes, activation=activation
    )
    generator = torch.Generator().manual_seed(0)
    flat = starting_parameters(architecture, np.zeros(7), generator)
    rows = torch.randn(200, 20, generator=generator)
    outputs = MixtureNetwork(architecture, flat)(rows)
    assert 0.05 < outputs.std() < 1.0


@pytest.mark.parametrize(
    ("n_rows", "times"), [(2, 1), (2000, 1), (4500, 1.5), (8000, 2), (10**6, 2)]
)
def test_frequencies_are_higher_where_rows_are_many(n_rows, times):
    """Everything else starts as it does with few."""
    assert refinement(n_rows) == pytest.approx(times)

    def parts(refined):
        generator = torch.Generator().manual_seed(0)
        bias = np.zeros(LOSS.n_outputs)
        return ARCHITECTURE.views(starting_parameters(ARCHITECTURE, bias, generator, refined))

    plain, refined = parts(1.0), parts(times)
    torch.testing.assert_close(refined.pop("frequency"), times * plain.pop("frequency"))
    for name, part in refined.items():
        assert torch.equal(part, plain[name]), name


def test_components_at_open_atoms_start_where_their_rows_are():
    atoms = np.array([[5.0, np.nan], [np.nan, 5.0]])
    loss = MixtureLoss(
        5,
        2,
        NOISE_MODELS["full"],
        1e-6,
        still=StillComponents.at(np.array([[9.0, 9.0]]), 1e-6, np.full(2, 9.0)),
        pins=Pins.at(atoms, [2, 1], 2, coupled=True),
    )
    y = [[5.0, 1.0], [5.0, 2.0], [5.0, 6.0], [5.0, 7.0], [8.0, 5.0], [4.0, 5.0]]
    y = torch.tensor([*y, [0.0, 1.0], [2.0, 1.0], [9.0, 9.0], [9.0, 9.0]])
    table = torch.cat([torch.zeros(10, 1), y, torch.ones(10, 1)], dim=1)
    arch = Architecture(1, 1, loss.n_outputs, (4,), "silu")
    flat = starting_point(arch, loss, table, torch.Generator().manual_seed(0))
    bias = arch.views(flat)["layer_1"][0, :, -1]
    logits, means = bias[:7], bias[7:17].reshape(5, 2)
    close(logits[:-1].softmax(0), [0.1, 0.1, 0.2, 0.2, 0.2, 0.2], rtol=1e-5, atol=1e-6)
    expected = [[0.0, 1.0], [2.0, 1.0], [5.0, 1.5], [5.0, 6.5], [6.0, 5.0]]
    close(means[means[:, 0].argsort()], expected, rtol=1e-5, atol=1e-5)


def test_atoms_start_as_likely_as_their_rows_are_heavy():
    still = StillComponents.at(np.array([[0.0], [7.0]]), 1e-6, np.array([9.0]))
    loss = MixtureLoss(3, 1, NOISE_MODELS["diagonal"], 1e-6, still=still)
    y = torch.tensor([0.0, 0.0, 7.0, 1.0, 2.0, 3.0])
    weights = torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0, 1.0])
    table = torch.stack([torch.zeros(6), y, weights], dim=1)
    arch = Architecture(1, 1, loss.n_outputs, (4,), "silu")
    flat = starting_point(arch, loss, table, torch.Generator().manual_seed(0))
    bias = arch.views(flat)["layer_1"][0, :, -1]
    close(bias[:5].softmax(0), [4 / 30, 4 / 30, 4 / 30, 0.3, 0.3], rtol=1e-5, atol=1e-6)
    assert bias[5] < bias[0] - 4.0  # the widest is for what nobody saw
    close(bias[6:9].sort().values, [1.25, 2.0, 2.75], rtol=1e-5, atol=1e-5)  # of the rest alone
