"""Going on: blocks of rows, warm starts, held-out rows, what training reports."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skmdn import AutoregressiveMDNRegressor, MDNRegressor
from skmdn.learning import rows as learning_rows


def line(n, seed=0):
    """A line with noise of one unit; the last column is the density of the truth."""
    rng = np.random.default_rng(seed)
    X, noise = rng.normal(size=(n, 2)), rng.normal(size=n)
    return X, 2 * X[:, 0] + noise, stats.norm.logpdf(noise).mean()


def small(**parameters):
    defaults = {"n_components": 2, "n_estimators": 2, "max_iter": 20, "hidden_layer_sizes": (8,)}
    return MDNRegressor(**defaults | {"random_state": 0} | parameters)


def assert_same(left, right, X):
    for name in ("weights", "means", "covariances"):
        assert_array_equal(
            getattr(left.predict_mixture(X), name), getattr(right.predict_mixture(X), name)
        )


X, y, _ = line(80)


# --- blocks of rows ------------------------------------------------------------------------------


def test_blocks_reach_near_what_fit_reaches():
    rows, targets, _ = line(2000)
    fresh, its_targets, truth = line(2000, seed=1)
    model = small()
    for _ in range(10):
        for block in np.array_split(np.arange(2000), 4):
            model.partial_fit(rows[block], targets[block])
    assert model.n_iter_ == len(model.loss_curve_) == 40
    whole = small(max_iter=100).fit(rows, targets)
    assert whole.score(fresh, its_targets) > truth - 0.05
    assert model.score(fresh, its_targets) > truth - 0.1
    assert model.loss_curve_[-1] < model.loss_curve_[0] - 0.3


def test_the_first_block_decides_shapes_and_scales():
    model = small().partial_fit(X[:40], y[:40])
    assert model.n_features_in_ == 2
    with pytest.raises(ValueError, match="X has 1 features, but MDNRegressor is expecting 2"):
        model.partial_fit(X[:, :1], y)
    with pytest.raises(ValueError, match="y has 2 targets, but MDNRegressor was fitted with 1"):
        model.partial_fit(X, np.column_stack([y, y]))
    # Later blocks may lie elsewhere: they move the density, whatever their size.
    mean = model.predict(X[:1])
    for _ in range(60):
        model.partial_fit(X[:10], y[:10] + 5.0)
    assert model.predict(X[:1]) > mean + 1.0


def test_the_size_of_the_first_block_does_not_slow_couplings():
    rng = np.random.default_rng(0)
    rows, common = rng.normal(size=(1000, 2)), rng.normal(size=(1000, 1))
    targets = rows[:, :1] + 2 * common + rng.normal(size=(1000, 6))
    model = small(n_components=1, n_estimators=1)
    for _ in range(10):
        for block in np.array_split(np.arange(1000), 20):
            model.partial_fit(rows[block], targets[block])
    covariance = model.predict_cov(rows).mean(axis=0)
    assert_allclose(covariance[np.tril_indices(6, -1)], 4.0, atol=1.0)


def test_one_row_goes_on():
    """Two rows are the fewest to begin with, and so are they later: one line says so."""
    model = small().partial_fit(X, y)
    with pytest.raises(ValueError, match="minimum of 2"):
        model.partial_fit(X[:1], y[:1])
    assert model.n_iter_ == 1


def test_passes_go_on_from_fit_and_fit_from_passes():
    model = small(max_iter=60, validation_fraction=0.5).fit(X, y)
    fitted = model.score(X, y)
    model.partial_fit(X, y)
    assert abs(model.score(X, y) - fitted) < 0.3  # not started anew
    # All networks have now seen all rows, and nothing ended.
    for name in ("oof_score_", "best_validation_score_", "best_iter_", "stop_reason_"):
        assert not hasattr(model, name)
    with pytest.raises(ValueError, match="partial_fit holds no rows out"):
        model.oof_mixture(X)
    model.set_params(warm_start=True, max_iter=100).fit(X, y)
    fitted = model.score(X, y)
    model.partial_fit(X, y)
    assert abs(model.score(X, y) - fitted) < 0.3  # nor from the pass before
    assert_same(
        model.set_params(warm_start=False).fit(X, y),
        small(max_iter=100, validation_fraction=0.5).fit(X, y),
        X,
    )


def test_a_refused_call_moves_no_chance():
    left, right = small().partial_fit(X, y), small().partial_fit(X, y)
    for model, bad in ((left, {"n_estimators": 3}), (left, {"hidden_layer_sizes": (9,)})):
        good = model.get_params()
        with pytest.raises(ValueError, match="must stay the same"):
            model.set_params(**bad).partial_fit(X, y)
        with pytest.raises(ValueError, match="must stay the same"):
            model.set_params(warm_start=True).fit(X, y)
        model.set_params(**good)
    assert_same(left.partial_fit(X, y), right.partial_fit(X, y), X)


# --- warm starts ---------------------------------------------------------------------------------


def test_a_warm_start_goes_on():
    cold, warm = small(max_iter=60), small(max_iter=60, warm_start=True)
    assert_same(cold.fit(X, y), warm.fit(X, y), X)
    assert_same(cold.fit(X, y), warm, X)  # a cold one starts anew
    X_long, y_long = line(400)[0], np.sin(2 * line(400)[0][:, 0])
    start = warm.set_params(warm_start=False, max_iter=20).fit(X_long, y_long).oof_score_
    warm.set_params(warm_start=True, max_iter=1).fit(X_long, y_long)
    assert warm.oof_score_ > start - 0.1
    assert small(max_iter=1).fit(X_long, y_long).oof_score_ < start - 0.3


def test_a_warm_start_never_ends_worse_than_it_began():
    model = small(warm_start=True, max_iter=200, n_iter_no_change=1).fit(X, y)
    scores = [model.best_validation_score_]
    for _ in range(4):
        scores.append(model.fit(X, y).best_validation_score_)
    # The search for variance factors may begin elsewhere, so not to the last digit.
    assert min(np.diff(scores)) > -0.01


def test_a_warm_start_that_holds_nothing_out_has_no_scores_of_rows_held_out():
    model = small(warm_start=True).fit(X, y).set_params(early_stopping=False).fit(X, y)
    assert model.validation_scores_ == []
    assert not hasattr(model, "oof_score_")
    assert not hasattr(model, "best_validation_score_")


def test_a_warm_start_takes_up_what_may_change():
    model = small(warm_start=True).fit(X, y)
    coarse = model.set_params(reg_covar=1.0).fit(X, y)
    assert coarse.predict_mixture(X).covariances.min() >= np.var(y) * 0.999


@pytest.mark.parametrize(
    "change",
    [
        {"n_components": 3},
        {"noise_type": "fixed"},
        {"n_estimators": 3},
        {"hidden_layer_sizes": (9,)},
        {"activation": "tanh"},
        # As many outputs, but other ones: 4 + 8 + 8 = 5 + 10 + 5.
        {"n_components": 5, "noise_type": "isotropic"},
    ],
)
def test_a_warm_start_with_other_networks_is_refused(change):
    Y = np.column_stack([y, X[:, 1]])
    model = small(n_components=4, warm_start=True).fit(X, Y)
    before = model.predict(X)
    with pytest.raises(ValueError, match="n_components, noise_type, n_estimators"):
        model.set_params(**change).fit(X, Y)
    assert_array_equal(model.predict(X), before)


def test_a_warm_start_on_other_data_is_refused():
    model = small(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="y has 2 targets"):
        model.fit(X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="X has 1 features"):
        model.fit(X[:, :1], y)


@pytest.mark.parametrize(
    "change",
    [
        {"n_components": 5},
        {"n_estimators": 5},
        {"n_estimators": 1},
        {"noise_type": "full"},
        {"hidden_layer_sizes": (3, 3)},
        {"activation": "relu"},
        {"reg_covar": 0.5},
        {"fixed_noise_level": 9.0},
        {"early_stopping": False},
        {"validation_fraction": 0.2},
        {"random_state": 5},
    ],
)
def test_parameters_set_after_fit_change_no_answer(change):
    model = small(validation_fraction=0.5).fit(X, y)
    mixture, held_out = model.predict_mixture(X), model.oof_mixture(X)
    model.set_params(**change)
    assert_array_equal(model.predict_mixture(X).weights, mixture.weights)
    assert_array_equal(model.predict_mixture(X).covariances, mixture.covariances)
    assert_array_equal(model.oof_mixture(X).weights, held_out.weights)
    assert_allclose(mixture.weights.sum(axis=1), 1, rtol=1e-12)


# --- held-out rows -------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_estimators", "fraction"), [(2, 0.5), (4, 0.25), (5, 0.4)])
def test_out_of_fold_densities_weigh_the_networks_that_hold_the_row_out(n_estimators, fraction):
    model = small(n_estimators=n_estimators, validation_fraction=fraction, max_iter=40)
    mixture = model.fit(X, np.abs(y)).oof_mixture(X)
    n_holders = (mixture.weights > 0).sum(axis=1) / 2
    assert (n_holders >= 1).all()
    assert n_holders.mean() == pytest.approx(n_estimators * fraction, rel=0.05)
    assert_allclose(mixture.weights.sum(axis=1), 1, rtol=1e-12)
    everybody = model.predict_mixture(X)
    assert_array_equal(everybody.means, mixture.means)
    assert mixture.logpdf(np.abs(y)).mean() < everybody.logpdf(np.abs(y)).mean() + 0.02


@pytest.mark.parametrize("n_estimators", [5, 8, 16])
def test_networks_hold_out_every_row_and_a_quarter_of_them_twice(n_estimators):
    model = MDNRegressor(n_estimators=n_estimators, max_iter=1, random_state=0).fit(X, y)
    n_holders = (model.oof_mixture(X).weights > 0).sum(axis=1) / model.n_components_
    assert set(n_holders) == {1, 2}
    assert n_holders.mean() == pytest.approx(1.25, rel=0.15)  # rounded up


@pytest.mark.parametrize("n_estimators", [1, 4])
def test_few_networks_hold_out_a_tenth_each(n_estimators):
    told, auto = (
        MDNRegressor(n_estimators=n_estimators, max_iter=3, random_state=0, **given).fit(X, y)
        for given in ({"validation_fraction": 0.1}, {})
    )
    assert_array_equal(auto.predict(X), told.predict(X))
    with pytest.raises(ValueError, match="held out by some network"):
        auto.oof_mixture(X)


def test_held_out_scores_are_honest():
    """Where most is noise, training rows fit well, but held-out ones no better than new ones.

    They do so even a little worse: one network answers for each of them, four for the new ones.
    """
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2200, 6))
    y = X[:, 0] + rng.normal(size=2200)
    train, fresh = slice(200), slice(200, None)
    model = small(
        n_estimators=4,
        validation_fraction=0.25,
        hidden_layer_sizes=(64,),
        n_iter_no_change=50,
        max_iter=150,
    ).fit(X[train], y[train])
    held_out = model.oof_mixture(X[train]).logpdf(y[train]).mean()
    assert -0.35 < held_out - model.score(X[fresh], y[fresh]) < 0.08
    assert_allclose(held_out, model.oof_score_, atol=1e-3)
    assert model.score(X[train], y[train]) > held_out + 0.1


def test_without_early_stopping_nothing_is_held_out():
    model = small(early_stopping=False, max_iter=200).fit(X, y)
    assert model.validation_scores_ == []
    assert not hasattr(model, "oof_score_")
    assert not hasattr(model, "best_validation_score_")
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_without_early_stopping_batches_that_fit_by_chance_do_not_end_training():
    """What is judged is the rows, not the noise of single batches."""
    rows, targets, _ = line(2000)
    chosen = {"early_stopping": False, "batch_size": 16, "max_iter": 12}
    model = small(**chosen).fit(rows, targets)
    assert model.n_iter_ > 3
    assert model.score(rows, targets) > small(max_iter=12).fit(rows, targets).score(rows, targets)


@pytest.mark.parametrize("seed", [34, 35])
def test_few_clean_rows_are_learned_for_long(seed):
    """Scores of few rows are uneven; one that falls twice is not yet the end."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(1100, 3))
    targets = np.sin(2 * rows[:, 0]) * rows[:, 1]
    model = MDNRegressor(random_state=0).fit(rows[:100], targets[:100])
    assert model.score(rows[100:], targets[100:]) > 0.0


def test_levels_of_very_different_spread_are_learned_to_the_end():
    """Large steps throw out of the narrow ones: the step falls until small ones find them."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 6, 4000)
    at, spread = np.array([5, -2, 8, 3, 0, 1.0]), np.array([0.1, 2, 0.01, 0.3, 1, 0.03])
    level, at, spread = level[:, None], at[level], spread[level]
    targets = at + spread * rng.normal(size=at.shape)
    model = MDNRegressor(n_estimators=5, random_state=0).fit(level[:3000], targets[:3000])
    truth = stats.norm.logpdf(targets, at, spread)[3000:].mean()
    assert model.score(level[3000:], targets[3000:]) > truth - 0.05


def test_rows_of_hardly_any_weight_do_no_harm():
    weights = np.full(60, 1e-60)
    weights[::20] = 1.0
    model = MDNRegressor(random_state=0, max_iter=20, hidden_layer_sizes=(8,))
    model.fit(X[:60], y[:60], sample_weight=weights)
    assert np.isfinite([*model.validation_scores_, model.oof_score_]).all()
    assert np.isfinite(model.predict_var(X)).all()


def test_steps_are_counted_for_partial_fit_to_go_on_with():
    model = small(max_iter=300).fit(X, y)
    n_checks = len(model.loss_curve_)
    assert 50 * (n_checks - 1) < model._n_steps <= 50 * n_checks


def test_curves_and_counts_agree():
    model = small(max_iter=300).fit(X, y)
    assert len(model.loss_curve_) == len(model.validation_scores_) > 1
    assert 1 <= model.best_iter_ <= model.n_iter_ <= 300
    assert model.stop_reason_ in {"converged", "max_iter"}
    assert (model.n_iter_ == 300) or model.stop_reason_ == "converged"
    cut = small(max_iter=3).fit(X, y)
    assert (cut.n_iter_, cut.stop_reason_) == (3, "max_iter")
    # With a tolerance no score can beat, training ends as soon as it may.
    idle = small(max_iter=3000, tol=100.0, n_iter_no_change=1).fit(X, y)
    assert idle.stop_reason_ == "converged"
    assert idle.n_iter_ < 300


def test_the_best_weights_are_kept():
    """What is judged on held-out rows is what predicts."""
    model = small(n_estimators=2, validation_fraction=0.5, max_iter=400, alpha=0.0).fit(X, y)
    assert model.best_iter_ < model.n_iter_
    assert_allclose(model.oof_mixture(X).logpdf(y).mean(), model.oof_score_, rtol=1e-5)
    # No row is held out by both, so they are judged apart; the search for factors then goes on.
    assert_allclose(model.oof_score_, model.best_validation_score_, atol=0.02)


def test_networks_together_are_foretold_by_pairs_of_them():
    """The score by which training is judged is that of the mixture on rows nobody saw."""
    rng = np.random.default_rng(3)
    rows = rng.uniform(-1, 1, size=(1500, 3))
    targets = np.sin(4 * rows[:, 0]) * rows[:, 1] + 0.1 * rng.normal(size=1500)
    model = MDNRegressor(n_estimators=8, validation_fraction=0.25, random_state=0)
    model.fit(rows[:500], targets[:500])
    reached = model.score(rows[500:], targets[500:])
    assert reached > model.oof_score_ + 0.05
    assert_allclose(model.best_validation_score_, reached, atol=0.1)


def test_progress_is_printed(capsys):
    model = small(verbose=True, max_iter=50).fit(X, np.abs(y))
    first, *lines = capsys.readouterr().out.splitlines()
    told = f"2 networks, hidden layers (8,), weight decay {model.alpha_:.3g}"
    assert first == f"[MDNRegressor] {told}"
    assert len(lines) == len(model.validation_scores_)
    assert all("held-out log-likelihood" in line for line in lines)
    last = model.validation_scores_[-1]
    assert lines[-1].startswith(f"[MDNRegressor] iteration {model.n_iter_}:")
    assert f"{last:.4f} (best {model.best_validation_score_:.4f})" in lines[-1]
    small(verbose=1, max_iter=50, early_stopping=False).fit(X, y)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "[MDNRegressor] 2 networks, hidden layers (8,), weight decay 0.02"
    assert lines
    assert all("training log-likelihood" in line for line in lines)
    small(max_iter=50).fit(X, y)
    assert capsys.readouterr() == ("", "")


# --- quality that any fit must have --------------------------------------------------------------


@pytest.mark.parametrize("n_estimators", [1, 2, 5, 16])
def test_any_number_of_networks_finds_the_truth_of_a_line(n_estimators):
    """Neither too wide nor, since averaging is thought to widen, too narrow."""
    X, y, _ = line(600)
    fresh, its_targets, truth = line(2000, seed=1)
    model = small(n_estimators=n_estimators, max_iter=60, hidden_layer_sizes=(16,)).fit(X, y)
    # One network alone may be led on by the luck of its few held-out rows.
    assert model.score(fresh, its_targets) > truth - (0.4 if n_estimators == 1 else 0.1)
    inside = model.predict_interval(fresh, 0.9)
    covered = ((inside[:, 0] < its_targets) & (its_targets < inside[:, 1])).mean()
    assert covered == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("activation", ["silu", "relu", "tanh", "logistic", "identity"])
def test_every_activation_learns(activation):
    X, y, truth = line(400)
    model = small(activation=activation, max_iter=60).fit(X, y)
    assert model.score(X, y) > truth - 0.1
    assert stats.norm.logpdf(y, y.mean(), y.std()).mean() < truth - 0.7


def test_without_a_seed_every_fit_is_another():
    first, second = small(random_state=None, max_iter=2), small(random_state=None, max_iter=2)
    assert (first.fit(X, y).predict(X) != second.fit(X, y).predict(X)).any()
    shared = np.random.RandomState(0)
    first.set_params(random_state=shared).fit(X, y)
    second.set_params(random_state=shared).fit(X, y)
    assert (first.predict(X) != second.predict(X)).any()
    assert_same(first, small(random_state=np.random.RandomState(0), max_iter=2).fit(X, y), X)


# --- groups ----------------------------------------------------------------------------------


def patients(n_patients, n_visits, seed):
    """Visits of patients whose level is theirs alone, and little else that features tell."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(n_patients, 3))
    level = np.sin(own[:, 0]) + rng.normal(size=n_patients)
    patient = np.repeat(np.arange(n_patients), n_visits)
    x = rng.normal(size=len(patient))
    y = level[patient] + 0.5 * x + 0.2 * rng.normal(size=len(patient))
    return np.column_stack([own[patient], x]), y, patient


def test_groups_are_held_out_whole_and_learned_for_new_ones():
    X, y, patient = patients(80, 6, seed=0)
    X_new, y_new, _ = patients(500, 2, seed=1)
    alone = MDNRegressor(n_estimators=5, random_state=0).fit(X, y)
    names = np.array([f"patient {k}" for k in patient])
    model = MDNRegressor(n_estimators=5, random_state=0).fit(X, y, groups=names)
    assert model.score(X_new, y_new) > alone.score(X_new, y_new) + 0.3
    assert model.best_validation_score_ < alone.best_validation_score_ - 0.5
    holders = model._holders(X)
    for of_network in holders.T:
        shares = np.bincount(patient, of_network) / 6
        assert ((shares > 0.0) & (shares < 1.0)).sum() <= 2  # those at the ends


def test_groups_are_all_sampled_where_rows_are_many(monkeypatch):
    """Features, units and atoms are read off some of the rows, which are of every group."""
    monkeypatch.setattr(learning_rows, "MOST_SAMPLED", 200)
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 250)
    X = 10.0 * group[:, None] + rng.uniform(0.0, 10.0, size=(1000, 1))
    model = MDNRegressor(n_estimators=1, max_iter=1, random_state=0)
    model.fit(X, np.sin(X[:, 0]), groups=group)
    lowest, highest = (model._features.knots[0][0][k] for k in (0, -1))
    assert lowest < 1.0
    assert highest > 39.0


def test_rows_that_are_each_a_group_are_rows():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, size=(600, 1))
    noisy = np.sin(2.0 * x[:, 0]) + 0.2 * rng.normal(size=600)
    alone = MDNRegressor(n_estimators=5, random_state=0).fit(x, noisy)
    each = MDNRegressor(n_estimators=5, random_state=0).fit(x, noisy, groups=range(600))
    assert abs(each.best_validation_score_ - alone.best_validation_score_) < 0.1
    X, y, _ = patients(30, 2, seed=0)
    model = MDNRegressor(n_estimators=2, max_iter=2, random_state=0).fit(X, y, groups=range(60))
    again = MDNRegressor(n_estimators=2, max_iter=2, random_state=0).fit(X, y, groups=range(60))
    assert_array_equal(model.predict(X), again.predict(X))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1, 2], "groups has 2 labels for 60 rows"),
        (np.zeros((60, 2)), r"^groups must be one label a row; got an array of shape \(60, 2\)$"),
        (np.array(["a", 1] * 30, dtype=object), "groups: "),
    ],
)
def test_groups_that_are_none(groups, message):
    X, y, _ = patients(30, 2, seed=0)
    with pytest.raises((TypeError, ValueError), match=message):
        MDNRegressor(n_estimators=2).fit(X, y, groups=groups)


def test_groups_reach_the_last_step_of_a_pipeline_and_every_factor_of_a_chain():
    X, y, patient = patients(30, 4, seed=0)
    model = MDNRegressor(n_estimators=2, max_iter=3, random_state=0)
    expected = clone(model).fit(X, y, groups=patient).predict(X)
    pipeline = make_pipeline("passthrough", clone(model)).fit(X, y, mdnregressor__groups=patient)
    assert_array_equal(pipeline.predict(X), expected)
    chain = AutoregressiveMDNRegressor(clone(model), random_state=0)
    chain.fit(X, np.column_stack([y, y**2]), groups=patient)
    for estimator in chain.estimators_:
        held_out = estimator._held_out
        first = np.empty(len(held_out.marks), int)
        first[held_out.positions] = np.arange(len(patient))
        assert len(np.flatnonzero(np.diff(patient[first]))) == 29
