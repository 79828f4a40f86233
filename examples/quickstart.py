"""From a table of patients to a distribution for each: held-out scores, baselines, a picture.

Scikit-learn's diabetes data: ten measurements of each of 442 patients, and how far the disease
had progressed a year later. Every number printed is about patients the model had not seen: the
rows are held out a tenth at a time, and predicted by a model fitted to the other nine tenths.
"""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from scipy import stats
from sklearn.datasets import load_diabetes
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import KFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer

from skmdn import MDNRegressor

PICTURE = Path(__file__).with_suffix(".png")
COVERAGE = 0.9
TAILS = ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2)


def predict_mixture(X_train, y_train, X_test):
    """Fit a pipeline and predict one mixture for each row of X_test."""
    model = make_pipeline(PowerTransformer(), MDNRegressor(random_state=0)).fit(X_train, y_train)
    return model[-1].predict_mixture(model[:-1].transform(X_test))


# Three ways to a density and an interval for every held-out row.
def mixture_density_network(X_train, y_train, X_test, y_test):
    mixture = predict_mixture(X_train, y_train, X_test)
    return mixture.logpdf(y_test), np.column_stack(mixture.interval(COVERAGE))


def linear_gaussian(X_train, y_train, X_test, y_test):
    """Baseline: a normal distribution around a linear regression, of one width for all rows."""
    model = make_pipeline(PowerTransformer(), BayesianRidge()).fit(X_train, y_train)
    normal = stats.norm(*model.predict(X_test, return_std=True))
    return normal.logpdf(y_test), np.column_stack(normal.interval(COVERAGE))


def marginal_density(X_train, y_train, X_test, y_test):
    """Baseline: the density of y itself, the features ignored."""
    log_density = stats.gaussian_kde(y_train).logpdf(y_test)
    return log_density, np.tile(np.quantile(y_train, TAILS), (len(y_test), 1))


def held_out(method, X, y):
    """Log-density of each row, and interval for it, by a model that never saw it."""
    log_density, interval = np.empty(len(y)), np.empty((len(y), 2))
    for train, test in KFold(10, shuffle=True, random_state=0).split(X):
        log_density[test], interval[test] = method(X[train], y[train], X[test], y[test])
    return log_density, interval


def is_inside(y, interval):
    return (interval[:, 0] <= y) & (y <= interval[:, 1])


def draw_intervals(axes, y, interval):
    order = np.argsort(interval.sum(axis=1))
    y, interval, place = y[order], interval[order], np.arange(len(y))
    inside = is_inside(y, interval)
    axes.fill_between(place, *interval.T, step="mid", alpha=0.4, label=f"{COVERAGE:.0%} interval")
    axes.scatter(place[inside], y[inside], 5, "black", label="outcome inside")
    axes.scatter(place[~inside], y[~inside], 10, "tab:red", label="outcome outside")
    axes.set(
        title="All patients, each held out", ylabel="disease progression after a year (score)"
    )
    axes.set(xlabel="patients, in order of their intervals' centres", ylim=(0, 400))
    axes.legend(loc="upper left", ncols=3, columnspacing=1, handletextpad=0.3, frameon=False)


def draw_densities(axes, X, y):
    train, test = train_test_split(np.arange(len(y)), test_size=100, random_state=0)
    mixture = predict_mixture(X[train], y[train], X[test])
    grid = np.linspace(0, 400, 500)
    for row in np.argsort(mixture.median())[[10, 50, 90]]:
        (line,) = axes.plot(grid, mixture[row].pdf(grid))
        axes.axvline(y[test[row]], color=line.get_color(), linestyle="dotted")
    axes.set(title="Three patients: density, and outcome (dotted)", ylabel="predicted density")
    axes.set(xlabel="disease progression after a year (score)", ylim=(0, None))


def main():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    methods = (marginal_density, linear_gaussian, mixture_density_network)
    results = [held_out(method, X, y) for method in methods]

    print("held-out rows             log-density   gain on marginal   90% interval    its width")
    for method, (log_density, interval) in zip(methods, results, strict=True):
        gain = log_density - results[0][0]
        print(
            f"{method.__name__.replace('_', ' '):<24}{log_density.mean():8.3f} nats"
            f"{gain.mean():10.3f} ± {stats.sem(gain):.3f}"
            f"   covers {is_inside(y, interval).mean():.1%}{np.diff(interval).mean():13.0f}"
        )

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    draw_intervals(left, y, results[-1][1])
    draw_densities(right, X, y)
    figure.savefig(PICTURE, dpi=150)
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
