"""How large networks are, how many, and of how many components, where that is not told."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skmdn import MDNRegressor
from skmdn.learning.noise import NOISE_MODELS
from skmdn.learning.sizes import usual_components, usual_layers, usual_members


@pytest.mark.parametrize(
    ("n_rows", "n_targets", "width", "depth"),
    [
        (1, 1, 24, 2),
        (368, 1, 24, 2),
        (369, 1, 32, 2),
        (1000, 1, 40, 2),
        (1353, 1, 48, 2),
        (1999, 1, 48, 2),
        (2000, 1, 48, 3),
        (float("inf"), 1, 48, 3),
        (9000, 3, 48, 3),
        (9000, 4, 56, 3),
        (9000, 8, 80, 3),
        (1000, 8, 40, 2),
        (2000, 8, 56, 3),
        (float("inf"), 16, 112, 3),
    ],
)
def test_few_rows_get_narrow_networks_and_many_deep_ones(n_rows, n_targets, width, depth):
    assert usual_layers(n_rows, n_targets) == (width,) * depth


def test_widths_follow_the_distinct_rows_and_are_kept_where_training_goes_on():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1000, 1)), rng.normal(size=1000)
    model = MDNRegressor(n_estimators=1, max_iter=1, warm_start=True, random_state=0)
    few, thrice = slice(400), np.tile(np.arange(400), 3)
    assert model.fit(X[thrice], y[thrice]).hidden_layer_sizes_ == (32, 32)
    assert model.network_.architecture.hidden_layer_sizes == (32, 32)
    assert model.fit(X, y).hidden_layer_sizes_ == (32, 32)
    assert model.partial_fit(X, y).hidden_layer_sizes_ == (32, 32)
    with pytest.raises(ValueError, match="hidden_layer_sizes and activation must stay the same"):
        model.set_params(hidden_layer_sizes=(64, 64)).fit(X, y)
    assert model.set_params(warm_start=False).fit(X, y).hidden_layer_sizes_ == (64, 64)
    assert model.set_params(hidden_layer_sizes="auto").fit(X, y).hidden_layer_sizes_ == (40, 40)
    assert model.set_params(hidden_layer_sizes=7).fit(X, y).hidden_layer_sizes_ == (7,)
    # The rows of a first block do not tell how many there will be.
    fresh = MDNRegressor(n_estimators=1, random_state=0)
    assert fresh.partial_fit(X[few], y[few]).hidden_layer_sizes_ == (48, 48, 48)
    several = MDNRegressor(n_estimators=1, random_state=0)
    assert several.partial_fit(X, rng.normal(size=(1000, 4))).hidden_layer_sizes_ == (56, 56, 56)


def test_work_beyond_minutes_is_shared_by_fewer_networks():
    assert usual_members(50, 10_000) == usual_members(45_000, 9_000) == 16
    assert usual_members(math.inf, 10_000) == usual_members(1e7, 10_000) == 5
    assert usual_members(10_000, 270_000) == 10


@pytest.mark.parametrize(
    ("n_rows", "n_targets", "noise_type", "n_components"),
    [
        (50, 1, "full", 5),
        (math.inf, 1, "full", 5),
        (math.inf, 2, "full", 12),
        (math.inf, 3, "full", 12),
        (math.inf, 5, "full", 11),  # a component takes 1 + 5 + 5 + 10 outputs of 240
        (math.inf, 8, "full", 5),
        (math.inf, 8, "diagonal", 12),
        (math.inf, 16, "isotropic_across_components", 12),
        (math.inf, 16, "diagonal", 7),
        (math.inf, 16, "full", 5),
        (30, 3, "full", 3),
        (119, 3, "full", 3),
        (120, 3, "full", 4),
        (179, 3, "full", 5),
        (1000, 12, "full", 3),
        (180, 3, "full", 6),
        (360, 3, "full", 12),
        (360, 3, "fixed", 12),
    ],
)
def test_several_targets_have_as_many_components_as_rows_suffice_for(
    n_rows, n_targets, noise_type, n_components
):
    assert usual_components(n_rows, n_targets, NOISE_MODELS[noise_type]) == n_components


def test_components_follow_the_distinct_rows_and_are_kept_where_training_goes_on():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(180, 1)), rng.normal(size=(180, 3))
    model = MDNRegressor(n_estimators=2, max_iter=1, warm_start=True, random_state=0)
    few = slice(100)
    assert model.fit(X[few], y[few]).n_components_ == 3
    assert model.predict_mixture(X).n_components == 2 * 3
    assert model.fit(X, y).n_components_ == 3
    assert model.partial_fit(X, y).n_components_ == 3
    with pytest.raises(ValueError, match="so n_components, noise_type"):
        model.set_params(n_components=6).fit(X, y)
    model.set_params(n_components="auto", warm_start=False)
    assert model.fit(X, y).n_components_ == 6
    assert model.predict_mixture(X).n_components == 2 * 6
    assert model.fit(np.tile(X[few], (3, 1)), np.tile(y[few], (3, 1))).n_components_ == 3
    assert model.set_params(n_components=2).fit(X, y).n_components_ == 2
    # The rows of a first block do not tell how many there will be.
    assert MDNRegressor(n_estimators=1).partial_fit(X[few], y[few]).n_components_ == 12
