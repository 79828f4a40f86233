"""Mostly nothing: how likely an insurance claim is, and how much it then costs.

Most policies cost nothing in a year; the rest cost sums whose logarithm is normal. Nothing is a
value that many rows share, so networks have a component there and learn how likely it is: one
model says both how often and how much.
"""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from scipy import special, stats

from skmdn import MDNRegressor

PICTURE = Path(__file__).with_suffix(".png")
SPREAD, LEVELS = 0.6, (0.05, 0.5, 0.95)


def claim_probability(age, distance):
    """How often a driver of this age, and this many thousand km a year, has an accident."""
    return special.expit(0.06 * distance - 2.5 + 2.0 * np.exp(-((age - 18) / 12)))


def typical_cost(age):
    """The median cost of an accident, in euros."""
    return 900.0 + 1.2 * (age - 50.0) ** 2


def simulate(n, rng):
    """Draw n policies (age, distance) and what each cost in a year."""
    age, distance = rng.uniform(18, 80, n), rng.gamma(4.0, 4.0, n)
    cost = typical_cost(age) * np.exp(SPREAD * rng.standard_normal(n))
    happened = rng.random(n) < claim_probability(age, distance)
    return np.column_stack([age, distance]), np.where(happened, cost, 0.0)


def draw(age, claim, costs):
    """Draw how likely a claim is and what it costs, beside the truth."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    truth, model = {"color": "black", "linestyle": ":"}, {"color": "tab:blue"}
    left.plot(age, claim, **model, label="MDNRegressor")
    left.plot(age, claim_probability(age, 15.0), **truth, label="the simulator")
    left.set(title="probability of a claim", xlabel="age, at 15,000 km a year", ylim=(0, None))
    left.legend()
    right.fill_between(age, costs[0], costs[2], alpha=0.25, linewidth=0, label="90 % of claims")
    right.plot(age, costs[1], **model, label="median")
    for level in LEVELS:
        right.plot(age, typical_cost(age) * np.exp(SPREAD * stats.norm.ppf(level)), **truth)
    right.set(title="cost of a claim, euros", xlabel="age, at 15,000 km a year", yscale="log")
    right.set_yticks([500, 1000, 2000, 4000], ["500", "1,000", "2,000", "4,000"])
    right.minorticks_off()
    right.legend()
    figure.savefig(PICTURE, dpi=150)


def main():
    rng = np.random.default_rng(0)
    X, y = simulate(5000, rng)
    model = MDNRegressor(random_state=0).fit(X, y)
    print(f"{np.mean(y == 0):.0%} of the policies cost nothing; atoms found: {model.atoms_}")

    age = np.linspace(20, 78, 60)
    X_age = np.column_stack([age, np.full(60, 15.0)])
    mixture = model.predict_mixture(X_age)
    claim = 1.0 - model.predict_atoms(X_age)[:, 0]
    # Of those who have a claim, as many cost less than a quantile as its level says.
    costs = mixture.isf(claim * (1.0 - np.array(LEVELS)[:, np.newaxis]))
    error = np.abs(claim - claim_probability(age, 15.0)).mean()
    print(f"probability of a claim: off by {error:.3f} on average")
    print(f"median cost of a claim: off by {np.abs(costs[1] / typical_cost(age) - 1).mean():.0%}")

    draw(age, claim, costs)
    print(f"\n{PICTURE.name} shows both beside the truth.")


if __name__ == "__main__":
    main()
