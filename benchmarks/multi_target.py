"""Several targets: the joint log-likelihood of MDNRegressor's noise types and of a baseline.

    python benchmarks/multi_target.py --data DIR
    python benchmarks/multi_target.py --data DIR --sets slump --folds 3

K-fold cross-validation; every row is predicted once, by models that never saw it. Differences
between two models are paired: row by row, with the standard error of their mean.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import common
import numpy as np
from common import Records, markdown, timed, with_error
from peers import Contender
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

import skmdn
from skmdn import MDNRegressor, NormalMixture

N_TARGETS = 3  # the last columns of every file


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    return table[:, :-N_TARGETS], table[:, -N_TARGETS:]


# --- contenders: fit(X, y, seed) returns log_density(X, y) -------------------------------------


def fit_linear_gaussian(X, y, seed):
    """Least squares; the residuals' full covariance, by the degrees of freedom they have."""
    model = LinearRegression().fit(X, y)
    residuals = y - model.predict(X)
    covariance = residuals.T @ residuals / (len(y) - np.linalg.matrix_rank(X - X.mean(0)) - 1)

    def log_density(X, y):
        means = model.predict(X)[:, None]
        covariances = np.broadcast_to(covariance, (len(X), 1, *covariance.shape))
        return NormalMixture(np.ones((len(X), 1)), means, covariances).logpdf(y)

    return log_density


def ours(noise_type: str) -> Contender:
    def fit(X, y, seed):
        return MDNRegressor(noise_type=noise_type, random_state=seed).fit(X, y).score_samples

    return Contender(fit, f"MDNRegressor, noise_type={noise_type}; code {common.code_digest()}")


def autoregressive(name: str) -> Contender:
    def fit(X, y, seed):
        return getattr(skmdn, name)(random_state=seed).fit(X, y).score_samples

    return Contender(fit, f"{name}, defaults; code {common.code_digest('_autoregressive.py')}")


CONTENDERS = {noise_type: ours(noise_type) for noise_type in ("full", "diagonal")}
for _name in skmdn.__all__:
    if "Autoregressive" in _name:
        CONTENDERS["autoregressive"] = autoregressive(_name)
CONTENDERS["linear"] = Contender(
    fit_linear_gaussian, "linear-Gaussian, full residual covariance by least squares"
)


# --- measuring and telling ---------------------------------------------------------------------


def run(arguments, records: Records) -> None:
    for name in arguments.sets:
        X, y = load(arguments.data / f"{name}.csv")
        for repeat in range(arguments.repeats):
            folds = KFold(arguments.folds, shuffle=True, random_state=repeat).split(X)
            for fold, (train, test) in enumerate(folds):
                for model in arguments.models:
                    contender = CONTENDERS[model]
                    row = {"set": name, "n_folds": arguments.folds, "repeat": repeat}
                    row |= {"fold": fold, "model": model, "settings": contender.settings}
                    if row in records:
                        continue
                    log_density, seconds, _ = timed(contender.fit, X[train], y[train], repeat)
                    row |= {"rows": test.tolist(), "fit_s": seconds}
                    row["log_density"] = log_density(X[test], y[test]).tolist()
                    records.add(row)
                    told = f"{name} {repeat}.{fold} {model}: {np.mean(row['log_density']):.3f}"
                    print(time.strftime("%H:%M:%S"), told, f"({seconds:.1f} s)")


def by_row(records: list[dict]) -> dict[int, float]:
    """Log-density of each row of the data, its mean over the repeats."""
    found: dict[int, list[float]] = {}
    for record in records:
        for row, value in zip(record["rows"], record["log_density"], strict=True):
            found.setdefault(row, []).append(value)
    return {row: float(np.mean(values)) for row, values in found.items()}


def report(records: Records, arguments) -> None:
    groups = records.newest("set", "model", "n_folds")
    print(f"\n{common.environment()}")
    print("\nJoint log-likelihood of rows not seen, nats a row; differences are paired\n")
    lines = []
    for name in arguments.sets:
        models = {
            m: rows for (s, m, k), rows in groups.items() if (s, k) == (name, arguments.folds)
        }
        values = {model: by_row(rows) for model, rows in models.items()}
        for model, found in values.items():
            both = sorted(found.keys() & values.get("full", {}).keys())
            less = [values["full"][row] - found[row] for row in both]
            seconds = np.mean([row["fit_s"] for row in models[model]])
            cells = [with_error(found.values()), "" if model == "full" else with_error(less)]
            lines.append([name, model, len(found), *cells, f"{seconds:.2g}"])
    print(markdown(["set", "model", "rows", "log-likelihood", "full less it", "fit s"], lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder of NAME.csv")
    parser.add_argument("--sets", nargs="+", help="default: all there are")
    parser.add_argument("--models", nargs="+", choices=CONTENDERS, default=[*CONTENDERS])
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, default=common.RESULTS / "multi_target.jsonl")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if (arguments.data / "multi_target").is_dir():
        arguments.data = arguments.data / "multi_target"
    arguments.sets = arguments.sets or sorted(path.stem for path in arguments.data.glob("*.csv"))
    keys = ("set", "n_folds", "repeat", "fold", "model", "settings")
    records = Records(arguments.out, keys)
    if not arguments.report:
        run(arguments, records)
    report(records, arguments)


if __name__ == "__main__":
    main()
