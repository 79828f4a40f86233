"""An inverse problem: one x, several y that could have made it.

y is uniform on a line and x = 7 sin(5y) + y/2 + noise/2, so that most x have three y, and their
mean is none of them (after Bishop 1994, Mixture density networks). Three components find them.
"""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from scipy import integrate, stats

from skmdn import MDNRegressor

PICTURE = Path(__file__).with_suffix(".png")
LOW, HIGH, NOISE = -1.0, 1.0, 0.5


def curve(y):
    return 7 * np.sin(5 * y) + 0.5 * y


def simulate(n, rng):
    """Draw n rows of x, as a column, and the y they came from."""
    y = rng.uniform(LOW, HIGH, n)
    return (curve(y) + NOISE * rng.standard_normal(n))[:, np.newaxis], y


def true_log_density(X, y):
    """Compute log p(y | x) = log p(x | y) - log ∫ p(x | y') dy'; the flat p(y) cancels."""
    grid = np.linspace(LOW, HIGH, 1001)
    evidence = integrate.simpson(stats.norm.pdf(X, curve(grid), NOISE), x=grid)
    return stats.norm.logpdf(X[:, 0], curve(y), NOISE) - np.log(evidence)


def draw(X, y, X_new, y_new):
    """Draw the data and the model's samples side by side."""
    figure, axes = plt.subplots(
        1, 2, figsize=(9, 4), sharex=True, sharey=True, layout="constrained"
    )
    panels = [("data", X, y), ("samples of p(y | x)", X_new, y_new)]
    for axis, (title, X_shown, y_shown) in zip(axes, panels, strict=True):
        axis.scatter(X_shown, y_shown, 8, "tab:blue", alpha=0.5, linewidth=0)
        axis.set(title=title, xlabel="x")
    axes[0].set_ylabel("y")
    figure.savefig(PICTURE, dpi=150)


def main():
    rng = np.random.default_rng(0)
    X, y = simulate(512, rng)
    model = MDNRegressor(n_components=3, random_state=0).fit(X, y)

    X_fresh, y_fresh = simulate(10_000, rng)
    regret = true_log_density(X_fresh, y_fresh) - model.score_samples(X_fresh, y_fresh)
    print("log p(y | x) of 10,000 fresh rows, on average, in nats")
    print(f"  the simulator  {true_log_density(X_fresh, y_fresh).mean():.3f}")
    print(f"  MDNRegressor   {model.score(X_fresh, y_fresh):.3f}")
    print(f"  short of it by {regret.mean():.3f} ± {stats.sem(regret):.3f}")

    draw(X, y, X_fresh[:512], model.sample(X_fresh[:512], random_state=0))
    print(f"\n{PICTURE.name} shows the data beside samples of the model.")


if __name__ == "__main__":
    main()
