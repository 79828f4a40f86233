"""Simulators whose conditional density is known, to measure a model's regret against the truth.

Each draws rows (X, y) and gives the exact log p(y | x); where that takes an integral or a root, a
numerical one of far smaller error than anything measured. `densities.py --check` tests them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy import cos, pi, sin
from scipy import integrate, signal, special, stats
from scipy.optimize import elementwise


@dataclass(frozen=True)
class Simulator:
    """A joint law of X (n, F) and y, (n,) or (n, D), with its conditional density.

    Attributes
    ----------
    draw : callable
        ``draw(n, rng)`` returns X and y.
    logpdf : callable
        ``logpdf(X, y)`` returns log p(y | x), (n,).
    box : ndarray of shape (2, D)
        Corners outside which y has next to no probability.
    line : callable or None
        ``line(X)`` returns the ends (n, D) of lines through all modes of y at each x; modes are
        counted along them. Only where there can be several.
    """

    draw: Callable
    logpdf: Callable
    box: np.ndarray
    line: Callable | None = None

    @property
    def n_targets(self) -> int:
        return self.box.shape[1]


def box(low, high) -> np.ndarray:
    return np.array([np.atleast_1d(low), np.atleast_1d(high)], dtype=float)


def across(limits: np.ndarray):
    """Lines from one end of a target's range to the other, the same for every row."""
    return lambda X: tuple(np.broadcast_to(corner, (len(X), 1)) for corner in limits)


def once_per_x(integral, X):
    """Evaluate an integral over y, given for a column x, once for each distinct x."""
    x, back = np.unique(X[:, 0], return_inverse=True)
    return integral(x)[back]


# --- inverse problems: y is uniform and x a noisy function of it -------------------------------


def bishop_curve(y):
    return y + 0.3 * sin(2 * pi * y)


BISHOP_NOISE = 0.1  # uniform within this distance


def draw_bishop(n, rng):
    y = rng.random(n)
    noise = rng.uniform(-BISHOP_NOISE, BISHOP_NOISE, n)
    return (bishop_curve(y) + noise)[:, None], y


def bishop_logpdf(X, y):
    """Bishop (1994): y is uniform on the set whose curve is within the noise of x.

    The curve is monotone between its two turning points, where 1 + 0.6 pi cos(2 pi y) = 0; on
    each piece a root finder gives the ends of the set.
    """
    length = once_per_x(_bishop_length, X)
    inside = np.abs(bishop_curve(y) - X[:, 0]) <= BISHOP_NOISE
    with np.errstate(divide="ignore"):
        return np.where(inside & (y >= 0) & (y <= 1), -np.log(length), -np.inf)


def _bishop_length(x):
    turn = np.arccos(-1 / (0.6 * pi)) / (2 * pi)
    length = np.zeros(len(x))
    for low, high in ((0, turn), (turn, 1 - turn), (1 - turn, 1)):
        ends = (_monotone_inverse(x + side, low, high) for side in (-BISHOP_NOISE, BISHOP_NOISE))
        length += np.abs(np.subtract(*ends))
    return length


def _monotone_inverse(values, low, high):
    """Invert the curve between two of its turning points; values beyond them map to these."""
    ends = np.array([bishop_curve(low), bishop_curve(high)])
    values = np.clip(values, ends.min(), ends.max())
    sides = np.full_like(values, low), np.full_like(values, high)
    root = elementwise.find_root(lambda y, value: bishop_curve(y) - value, sides, args=(values,)).x
    return np.where(values == ends[0], low, np.where(values == ends[1], high, root))


SINE_NOISE = 0.5


def sine_curve(y):
    return 7 * sin(5 * y) + 0.5 * y


def draw_inverse_sine(n, rng):
    y = rng.uniform(-1, 1, n)
    return (sine_curve(y) + SINE_NOISE * rng.standard_normal(n))[:, None], y


def inverse_sine_logpdf(X, y):
    """By Bayes: log p(x | y) - log of its integral over y; the flat prior cancels."""
    grid = np.linspace(-1, 1, 1001)
    evidence = once_per_x(
        lambda x: integrate.simpson(
            stats.norm.pdf(x[:, None], sine_curve(grid), SINE_NOISE), x=grid
        ),
        X,
    )
    log_density = stats.norm.logpdf(X[:, 0], sine_curve(y), SINE_NOISE) - np.log(evidence)
    return np.where(np.abs(y) <= 1, log_density, -np.inf)


# --- noise that depends on x -------------------------------------------------------------------


def draw_heteroscedastic(n, rng):
    x = np.abs(rng.standard_normal(n))
    return x[:, None], x**2 + (1 + x) * rng.standard_normal(n)


def heteroscedastic_logpdf(X, y):
    x = X[:, 0]
    return stats.norm.logpdf(y, x**2, 1 + x)


def draw_skew_normal(n, rng):
    """The scale grows with x and the shape changes sign with it (Azzalini 1985)."""
    x = rng.uniform(-1, 1, n)
    shape = 6 * x
    share = shape / np.hypot(1, shape)
    half, normal = np.abs(rng.standard_normal(n)), rng.standard_normal(n)
    return x[:, None], np.exp(x) * (share * half + np.sqrt(1 - share**2) * normal)


def skew_normal_logpdf(X, y):
    x = X[:, 0]
    z = y / np.exp(x)
    return np.log(2) + stats.norm.logpdf(z) + special.log_ndtr(6 * x * z) - x


STUDENT_SLOPES, STUDENT_DOF, STUDENT_SCALE = np.array([1.0, -1.0, 0.5, 0.5, 0.0]), 4, 0.5


def draw_student(n, rng):
    X = rng.standard_normal((n, len(STUDENT_SLOPES)))
    return X, X @ STUDENT_SLOPES + STUDENT_SCALE * rng.standard_t(STUDENT_DOF, n)


def student_logpdf(X, y):
    return stats.t.logpdf(y, STUDENT_DOF, X @ STUDENT_SLOPES, STUDENT_SCALE)


JUMP_CHANCE, JUMP_STEP, JUMP_SD = 0.1, 0.05, 0.03


def draw_jumps(n, rng):
    """An autoregression that sometimes falls (after Rothfuss et al. 2019): y is the next x.

    x' = 0.01 + 0.9 x + noise, and in one of ten steps x' = -0.29 + 0.9 x + twice the noise.
    """
    n_steps = n + 200  # the first ones forget the start
    jump = rng.random(n_steps) < JUMP_CHANCE
    noise = JUMP_SD * (1 + jump) * rng.standard_normal(n_steps)
    path = signal.lfilter([1.0], [1.0, -0.9], 0.01 - 0.3 * jump + noise)[199:]
    return path[:-1, None], path[1:]


def jumps_logpdf(X, y):
    calm = 0.01 + 0.9 * X[:, 0]
    return np.logaddexp(
        np.log1p(-JUMP_CHANCE) + stats.norm.logpdf(y, calm, JUMP_SD),
        np.log(JUMP_CHANCE) + stats.norm.logpdf(y, calm - 0.3, 2 * JUMP_SD),
    )


# --- several answers -----------------------------------------------------------------------------


def _branches(x):
    """Middle, half distance and standard deviation of the two branches."""
    middle = (x - 1) ** 2 * (x + 1)
    distance = 2 * np.sqrt(np.maximum(x + 0.5, 0))
    return middle, distance, np.sqrt(0.25 + np.abs(x))


def draw_branching(n, rng):
    """One branch that becomes two (Lei & Wasserman 2014)."""
    x = rng.uniform(-1.5, 1.5, n)
    middle, distance, sd = _branches(x)
    side = rng.choice([-1.0, 1.0], n)
    return x[:, None], middle + side * distance + sd * rng.standard_normal(n)


def branching_logpdf(X, y):
    middle, distance, sd = _branches(X[:, 0])
    low, high = (stats.norm.logpdf(y, middle + side * distance, sd) for side in (-1, 1))
    return np.logaddexp(low, high) - np.log(2)


RING_SD = 0.1


def draw_circle(n, rng):
    angle, radius = rng.uniform(0, 2 * pi, n), 1 + RING_SD * rng.standard_normal(n)
    return (radius * cos(angle))[:, None], radius * sin(angle)


def circle_logpdf(X, y):
    """p(x, y) = p(r) / (2 pi r), and the integral over y gives p(x)."""

    def joint(x, y):
        radius = np.hypot(x, y)
        return stats.norm.pdf(radius, 1, RING_SD) / (2 * pi * np.maximum(radius, 1e-9))

    grid = np.linspace(-2, 2, 801)
    marginal = once_per_x(lambda x: integrate.simpson(joint(x[:, None], grid), x=grid), X)
    return np.log(joint(X[:, 0], y)) - np.log(marginal)


UPPER, FOREARM, ENCODER_SD = 1.0, 0.8, 0.1
SHOULDER_SD, ELBOW_MOST = 0.5, 2.5


def draw_arm(n, rng):
    """A hand's position, and the two joints' angles read off noisy encoders."""
    shoulder = SHOULDER_SD * rng.standard_normal(n)
    elbow = rng.uniform(-ELBOW_MOST, ELBOW_MOST, n)
    hand = np.column_stack(
        [f(shoulder) * UPPER + f(shoulder + elbow) * FOREARM for f in (cos, sin)]
    )
    angles = np.column_stack([shoulder, elbow])
    return hand, angles + ENCODER_SD * rng.standard_normal((n, 2))


def elbow_poses(X):
    """Both poses (n, 2) that bring the hand to x: elbow to one side and to the other."""
    bend = (np.square(X).sum(1) - UPPER**2 - FOREARM**2) / (2 * UPPER * FOREARM)
    elbow = np.arccos(np.clip(bend, -1, 1))
    towards = np.arctan2(X[:, 1], X[:, 0])
    for side in (1, -1):
        inner = np.arctan2(FOREARM * sin(side * elbow), UPPER + FOREARM * cos(elbow))
        yield np.column_stack([towards - inner, side * elbow])


def arm_logpdf(X, y):
    """By change of variables: poses weigh p(pose) / |det J|, with |det J| = l1 l2 |sin(elbow)|.

    Both poses share |det J|, so that it cancels. The shoulder's angle counts turns: each pose
    stands for all that differ by full ones.
    """
    priors, likelihoods = [], []
    for pose in elbow_poses(X):
        for turn in (-2 * pi, 0, 2 * pi):
            shifted = pose + [turn, 0]
            priors.append(stats.norm.logpdf(shifted[:, 0], 0, SHOULDER_SD))
            likelihoods.append(stats.norm.logpdf(y, shifted, ENCODER_SD).sum(1))
    joint = np.add(priors, likelihoods)
    return special.logsumexp(joint, axis=0) - special.logsumexp(priors, axis=0)


def arm_line(X):
    """The line through both poses, and a little beyond."""
    first, second = elbow_poses(X)
    beyond = second - first
    beyond *= (0.5 / np.maximum(np.linalg.norm(beyond, axis=1), 1e-9))[:, None]
    return first - beyond, second + beyond


# --- Gaussian mixtures in (x, y) -----------------------------------------------------------------


class JointGaussianMixture:
    """Five Gaussians in (x, y), with F features and D targets."""

    def __init__(self, n_features: int, n_targets: int, n_components: int = 5):
        rng = np.random.default_rng(17)
        size = n_features + n_targets
        self.n_features = n_features
        self.log_weights = np.log(rng.dirichlet(np.full(n_components, 5.0)))
        self.means = 1.5 * rng.standard_normal((n_components, size))
        spread = rng.standard_normal((n_components, size, size)) / np.sqrt(size)
        self.covariances = 0.5 * spread @ spread.mT + 0.05 * np.eye(size)

    def draw(self, n, rng):
        component = rng.choice(len(self.means), n, p=np.exp(self.log_weights))
        factors = np.linalg.cholesky(self.covariances)
        z = rng.standard_normal((n, self.means.shape[1]))
        rows = self.means[component] + np.einsum("nij,nj->ni", factors[component], z)
        X, y = rows[:, : self.n_features], rows[:, self.n_features :]
        return X, y[:, 0] if y.shape[1] == 1 else y

    def logpdf(self, X, y):
        """Log p(x, y) - log p(x)."""
        both = np.column_stack([X, y])
        return self._marginal(both) - self._marginal(X)

    def _marginal(self, rows):
        size = rows.shape[1]
        parts = [
            weight + stats.multivariate_normal.logpdf(rows, mean[:size], covariance[:size, :size])
            for weight, mean, covariance in zip(
                self.log_weights, self.means, self.covariances, strict=True
            )
        ]
        return special.logsumexp(parts, axis=0)

    def simulator(self) -> Simulator:
        n_targets = self.means.shape[1] - self.n_features
        limits = box([-9.0] * n_targets, [9.0] * n_targets)
        line = across(limits) if n_targets == 1 else None
        return Simulator(self.draw, self.logpdf, limits, line)


def _one_target(draw, logpdf, low, high, several=False) -> Simulator:
    limits = box(low, high)
    return Simulator(draw, logpdf, limits, across(limits) if several else None)


_several = partial(_one_target, several=True)
SIMULATORS = {
    "bishop inverse": _several(draw_bishop, bishop_logpdf, -0.2, 1.2),
    "inverse sine": _several(draw_inverse_sine, inverse_sine_logpdf, -1.2, 1.2),
    "heteroscedastic": _one_target(draw_heteroscedastic, heteroscedastic_logpdf, -35, 50),
    "arma jumps": _one_target(draw_jumps, jumps_logpdf, -2.5, 1.0),
    "skew normal": _one_target(draw_skew_normal, skew_normal_logpdf, -16, 16),
    "student 5d": _one_target(draw_student, student_logpdf, -150, 150),
    "mixture 1-1": JointGaussianMixture(1, 1).simulator(),
    "mixture 2-2": JointGaussianMixture(2, 2).simulator(),
    "mixture 4-4": JointGaussianMixture(4, 4).simulator(),
    "branching": _several(draw_branching, branching_logpdf, -12, 14),
    "robot arm": Simulator(draw_arm, arm_logpdf, box([-6.5, -3.7], [6.5, 3.7]), arm_line),
    "circle": _several(draw_circle, circle_logpdf, -2, 2),
}
