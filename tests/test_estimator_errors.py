"""Bad input: one clear line that names the argument, and the earlier fit intact."""

from __future__ import annotations

import copy
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.exceptions import NotFittedError

from skmdn import MDNRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore:X does not have valid feature names"),
    pytest.mark.filterwarnings("ignore:X has feature names, but"),
]

rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(30, 3)), columns=["a", "b", "c"])
y = X["a"].to_numpy() + rng.normal(size=30)
Y = np.column_stack([y, X["b"]])
ONES = np.ones(30)


def small(**parameters):
    defaults = {"n_components": 2, "n_estimators": 2, "max_iter": 3, "hidden_layer_sizes": (8,)}
    return MDNRegressor(**defaults | {"random_state": 0} | parameters)


def spoiled(table, value):
    table = np.array(table, dtype=object if isinstance(value, str) else float)
    table[(3, 1)[: table.ndim]] = value
    return table


@pytest.fixture(scope="module", params=[y, Y], ids=["one target", "two targets"])
def fitted(request):
    return small(validation_fraction=0.5).fit(X, request.param), request.param


def assert_refused(fitted, ask, argument):
    """``ask(model, y)`` raises one line that names the argument; the model stays as it was."""
    model, y = fitted
    before, attributes = model.predict(X), dict(vars(model))
    with pytest.raises((TypeError, ValueError)) as caught:
        ask(model, y)
    assert re.search(rf"\b{argument}\b", str(caught.value).partition("\n")[0])
    assert_array_equal(model.predict(X), before)
    assert vars(model).keys() == attributes.keys()
    assert list(getattr(model, "feature_names_in_", "abc")) == ["a", "b", "c"]
    for name, value in attributes.items():
        assert vars(model)[name] is value


BAD_X = {
    "NaN": lambda X: spoiled(X, np.nan),
    "infinity": lambda X: spoiled(X, -np.inf),
    "text": lambda X: spoiled(X, "seven"),
    "only text": lambda X: np.full(X.shape, "seven"),
    "text in a frame": lambda X: X.assign(a="seven"),
    "one axis": lambda X: X["a"].to_numpy(),
    "three axes": lambda X: X.to_numpy()[None],
    "a number": lambda X: 7.0,
    "no columns": lambda X: X.to_numpy()[:, :0],
    "complex": lambda X: X.to_numpy() + 1j,
    "no rows": lambda X: X.to_numpy()[:0],
    "infinities of both signs": lambda X: spoiled(spoiled(X, np.inf)[::-1], -np.inf),
    "sparse NaN": lambda X: sparse.csr_array(spoiled(X, np.nan)),
    "None": lambda X: None,
}
BAD_Y = {
    "NaN": lambda y: spoiled(y, np.nan),
    "infinity": lambda y: spoiled(y, np.inf),
    "text": lambda y: spoiled(y, "seven"),
    "only text": lambda y: np.full(y.shape, "seven"),
    "three axes": lambda y: y.reshape(1, 30, -1),
    "a number": lambda y: 7.0,
    "no columns": lambda y: np.empty((30, 0)),
    "complex": lambda y: y + 1j,
    "None": lambda y: None,
    "ragged": lambda y: [[1.0], [1.0, 2.0]] * 15,
    "sparse": lambda y: sparse.csr_array(y.reshape(30, -1)),
}
BAD_WEIGHTS = {
    "negative": spoiled(ONES, -1.0),
    "all zero": np.zeros(30),
    "NaN": spoiled(ONES, np.nan),
    "infinity": spoiled(ONES, np.inf),
    "too few": np.ones(29),
    "two axes": np.ones((30, 1)),
    "text": np.full(30, "seven"),
}
LEARN = {"fit": MDNRegressor.fit, "partial_fit": MDNRegressor.partial_fit}
ASK = {
    name: getattr(MDNRegressor, name)
    for name in (
        "predict",
        "predict_mixture",
        "predict_quantiles",
        "predict_interval",
        "predict_var",
        "predict_cov",
        "sample",
        "score_samples",
        "oof_mixture",
    )
}


@pytest.mark.parametrize("spoil", BAD_X.values(), ids=BAD_X)
@pytest.mark.parametrize("learn", LEARN.values(), ids=LEARN)
def test_learning_from_bad_X(fitted, learn, spoil):
    assert_refused(fitted, lambda model, y: learn(model, spoil(X), y), "X")


@pytest.mark.parametrize("spoil", BAD_X.values(), ids=BAD_X)
@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_asking_for_bad_X(fitted, ask, spoil):
    assert_refused(fitted, lambda model, y: ask(model, spoil(X)), "X")


@pytest.fixture(scope="module")
def fitted_on_arrays():
    return small(validation_fraction=0.5).fit(X.to_numpy(), y), y


@pytest.mark.parametrize("spoil", BAD_X.values(), ids=BAD_X)
def test_bad_X_where_features_have_no_names(fitted_on_arrays, spoil):
    # Arrays of floats take a shorter way past validation.
    for ask in ASK.values():
        assert_refused(fitted_on_arrays, lambda model, y, ask=ask: ask(model, spoil(X)), "X")
    with pytest.raises(ValueError, match=r"X has 2 features.* expecting 3"):
        fitted_on_arrays[0].predict(X.to_numpy()[:, :2])


@pytest.mark.parametrize(
    "kind",
    [np.ma.masked_array, lambda X: X.astype(">f4"), lambda X: X.astype(np.longdouble)],
    ids=["masked", "bytes swapped", "long"],
)
def test_other_arrays_of_floats_are_converted(fitted_on_arrays, kind):
    model, table = fitted_on_arrays[0], X.to_numpy().astype(np.float32)
    found = model._check_rows(kind(table))
    assert type(found) is np.ndarray
    assert found.dtype in (np.float32, np.float64)
    assert found.dtype.isnative
    assert_array_equal(found, table)
    assert model._check_rows(table) is table  # what needs no conversion


def test_finite_rows_whose_sum_is_not(fitted_on_arrays):
    model, _ = fitted_on_arrays
    assert_array_equal(model.predict(np.full((9, 3), 1e308)), model.predict(np.full((9, 3), 1e30)))


@pytest.mark.parametrize("spoil", BAD_Y.values(), ids=BAD_Y)
@pytest.mark.parametrize("learn", [*LEARN.values(), MDNRegressor.score], ids=[*LEARN, "score"])
def test_bad_y(fitted, learn, spoil):
    assert_refused(fitted, lambda model, y: learn(model, X, spoil(y)), "y")


@pytest.mark.parametrize("weights", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
@pytest.mark.parametrize("learn", [*LEARN.values(), MDNRegressor.score], ids=[*LEARN, "score"])
def test_bad_weights(fitted, learn, weights):
    assert_refused(fitted, lambda model, y: learn(model, X, y, weights), "sample_weight")


@pytest.mark.parametrize("n_rows", [0, 1])
@pytest.mark.parametrize("learn", LEARN.values(), ids=LEARN)
def test_too_few_rows(fitted, learn, n_rows):
    assert_refused(fitted, lambda model, y: learn(model, X[:n_rows], y[:n_rows]), "X")


def test_rows_that_do_not_match(fitted):
    for learn in (*LEARN.values(), MDNRegressor.score):
        with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[30, 29\]"):
            learn(fitted[0], X, fitted[1][:-1])


def test_targets_of_another_number(fitted):
    wide = np.zeros((30, 3))
    for learn in (MDNRegressor.partial_fit, MDNRegressor.score, MDNRegressor.score_samples):
        message = f"y has 3 targets, but MDNRegressor was fitted with {fitted[0].n_outputs_}"
        with pytest.raises(ValueError, match=message):
            learn(fitted[0], X, wide)


@pytest.mark.parametrize("other", [X[["a", "b"]], X.to_numpy()[:, :2]], ids=["named", "unnamed"])
def test_features_of_another_number(fitted, other):
    for ask in (*ASK.values(), lambda model, X: model.partial_fit(X, fitted[1])):
        with pytest.raises(ValueError, match=r"feature names|X has 2 features.* expecting 3"):
            ask(copy.deepcopy(fitted[0]), other)


@pytest.mark.parametrize("value", [0, 1, -0.1, 90, np.nan, "half", None])
def test_probabilities_outside_of_0_and_1(fitted, value):
    model = fitted[0]
    for ask, name in (
        (lambda: model.predict_quantiles(X, value), "quantiles"),
        (lambda: model.predict_quantiles(X, [0.5, value]), "quantiles"),
        (lambda: model.predict_interval(X, value), "coverage"),
    ):
        with pytest.raises(ValueError, match=rf"^{name} must .*{value}"):
            ask()
    if model.n_outputs_ == 1:
        with pytest.raises(ValueError, match=rf"^coverage must .*{value}"):
            model.predict_region(X, value)


def test_lists_where_one_number_belongs(fitted):
    model = fitted[0]
    with pytest.raises(ValueError, match=r"^coverage must be one number"):
        model.predict_interval(X, [0.5, 0.9])
    with pytest.raises(ValueError, match=r"^quantiles must be one number or a list"):
        model.predict_quantiles(X, [[0.5, 0.9]])


def test_a_region_of_several_targets(fitted):
    model, y = fitted
    if y.ndim == 2:
        with pytest.raises(ValueError, match="one target and this mixture has 2: ask marginal"):
            model.predict_region(X)


@pytest.mark.parametrize("value", [0, -1, 2.5, "many", True])
def test_numbers_of_draws(fitted, value):
    with pytest.raises(ValueError, match=f"^n_samples must be a positive integer; got {value!r}"):
        fitted[0].sample(X, value)


@pytest.mark.parametrize("value", [-1, 1.5, "chance"])
def test_states_of_chance(fitted, value):
    with pytest.raises((TypeError, ValueError), match=r"^random_state"):
        fitted[0].sample(X, random_state=value)
    with pytest.raises((TypeError, ValueError), match=r"^random_state"):
        fitted[0].predict_mixture(X).sample(random_state=value)


BAD_PARAMETERS = {
    "n_components": [0, -1, 1.5, "a", None],
    "noise_type": ["diag", None, 3],
    "fixed_noise_level": [0, -1.0, np.nan, np.inf, "a"],
    "hidden_layer_sizes": [(), (0,), (8, -1), (1.5,), "abc", 0, [[3]], None, (3, "a"), (True,)]
    + [["auto"], [[3], [4, 5]], np.array([[3], [4]])],
    "activation": ["gelu", None],
    "n_estimators": [0, 1.5, None, "many"],
    "point_estimate": ["max", None],
    "max_iter": [0, -1, 1.5],
    "batch_size": [0, "big", 1.5, None],
    "learning_rate_init": [0, -1.0, np.nan, np.inf, "a"],
    "alpha": [-1.0, np.nan, np.inf],
    "early_stopping": [None, "a"],
    "validation_fraction": [0, 1, 1.5, -0.1, np.nan],
    "n_iter_no_change": [0, 1.5],
    "tol": [-1.0, np.nan, np.inf],
    "reg_covar": [0, -1.0, np.nan, np.inf],
    "warm_start": ["a", None],
    "random_state": ["a", -1, 1.5],
    "verbose": ["a", None],
    "device": ["nonsense", 3, None, "cuda:99"],
}


def test_every_parameter_is_checked_here():
    assert BAD_PARAMETERS.keys() == MDNRegressor().get_params().keys()


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in BAD_PARAMETERS for value in BAD_PARAMETERS[name]]
)
def test_parameters_are_checked_by_fit(name, value):
    model = small().fit(X, y)
    before = model.predict(X)
    model.set_params(**{name: value})
    for learn in LEARN.values():
        with pytest.raises(ValueError, match=name) as caught:
            learn(model, X, y)
        assert "\n" not in str(caught.value)
    assert_array_equal(model.set_params(**{name: getattr(small(), name)}).predict(X), before)


def test_values_that_do_not_fit_the_data():
    for unit in (1e155, 1e160, 1e200, 1e300):
        with pytest.raises(ValueError, match=r"^y is too large"):
            small().fit(X, unit * y)
        with pytest.raises(ValueError, match=r"^y is too large"):
            small().fit(X, np.append(unit, y[1:]))
    model = small(warm_start=True).fit(X, y)
    before = model.predict(X)
    for learn in LEARN.values():
        with pytest.raises(ValueError, match=r"^y is more than 1e\+15 standard deviations from"):
            learn(model, X, np.append(1e20, y[1:]))
    assert_array_equal(model.predict(X), before)
    line = MDNRegressor(warm_start=True, n_estimators=5, max_iter=5, random_state=0)
    line.fit(X, np.asarray(X) @ [1.0, 2.0, 3.0])
    assert line.line_ is not None
    first = np.asarray(X)[:, 0]
    tied = small(warm_start=True).fit(X, np.column_stack([y, first, y + first]))
    for far in (1e155, 1e200, 1e308):
        targets = np.append(far, y[1:])
        with pytest.raises(ValueError, match=r"^y is more than 1e\+15 standard deviations from"):
            line.fit(X, targets)
        with pytest.raises(ValueError, match=r"^y is more than 1e\+15 standard deviations from"):
            tied.fit(X, np.column_stack([targets, -targets, targets]))
    with pytest.raises(ValueError, match=r"^y: Found input variables with inconsistent numbers"):
        small().fit(X, [])
    for unit in (1e-155, 1e-162, 1e-310):
        with pytest.raises(ValueError, match=r"^y is too small: it varies by \d.*e-\d+$"):
            small().fit(X, np.column_stack([y, unit * y]))
    for level in (1e-30, 1e30):
        with pytest.raises(ValueError, match=re.escape(f"fixed_noise_level is {level}")):
            small(noise_type="fixed", fixed_noise_level=level).fit(X, y)
    for told in ({"alpha": 100.0}, {"alpha": 1e6}, {"learning_rate_init": 50.0}):
        with pytest.raises(ValueError, match=r"^alpha times learning_rate_init is what"):
            small(**told).fit(X, y)
    assert np.isfinite(small(alpha=99.0).fit(X, y).predict(X)).all()
    # A parameter that is not used may be anything.
    small(fixed_noise_level=1e30).fit(X, 1e-30 * y)


def test_asking_before_fit():
    for ask in (*ASK.values(), lambda model, X: model.score(X, y), MDNRegressor.predict_atoms):
        for table in (X, X.to_numpy(), X.to_numpy()[:, :0]):
            with pytest.raises(NotFittedError, match="MDNRegressor instance is not fitted yet"):
                ask(small(), table)


def test_a_failed_first_fit_leaves_nothing():
    model = small()
    for learn in LEARN.values():
        with pytest.raises(ValueError, match="Input y contains NaN"):
            learn(model, X, y * np.nan)
    assert vars(model).keys() == model.get_params().keys()


def test_a_point_estimate_told_after_fit_is_looked_at():
    model = small().fit(X, y).set_params(point_estimate="average")
    for return_std in (False, True):
        message = "^point_estimate must be one of mean, median, mode; got 'average'$"
        with pytest.raises(ValueError, match=message):
            model.predict(X, return_std=return_std)


@pytest.mark.parametrize("n_features", [1, 3])
def test_out_of_fold_are_only_the_rows_that_fit_was_given_in_their_order(n_features):
    """Those of any other rows would be none, and prediction sets made of them hold too little."""
    X = np.random.default_rng(0).normal(size=(30, n_features))
    weights = np.where(np.arange(30) == 4, 0.0, 1.0)
    model = small(validation_fraction=0.5).fit(X, y, sample_weight=weights)
    assert len(model.oof_mixture(X.astype(np.float32))) == 30
    swapped = X.copy()
    swapped[[7, 9]] = X[[9, 7]]
    with pytest.raises(ValueError, match=r"in the same order; row 7 is another$"):
        model.oof_mixture(swapped)
    with pytest.raises(ValueError, match=r"in the same order; row 0 is another$"):
        model.calibrate(X[::-1], y[::-1], out_of_fold=True)


def test_out_of_fold_densities_that_there_are_not():
    with pytest.raises(ValueError, match="X has 7 rows, but fit was given 30"):
        small(validation_fraction=0.5).fit(X, y).oof_mixture(X[:7])
    for model in (small(early_stopping=False), small(validation_fraction=0.1)):
        with pytest.raises(
            ValueError, match="early_stopping=True and a validation_fraction of at least 1 / 2"
        ):
            model.fit(X, y).oof_mixture(X)
    with pytest.raises(ValueError, match="partial_fit holds no rows out"):
        small().partial_fit(X, y).oof_mixture(X)


@pytest.mark.parametrize("kind", ["datetime64[s]", "timedelta64[s]", "datetime64[s, UTC]"])
@pytest.mark.parametrize("in_frame", [False, True])
def test_dates_are_no_numbers(kind, in_frame):
    """Else NaT would be -9.2e18 of some unit, and another unit another number."""
    dates = pd.Series(range(20)).astype("datetime64[s]" if "UTC" in kind else kind)
    dates = dates.dt.tz_localize("UTC") if "UTC" in kind else dates
    numbers = pd.DataFrame({"a": np.arange(20.0)})
    for X, y, argument in (
        (numbers, dates.to_frame() if in_frame else dates, "y"),
        (numbers.assign(b=dates) if in_frame else dates.to_frame(), numbers["a"], "X"),
    ):
        with pytest.raises(ValueError, match=f"^{argument} must be numbers; got dates or durat"):
            MDNRegressor(n_estimators=1).fit(X, y)
    model = MDNRegressor(n_estimators=1, max_iter=1).fit(numbers, numbers["a"])
    with pytest.raises(ValueError, match=r"^X must be numbers"):
        model.predict(dates.rename("a").to_frame())


@pytest.mark.parametrize("kind", [pl.Date, pl.Datetime("us"), pl.Duration("ms"), pl.Time])
def test_nor_are_those_of_polars(kind):
    dates = pl.DataFrame({"a": range(20)}).with_columns(b=pl.col("a").cast(kind))
    for X, y, argument in ((dates["a", "b"], dates["a"], "X"), (dates[["a"]], dates["b"], "y")):
        with pytest.raises(ValueError, match=f"^{argument} must be numbers; got dates or durat"):
            MDNRegressor(n_estimators=1).fit(X, y)


def test_a_single_number_is_no_target():
    with pytest.raises(ValueError, match=r"^y must have one or two axes; got the single value 3"):
        small().fit(X, 3.0)
