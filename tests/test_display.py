"""What the pictures show: the numbers in their artists against those of metrics and mixtures."""

from __future__ import annotations

import re
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib import pyplot as plt
from scipy import sparse, stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmdn import MDNRegressor, NormalMixture
from skmdn.display import (
    ConditionalDensityDisplay,
    CoverageDisplay,
    IntervalDisplay,
    PITDisplay,
)
from skmdn.display.conditional import CELLS, TAIL
from skmdn.metrics import interval_coverage, pit_values

mpl.use("Agg")

DISPLAYS = [ConditionalDensityDisplay, CoverageDisplay, IntervalDisplay, PITDisplay]
ROW_DISPLAYS = pytest.mark.parametrize("display_class", DISPLAYS)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def two_arms(x):
    """y = ±(1 + x) with a weight that moves: unequal arms, unequal scales."""
    weights = np.stack([0.3 + 0.2 * x, 0.7 - 0.2 * x], axis=1)
    means = np.stack([-1 - x, 1 + x], axis=1)
    return NormalMixture(weights, means, np.tile([0.01, 0.04], (len(x), 1)))


def random_rows(rng, n=60, n_targets=None):
    means = rng.normal(size=(n, 3) if n_targets is None else (n, 3, n_targets))
    weights = rng.dirichlet(np.ones(3), n)
    if n_targets is None:
        mixture = NormalMixture(weights, means, rng.uniform(0.1, 2.0, (n, 3)))
    else:
        factors = rng.normal(size=(n, 3, n_targets, n_targets))
        covariances = factors @ factors.swapaxes(-1, -2) + 0.1 * np.eye(n_targets)
        mixture = NormalMixture(weights, means, covariances)
    return mixture, mixture.sample(random_state=1)


class Lookup:
    """An estimator whose mixture depends on the columns' sum."""

    def fit(self, X, y):
        return self

    def predict_mixture(self, X):
        X = X.toarray() if sparse.issparse(X) else X
        return two_arms(np.asarray(X, dtype=float).sum(axis=1))


# --- conditional densities -----------------------------------------------------------------------


def test_density_map_holds_the_mean_density_of_each_cell(rng):
    x = np.linspace(0, 1, 12)
    mixture = two_arms(x)
    display = ConditionalDensityDisplay.from_predictions(
        mixture.sample(random_state=0), mixture, x=x
    )
    edges = display.shades_.get_coordinates()[:, 0, 1]
    shown = np.asarray(display.shades_.get_array()).reshape(len(edges) - 1, len(x))
    expected = np.diff(mixture.cdf(np.repeat(edges[:, None], len(x), axis=1)), axis=0)
    np.testing.assert_allclose(shown * np.diff(edges)[:, None], expected, atol=1e-9)
    assert (shown.sum(axis=0) * np.diff(edges)[0] >= 1 - 2 * TAIL - 1e-9).all()
    np.testing.assert_allclose(display.shades_.get_coordinates()[0, 1:-1, 0], (x[1:] + x[:-1]) / 2)
    assert display.shades_.get_clim() == (shown.min(), shown.max())


def test_a_peak_far_narrower_than_a_cell_is_seen():
    spread, spike = [[0.5, 0.5]] * 2, [[0.3, 100.0]] * 2
    mixture = NormalMixture(spread, spike, [[1e-18, 1.0]] * 2)
    display = ConditionalDensityDisplay.from_predictions([0.3, 100.0], mixture, x=[0.0, 1.0])
    height = np.diff(display.shades_.get_coordinates()[:2, 0, 1])[0]
    assert display.shades_.get_array().max() * height == pytest.approx(0.5 - TAIL, abs=1e-6)


def test_intervals_and_median_are_the_mixtures(rng):
    mixture, y = random_rows(rng)
    x = rng.permutation(60) / 10
    display = ConditionalDensityDisplay.from_predictions(
        y, mixture, x=x, kind="interval", coverage=(0.8, 0.2, 0.8)
    )
    order = x.argsort()
    assert len(display.shades_) == 2
    for shade, coverage in zip(display.shades_, (0.8, 0.2), strict=True):
        lower, upper = mixture[order].interval(coverage)
        vertices = shade.get_paths()[0].vertices
        np.testing.assert_allclose(vertices[1:61], np.stack([x[order], lower], axis=1))
        np.testing.assert_allclose(vertices[62:122][::-1], np.stack([x[order], upper], axis=1))
    np.testing.assert_array_equal(display.line_.get_xdata(), x[order])
    np.testing.assert_allclose(display.line_.get_ydata(), mixture[order].median())
    np.testing.assert_array_equal(display.scatter_.get_offsets(), np.stack([x, y], axis=1))


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_filled_regions_are_the_mixtures_highest_density_regions(coverage):
    x = np.linspace(0, 1, 40)
    mixture = two_arms(x)
    display = ConditionalDensityDisplay.from_predictions(
        mixture.sample(random_state=0), mixture, x=x, kind="region", coverage=[0.5, 0.9]
    )
    paths = display.shades_.get_paths()[: 1 if coverage == 0.5 else 2]
    miss = np.ptp(display.ax_.dataLim.intervaly) / CELLS / 2  # half a cell
    for row in range(2, 38):
        ends = mixture[row].region(coverage).intervals.ravel()
        ends = ends[np.isfinite(ends)]
        for y, outward in zip(ends, np.resize([-miss, miss], len(ends)), strict=True):
            assert not is_filled(paths, x[row], y + outward)
            assert is_filled(paths, x[row], y - outward)


def is_filled(paths, x, y):
    return any(path.contains_point((x, y)) for path in paths)


def test_what_holds_less_is_darker_and_the_legend_agrees():
    mixture = two_arms(np.linspace(0, 1, 5))
    y = mixture.mean()
    region = ConditionalDensityDisplay.from_predictions(y, mixture, kind="region", cmap="gray_r")
    bands = ConditionalDensityDisplay.from_predictions(y, mixture, kind="interval", cmap="gray_r")
    dark, pale = region.shades_.get_facecolor()
    assert dark[0] < pale[0]
    assert [shade.get_facecolor()[0, 0] for shade in bands.shades_] == [pale[0], dark[0]]
    patches = region.ax_.get_legend().get_patches()
    assert [patch.get_facecolor()[0] for patch in patches] == [pale[0], dark[0]]


def test_neighbours_are_averaged(rng):
    mixture, y = random_rows(rng, n=9)
    x = rng.permutation(9).astype(float)
    display = ConditionalDensityDisplay.from_predictions(
        y, mixture, x=x, kind="interval", n_neighbors=3
    )
    order = x.argsort()
    windows = [[0, 1, 2], *([i - 1, i, i + 1] for i in range(1, 8)), [6, 7, 8]]
    for value, window in zip(display.line_.get_ydata(), windows, strict=True):
        cdf = mixture[order[window]].cdf(np.full(3, value))
        assert cdf.mean() == pytest.approx(0.5, abs=1e-10)


def test_rows_at_the_same_x_are_drawn_once_and_averaged_among_themselves(rng):
    mixture, y = random_rows(rng, n=10)
    x = np.array([0, 1] * 5)
    display = ConditionalDensityDisplay.from_predictions(
        y, mixture, x=x, kind="interval", n_neighbors=5, subsample=4
    )
    np.testing.assert_array_equal(display.line_.get_xdata(), [0, 1])
    for at, median in display.line_.get_xydata():
        cdf = mixture[x == at].cdf(np.full(5, median))
        assert cdf.mean() == pytest.approx(0.5, abs=1e-10)


def test_subsample_bounds_the_densities_but_hides_no_point(rng):
    mixture, y = random_rows(rng)
    display = ConditionalDensityDisplay.from_predictions(
        y, mixture, kind="interval", subsample=7, n_neighbors=100
    )
    np.testing.assert_array_equal(display.line_.get_xdata()[[0, -1]], [0, 59])
    assert len(display.line_.get_xdata()) == 7
    assert len(display.scatter_.get_offsets()) == 60
    assert np.ptp(display.line_.get_ydata()) == pytest.approx(0, abs=1e-9)  # all rows in each


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (np.asarray, "feature 1"),
        (list, "feature 1"),
        (pd.DataFrame, "feature 1"),
        (lambda X: pd.DataFrame(X, columns=["age", "dose"]), "dose"),
        (pl.DataFrame, "column_1"),
        (sparse.csr_array, "feature 1"),
    ],
    ids=["array", "list", "frame", "named frame", "polars", "sparse"],
)
def test_a_feature_is_chosen_by_position_from_whatever_holds_it(make, name, rng):
    X = rng.uniform(size=(40, 2)) / 2
    y = two_arms(X.sum(axis=1)).sample(random_state=0)
    display = ConditionalDensityDisplay.from_estimator(Lookup(), make(X), y, feature=1)
    np.testing.assert_array_equal(display.scatter_.get_offsets()[:, 0], X[:, 1])
    assert display.n_neighbors == 20
    assert display.ax_.get_xlabel() == name


def test_there_must_be_a_row_to_show():
    nothing = NormalMixture(*np.ones((3, 0, 1)))
    for display_class in DISPLAYS:
        with pytest.raises(ValueError, match="y_true has no rows, and there is nothing to show"):
            display_class.from_predictions([], nothing)


@pytest.mark.parametrize("feature", [2, "dose", 0.5, None])
def test_a_feature_must_be_there(feature, rng):
    X, y = rng.uniform(size=(40, 2)), rng.uniform(size=40)
    with pytest.raises(ValueError, match=f"^feature must be a column of X; got {feature!r}$"):
        ConditionalDensityDisplay.from_estimator(Lookup(), X, y, feature=feature)


def test_a_feature_is_chosen_by_name_and_kept_when_drawn_again(rng):
    frame = pd.DataFrame(rng.uniform(size=(40, 1)), columns=["dose"])
    y = two_arms(frame["dose"].to_numpy()).sample(random_state=0)
    display = ConditionalDensityDisplay.from_estimator(Lookup(), frame, y, feature="dose")
    assert display.n_neighbors == 1
    again = display.plot(kind="region")
    assert again is display
    assert display.ax_.get_xlabel() == "dose"
    np.testing.assert_array_equal(display.scatter_.get_offsets()[:, 0], frame["dose"])


# --- calibration ---------------------------------------------------------------------------------


def test_pit_bars_and_band(rng):
    mixture, y = random_rows(rng, n=200)
    display = PITDisplay.from_predictions(y, mixture, n_bins=8, color="tab:red")
    counts, _ = np.histogram(pit_values(y, mixture), 8, (0, 1))
    heights = [bar.get_height() for bar in display.bars_]
    np.testing.assert_allclose(heights, counts * 8 / 200)
    band = display.band_.get_paths()[0].vertices[:, 1]
    low, high = stats.binom.ppf([0.025, 0.975], 200, 1 / 8)
    assert (band.min(), band.max()) == (low * 8 / 200, high * 8 / 200)
    assert display.bars_[0].get_facecolor()[:3] == mpl.colors.to_rgb("tab:red")


def test_right_predictions_stay_in_the_pit_band(rng):
    n, n_bins = 300, 10
    mixture = NormalMixture(np.ones((n, 1)), np.zeros((n, 1)), np.ones((n, 1)))
    draws = [mixture.sample(random_state=seed) for seed in range(20)]
    axes = plt.subplots()[1]
    bars = [
        [bar.get_height() for bar in PITDisplay(y_true=y, mixture=mixture).plot(axes).bars_]
        for y in draws
    ]
    band = (
        PITDisplay(y_true=draws[0], mixture=mixture).plot(axes).band_.get_paths()[0].vertices[:, 1]
    )
    inside = np.mean((band.min() <= np.array(bars)) & (np.array(bars) <= band.max()))
    assert inside > 0.95 - 3 * np.sqrt(0.95 * 0.05 / (20 * n_bins))


def test_coverage_curve_is_the_measured_coverage(rng):
    mixture, y = random_rows(rng)
    display = CoverageDisplay.from_predictions(y, mixture, n_levels=9, name="mine")
    levels = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(display.line_.get_xdata(), levels)
    measured = [interval_coverage(y, mixture, coverage=level) for level in levels]
    np.testing.assert_array_equal(display.line_.get_ydata(), measured)


def test_coverage_band_holds_what_chance_does(rng):
    mixture, y = random_rows(rng)
    display = CoverageDisplay.from_predictions(y, mixture)
    (band,) = display.ax_.collections
    vertices = band.get_paths()[0].vertices
    shares = vertices[np.isclose(vertices[:, 0], 0.3), 1]
    low, high = stats.binom.ppf([0.025, 0.975], 60, 0.3) / 60
    assert (shares.min(), shares.max()) == (low, high)


def test_a_second_curve_on_the_same_axes_adds_no_second_reference(rng):
    mixture, y = random_rows(rng)
    first = CoverageDisplay.from_predictions(y, mixture, name="one")
    second = CoverageDisplay.from_predictions(y / 2, mixture, name="two", ax=first.ax_, ls="--")
    assert second.figure_ is first.figure_
    labels = [text.get_text() for text in first.ax_.get_legend().get_texts()]
    assert labels == ["95% chance band", "calibrated", "one", "two"]
    assert second.line_.get_linestyle() == "--"


# --- intervals -----------------------------------------------------------------------------------


def test_intervals_stand_in_the_order_of_their_medians(rng):
    mixture, y = random_rows(rng)
    display = IntervalDisplay.from_predictions(y, mixture, coverage=0.6)
    lower, upper = mixture.interval(0.6)
    order = mixture.median().argsort()
    ends = np.array([segment[:, 1] for segment in display.intervals_.get_segments()])
    np.testing.assert_allclose(ends, np.stack([lower, upper], axis=1)[order])
    np.testing.assert_allclose(display.line_.get_ydata(), np.sort(mixture.median()))


def test_outcomes_are_sorted_into_inside_and_outside(rng):
    mixture, y = random_rows(rng)
    display = IntervalDisplay.from_predictions(y, mixture, coverage=0.6)
    lower, upper = mixture.interval(0.6)
    order = mixture.median().argsort()
    for points, chosen in (
        (display.inside_, (lower <= y) & (y <= upper)),
        (display.outside_, (y < lower) | (y > upper)),
    ):
        (rank,) = np.nonzero(chosen[order])
        np.testing.assert_array_equal(
            points.get_offsets(), np.stack([rank, y[order][rank]], axis=1)
        )
    share = interval_coverage(y, mixture, coverage=0.6)
    assert display.inside_.get_label() == f"inside: {100 * share:.3g}%"


def test_the_legend_counts_rows_that_are_not_drawn(rng):
    mixture, y = random_rows(rng)
    whole = IntervalDisplay.from_predictions(y, mixture)
    part = IntervalDisplay.from_predictions(y, mixture, subsample=10)
    assert len(part.intervals_.get_segments()) == 10
    assert part.outside_.get_label() == whole.outside_.get_label()
    assert part.ax_.get_xlabel().startswith("60 rows")


# --- all of them ---------------------------------------------------------------------------------


@ROW_DISPLAYS
def test_one_target_of_several_is_its_marginal(display_class, rng):
    mixture, y = random_rows(rng, n=10, n_targets=3)
    display = display_class.from_predictions(y, mixture, target=2)
    np.testing.assert_array_equal(display.y_true, y[:, 2])
    np.testing.assert_allclose(display.mixture.median(), mixture.marginal(2).median())


@ROW_DISPLAYS
def test_a_single_column_needs_no_target(display_class, rng):
    mixture, y = random_rows(rng, n=10, n_targets=1)
    display = display_class.from_predictions(y, mixture)
    np.testing.assert_array_equal(display.y_true, y[:, 0])


@ROW_DISPLAYS
@pytest.mark.parametrize("target", [None, 3, -1, 1.0, True, "y", np.array([0, 1])])
def test_a_target_must_be_named(display_class, target, rng):
    mixture, y = random_rows(rng, n=10, n_targets=3)
    message = f"target must be one of 0..2; got {target!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        display_class.from_predictions(y, mixture, target=target)


@ROW_DISPLAYS
def test_draws_on_the_axes_it_is_given(display_class, rng):
    mixture, y = random_rows(rng, n=10)
    figure, axes = plt.subplots()
    display = display_class.from_predictions(y, mixture, ax=axes)
    assert display.ax_ is axes
    assert display.figure_ is figure
    figure.canvas.draw()


@ROW_DISPLAYS
def test_a_pipeline_is_an_estimator(display_class, rng):
    X = rng.uniform(size=(20, 2))
    y = rng.normal(size=20)
    pipeline = make_pipeline(StandardScaler(with_std=False), Lookup()).fit(X, y)
    display = display_class.from_estimator(pipeline, X, y)
    expected = two_arms((X - X.mean(axis=0)).sum(axis=1))
    np.testing.assert_allclose(display.mixture.means, expected.means)


@ROW_DISPLAYS
def test_rows_must_match(display_class, rng):
    mixture, y = random_rows(rng, n=10)
    with pytest.raises(
        ValueError, match=r"^y_true must have the mixture's shape \(10,\); got \(9,\)"
    ):
        display_class.from_predictions(y[1:], mixture)


@ROW_DISPLAYS
@pytest.mark.parametrize("made", ["from_estimator", "from_predictions", "plot"])
def test_without_matplotlib_one_line_names_the_extra(display_class, made, rng, monkeypatch):
    mixture, y = random_rows(rng, n=10)
    display = display_class(y_true=y, mixture=mixture)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = rf"^{display_class.__name__} requires matplotlib: pip install 'skmdn\[plot\]'$"
    arguments = {"from_estimator": (None, y, y), "from_predictions": (y, mixture), "plot": ()}
    with pytest.raises(ImportError, match=message):
        getattr(display, made)(*arguments[made])


@pytest.mark.parametrize(
    ("display_class", "arguments", "message"),
    [
        (
            ConditionalDensityDisplay,
            {"kind": "violin"},
            "kind must be one of density, interval, r",
        ),
        (ConditionalDensityDisplay, {"coverage": (0.5, 1.0)}, "coverage must lie strictly betwee"),
        (ConditionalDensityDisplay, {"coverage": []}, "coverage must have a probability at leas"),
        (ConditionalDensityDisplay, {"n_neighbors": 0}, "n_neighbors must be a positive integer"),
        (ConditionalDensityDisplay, {"subsample": 1}, "x and subsample must leave two different"),
        (ConditionalDensityDisplay, {"x": np.ones(10)}, "x and subsample must leave two differen"),
        (ConditionalDensityDisplay, {"x": np.arange(9)}, r"x must broadcast to \(10,\); got shap"),
        (ConditionalDensityDisplay, {"x": ["a"] * 10}, "x must be a regular array of numbers"),
        (CoverageDisplay, {"n_levels": 0}, "n_levels must be a positive integer; got 0"),
        (IntervalDisplay, {"coverage": 90}, "coverage must lie strictly between 0 and 1; got 90"),
        (IntervalDisplay, {"subsample": 0}, "subsample must be a positive integer; got 0"),
        (PITDisplay, {"n_bins": 2.5}, "n_bins must be a positive integer; got 2.5"),
    ],
)
def test_errors_name_the_argument_and_leave_no_figure(display_class, arguments, message, rng):
    mixture, y = random_rows(rng, n=10)
    with pytest.raises(ValueError, match=f"^{message}"):
        display_class.from_predictions(y, mixture, **arguments)
    assert not plt.get_fignums()


@ROW_DISPLAYS
def test_a_fitted_network_of_two_targets(display_class, rng):
    X = rng.normal(size=(60, 2))
    y = X + rng.normal(size=(60, 2))
    model = MDNRegressor(n_components=2, n_estimators=1, max_iter=5, random_state=0).fit(X, y)
    display = display_class.from_estimator(model, X, y, target=1)
    np.testing.assert_allclose(display.mixture.median(), model.predict_quantiles(X, 0.5)[:, 1, 0])
