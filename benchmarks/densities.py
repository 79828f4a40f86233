"""Regret against simulators whose conditional density is known: E[log p_true - log p_model].

    python benchmarks/densities.py --check
    python benchmarks/densities.py --rows 200 800 3200 --seeds 2
    python benchmarks/densities.py --sets "robot arm" --parameters noise_type=diagonal

Models are fitted with default parameters, or those given, on n rows and judged on 10,000 fresh
ones. Measurements already in the file are not made again.
"""

from __future__ import annotations

import argparse
import ast
import time
from pathlib import Path

import common
import numpy as np
from common import STYLE, Records, markdown, timed, with_error
from matplotlib import pyplot as plt
from scipy import integrate, signal, stats
from simulators import SIMULATORS, Simulator

from skmdn import MDNRegressor

N_FRESH, N_ROWS_OF_MODES, N_ALONG = 10_000, 200, 400
#: A local maximum counts as a mode if it stands out by this share of the highest.
PROMINENCE = 0.1


# --- modes -----------------------------------------------------------------------------------


def n_modes(logpdf, X: np.ndarray, simulator: Simulator) -> np.ndarray:
    """Count the modes of each row's density along the simulator's line."""
    start, end = simulator.line(X)
    steps = np.linspace(0, 1, N_ALONG)
    profiles = np.stack(
        [logpdf(X, _targets(start + (end - start) * step, simulator)) for step in steps], axis=1
    )
    profiles = np.exp(profiles - profiles.max(axis=1, keepdims=True))
    profiles = np.pad(profiles, ((0, 0), (1, 1)))  # a maximum at an end counts as well
    return np.array([len(signal.find_peaks(row, prominence=PROMINENCE)[0]) for row in profiles])


def _targets(points: np.ndarray, simulator: Simulator) -> np.ndarray:
    """Points (n, D) as y has them."""
    return points[:, 0] if simulator.n_targets == 1 else points


# --- measuring -------------------------------------------------------------------------------


def measure(simulator: Simulator, n_rows: int, seed: int, parameters: dict) -> dict:
    X, y = simulator.draw(n_rows, np.random.default_rng([seed, n_rows]))
    rng = np.random.default_rng([seed, 1])
    X_fresh, y_fresh = simulator.draw(N_FRESH, rng)
    model, fit_seconds, _ = timed(MDNRegressor(**parameters, random_state=seed).fit, X, y)
    truth = simulator.logpdf(X_fresh, y_fresh)
    regret = truth - model.score_samples(X_fresh, y_fresh)
    found = {"truth": truth.mean(), "regret": regret.mean(), "error": stats.sem(regret)}
    if simulator.line:
        X_modes = X_fresh[:N_ROWS_OF_MODES]
        mixture = model.predict_mixture(X_modes)
        true = n_modes(simulator.logpdf, X_modes, simulator)
        ours = n_modes(lambda _, y: mixture.logpdf(y), X_modes, simulator)
        found |= {"modes": true.mean(), "found": ours.mean(), "agree": np.mean(true == ours)}
    return {name: float(value) for name, value in found.items()} | {"fit_s": fit_seconds}


def run(arguments, records: Records) -> None:
    settings = f"{arguments.parameters or 'defaults'}; code {common.code_digest()}"
    for n_rows in arguments.rows:
        for seed in range(arguments.seeds):
            for name in arguments.sets:
                row = {"set": name, "n": n_rows, "seed": seed, "settings": settings}
                if row in records:
                    continue
                row |= measure(SIMULATORS[name], n_rows, seed, arguments.parameters)
                records.add(row)
                told = f"{name}, n={n_rows}, seed {seed}: regret {row['regret']:.4f}"
                print(time.strftime("%H:%M:%S"), told, f"({row['fit_s']:.1f} s)")


# --- telling ---------------------------------------------------------------------------------


def report(records: Records, sets: list[str], picture: Path) -> None:
    found = records.newest("set", "n")
    sizes = sorted({n for _, n in found})
    lines = []
    for name in sets:
        groups = {n: found[name, n] for n in sizes if (name, n) in found}
        if not groups:
            continue
        last = groups[max(groups)]
        cells = [with_error([row["regret"] for row in groups.get(n, [])]) for n in sizes]
        truth = f"{np.mean([row['truth'] for row in last]):.3f}".replace("-", "−")
        lines.append([name, truth, *cells, *modes_cells(last)])
    header = ["simulator", "E log p", *(f"n = {n:,}" for n in sizes)]
    print(f"\n{common.environment()}\n\nRegret in nats; modes at the largest n\n")
    print(
        markdown([*header, "modes there", "modes found", "rows with as many as there are"], lines)
    )
    print("\n- " + next(iter(found.values()))[-1]["settings"])
    draw(found, [line[0] for line in lines], picture)


def modes_cells(rows: list[dict]) -> list[str]:
    if "modes" not in rows[0]:
        return ["–"] * 3
    modes, ours, agree = (
        np.mean([row[name] for row in rows]) for name in ("modes", "found", "agree")
    )
    return [f"{modes:.2f}", f"{ours:.2f}", f"{agree:.0%}"]


def draw(found: dict[tuple, list[dict]], sets: list[str], path: Path) -> None:
    """Regret against n, a panel a simulator."""
    n_columns = min(4, len(sets))
    n_rows = -(-len(sets) // n_columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(2.6 * n_columns, 2.1 * n_rows + 0.4),
            squeeze=False,
            sharex=True,
            sharey=True,
            layout="constrained",
        )
        for axis in axes.flat[len(sets) :]:
            axis.remove()
        for axis, name in zip(axes.flat, sets, strict=False):
            for (other, n), rows in found.items():
                if other == name:
                    regrets = np.maximum([row["regret"] for row in rows], 1e-4)
                    axis.plot(
                        np.full(len(rows), n), regrets, "o", color=common.OURS, ms=3, alpha=0.4
                    )
            sizes = sorted(n for other, n in found if other == name)
            means = [np.mean([row["regret"] for row in found[name, n]]) for n in sizes]
            axis.plot(sizes, np.maximum(means, 1e-4), color=common.OURS, lw=1.5)
            axis.axhline(0.05, color="0.6", lw=0.8, ls=":")
            axis.set_title(name, size=9)
            axis.set(xscale="log", yscale="log")
            axis.set_xticks(sizes, [f"{n:,}" for n in sizes], minor=False)
            axis.tick_params(labelbottom=True)
            axis.xaxis.set_minor_formatter(lambda *_: "")
            common.plain_log_ticks(axis.yaxis)
        figure.supxlabel("training rows")
        figure.supylabel("regret, nats (dotted: the goal at 3,200)")
        common.save(figure, path)


# --- checking the simulators -----------------------------------------------------------------


def check(name: str) -> bool:
    """Whether the density integrates to 1, and the draws come from it."""
    simulator, rng = SIMULATORS[name], np.random.default_rng(0)
    X, y = simulator.draw(20_000, rng)
    if simulator.n_targets == 1:
        worst, p = check_by_cdf(simulator, X[-1000:], y[-1000:])
        told, good = f"draws fit with p = {p:.3f}", p > 1e-3
    else:
        # Four targets are too many for a grid; that density's formula is that of two.
        worst = check_mass(simulator, X) if simulator.n_targets == 2 else 0.0
        z = check_tilted(simulator, X, y)
        told, good = f"tilted means within {z:.1f} standard errors of 1", z < 4
    print(f"{name:16s} |mass - 1| at most {worst:.1e}, {told}")
    return good and worst < 0.01


def check_by_cdf(simulator, X, y) -> tuple[float, float]:
    """Integrate on a grid to a cdf: it must end at 1, and the draws be uniform under it."""
    grid = np.linspace(*simulator.box[:, 0], 8001)
    mass, uniform = np.empty(len(X)), np.empty(len(X))
    for row in range(len(X)):
        density = np.exp(simulator.logpdf(np.repeat(X[row : row + 1], len(grid), 0), grid))
        cdf = integrate.cumulative_trapezoid(density, grid, initial=0)
        mass[row], uniform[row] = cdf[-1], np.interp(y[row], grid, cdf)
    return np.abs(mass - 1).max(), stats.kstest(uniform, "uniform").pvalue


def check_mass(simulator, X) -> float:
    """Integrate over two targets on a grid."""
    axes = np.linspace(*simulator.box, 600, axis=1)
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    cell = np.prod(axes[:, 1] - axes[:, 0])
    rows = (np.repeat(X[row : row + 1], len(points), 0) for row in range(5))
    mass = [np.exp(simulator.logpdf(row, points)).sum() * cell for row in rows]
    return np.abs(np.array(mass) - 1).max()


def check_tilted(simulator, X, y) -> float:
    """E[q(y) / p(y)] = 1 for draws from p and any density q: here p shifted, and p narrowed.

    Returns how many standard errors the means are off.
    """
    truth, centre = simulator.logpdf(X, y), y.mean(0)
    shifted = (y + 0.05 * sign * y.std(0) for sign in (-1, 1))
    tilts = [np.exp(simulator.logpdf(X, moved) - truth) for moved in shifted]
    narrow = simulator.logpdf(X, centre + 1.05 * (y - centre)) + y.shape[1] * np.log(1.05)
    tilts.append(np.exp(narrow - truth))
    return max(abs(tilt.mean() - 1) / stats.sem(tilt) for tilt in tilts)


def parameter(text: str) -> tuple[str, object]:
    """Read name=value, the value as Python writes it, or as plain text."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SIMULATORS, default=[*SIMULATORS])
    parser.add_argument("--rows", nargs="+", type=int, default=[200, 800, 3200, 12800])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parameters", nargs="+", type=parameter, default=[], help="name=value")
    parser.add_argument("--out", type=Path, default=common.RESULTS / "densities.jsonl")
    parser.add_argument("--picture", type=Path, default=common.HERE / "densities.png")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--check", action="store_true", help="test the simulators instead")
    arguments = parser.parse_args()
    arguments.parameters = dict(arguments.parameters)
    if arguments.check:
        raise SystemExit(not all(list(map(check, arguments.sets))))
    records = Records(arguments.out, ("set", "n", "seed", "settings"))
    if not arguments.report:
        run(arguments, records)
    report(records, arguments.sets, arguments.picture)


if __name__ == "__main__":
    main()
